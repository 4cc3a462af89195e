"""The SHA-256 of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from santacoder.gguf.reader import GGUFFile

_CHUNK: Final = 1 << 20


def model_sha256(path: Path) -> str:
    """Return the hash of a model's bytes; for a split model, those of all its parts in order.

    Raises:
        OSError: a file cannot be read.
        ModelFormatError: it is not a GGUF file, or a part is missing.
    """
    with GGUFFile.open(path) as file:
        return _sha256(map(Path, file.paths))


def open_sha256(file: GGUFFile) -> str:
    """Return the same hash as `model_sha256`, of the very files that are open.

    Raises:
        ModelFormatError: a file has changed since it was opened.
    """
    digest = hashlib.sha256()
    for data in file.pieces(_CHUNK):
        digest.update(data)
    return digest.hexdigest()


def file_sha256(path: Path, progress: Callable[[int], object] | None = None) -> str:
    """Return the hash of a file's bytes in hexadecimal; `progress` is called with the bytes read since its last call.

    Raises:
        OSError: the file cannot be read.
    """
    return _sha256([path], progress)


def _sha256(paths: Iterable[Path], progress: Callable[[int], object] | None = None) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
                if progress is not None:
                    progress(len(data))
    return digest.hexdigest()
