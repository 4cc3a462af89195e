"""Notes in a prefix cache: the fingerprint of the weights in a model's file, which takes half a second to compute.

A note is named by the file's identity: device, inode, size, the times of its last changes. The second of these times
is the system's own, which nobody can set back.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from santacoder._util.private_folder import open_private, private_folder, read_all, write_private
from santacoder._util.regular_file import file_identity
from santacoder._version import __version__
from santacoder.errors import InvalidRequestError
from santacoder.gguf.split import part_names

#: Names of the notes of fingerprints.
NOTE: Final = re.compile("model-[0-9a-f]{40}")
#: The note of a model's name in its folder.
NAME: Final = "name"
#: Seconds for which a file may be written to again without a change of its times.
RACY: Final = 2.0
_FINGERPRINT: Final = re.compile(rb"[0-9a-f]{64}")
_MOST_NAME: Final = 255


def note_of(path: str) -> str | None:
    """Return the name of the note of a model's file; None if its identity says too little.

    That is so of one that was changed a moment ago, and of one that is split.
    """
    with suppress(OSError):
        changed = os.stat(path).st_ctime_ns
        if len(part_names(path)) == 1 and time.time_ns() - changed > RACY * 1e9:
            identity = repr((file_identity(path), changed, __version__))
            return f"model-{blake2b(identity.encode(), digest_size=20).hexdigest()}"
    return None


def fingerprint_of(folder: Path, path: str, note: str | None, compute: Callable[[], str]) -> str:
    """Return the fingerprint of the weights that were loaded from a file: that of its note, or computed and noted.

    Args:
        folder: the prefix cache.
        path: of the file.
        note: what `note_of` returned before it was loaded.
        compute: what computes the fingerprint.
    """
    if note is None or note_of(path) != note:
        return compute()
    known = _read(folder, note, 2 * 64).partition(b" ")
    if _FINGERPRINT.fullmatch(known[0]) and known[2] == _check(note, known[0]):
        return known[0].decode()
    fingerprint = compute()
    data = fingerprint.encode()
    _write(folder, note, b"%b %b" % (data, _check(note, data)))
    return fingerprint


def note_name(folder: Path, name: str) -> None:
    """Note the name of a model in its folder, for people."""
    data = os.fsencode(name)[:_MOST_NAME]
    if _read(folder, NAME, _MOST_NAME) != data:
        _write(folder, NAME, data)


def noted_name(folder: Path) -> str:
    """Return the name of the model whose blocks a folder has, or ""."""
    return os.fsdecode(_read(folder, NAME, _MOST_NAME))


def _check(note: str, data: bytes) -> bytes:
    return blake2b(note.encode() + data, digest_size=16).hexdigest().encode()


def _read(folder: Path, name: str, most: int) -> bytes:
    with (
        suppress(OSError, InvalidRequestError),
        private_folder(folder) as descriptor,
        open_private(descriptor, name) as (file, size),
    ):
        data = bytearray(min(size, most))
        if read_all(file, memoryview(data)):
            return bytes(data)
    return b""


def _write(folder: Path, name: str, data: bytes) -> None:
    with suppress(OSError, InvalidRequestError), private_folder(folder, make=True) as descriptor:
        write_private(descriptor, name, [data])
