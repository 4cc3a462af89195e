"""The SHA-256 of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 20


def file_sha256(path: Path, progress: Callable[[int], object] | None = None) -> str:
    """Of a file's bytes, in hexadecimal; `progress` is told how many were read since it was told last.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            if progress is not None:
                progress(len(data))
    return digest.hexdigest()
