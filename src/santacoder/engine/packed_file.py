"""The file of packed weights: a header, then the weights as they lie in memory, for every instruction set.

The header, padded to a multiple of 64 KiB, is a magic, the format's number, the length and the SHA-256 of a JSON text,
and that text: the layout's number, the SHA-256 of the GGUF file, the place of each tensor, and the SHA-256 of all that
follows the header. A reader knows from the GGUF file's description what the text has to be but for the last of these,
and takes no offset or size from the file. Opening reads only the header; `verify_packed` reads the rest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder._util.atomic_file import atomic_file, with_path_in_errors
from santacoder._util.regular_file import open_trusted
from santacoder.engine.weight_plan import WeightPlan
from santacoder.engine.weights import Weights, pack_tensors, releaser, view_weights
from santacoder.gguf.magic import PACKED_MAGIC
from santacoder.gguf.reader import GGUFFile
from santacoder.sources.packed import MODE

if TYPE_CHECKING:
    from santacoder._native import Team

FORMAT: Final = 1
_HEAD: Final = struct.Struct("<8sII32s")
_UNIT: Final = 1 << 16  # of the sizes of header and weights: a multiple of every system's pages
#: Bytes written at a time, from multiples of it on: whole huge pages, which some file systems then keep as such.
_BLOCK: Final = 8 << 20
_NO_SUM: Final = b"0" * 64
_SUM: Final = re.compile(rb"[0-9a-f]{64}")


class PackedFileError(OSError):
    """A file of packed weights is not the one that is wanted, or is damaged."""


def _text(plan: WeightPlan, sha256: str) -> bytes:
    """Return a header's JSON text up to the last checksum, which `_header` adds."""
    slots = (*plan.matrices, *plan.vectors)
    tensors = [[slot.info.name, slot.format, *slot.info.shape, slot.offset, slot.n_bytes] for slot in slots]
    text = json.dumps({"layout": lib.SC_LAYOUT, "gguf_sha256": sha256, "tensors": tensors, "sha256": ""})
    return text.removesuffix('"}').encode()


def _header(text: bytes, checksum: bytes) -> bytes:
    """Return a header; `checksum` is of what follows it, in hexadecimal."""
    text += checksum + b'"}'
    head = _HEAD.pack(PACKED_MAGIC, FORMAT, len(text), hashlib.sha256(text).digest())
    return (head + text).ljust(_padded(_HEAD.size + len(text)), b"\0")


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _UNIT) * _UNIT


def write_packed(path: Path, file: GGUFFile, plan: WeightPlan, sha256: str, team: Team) -> None:
    """Pack the tensors of an open file with this SHA-256 into a file that takes its name when it is complete.

    Raises:
        OSError: it cannot be written; the error names `path`.
        ModelFormatError: a weight or a block's scale is infinite or not a number.
    """
    text = _text(plan, sha256)
    with atomic_file(path) as out, with_path_in_errors(path):
        sink = _Writer(out, _header(text, _NO_SUM))
        pack_tensors(file, plan, team, sink)
        checksum = sink.finish(_padded(plan.n_bytes) - plan.n_bytes)
        out.seek(0)
        out.write(_header(text, checksum))
        os.fchmod(out.fileno(), MODE)


class _Writer:
    """A sink that writes to a file behind its header, which has to be written again when all is known."""

    def __init__(self, out: IO[bytes], header: bytes) -> None:
        self._out = out
        self._waiting = bytearray(header)
        self._digest = hashlib.sha256()

    def room(self, n_bytes: int) -> NDArray[np.uint8]:
        return np.zeros(n_bytes, dtype=np.uint8)

    def put(self, data: NDArray[np.uint8]) -> None:
        self._digest.update(data.data)
        self._waiting += data.data
        whole = len(self._waiting) // _BLOCK * _BLOCK
        if whole:
            self._out.write(self._waiting[:whole])
            del self._waiting[:whole]

    def finish(self, padding: int) -> bytes:
        """Write the rest and so many zeros; return the checksum of all but the header, in hexadecimal."""
        self.put(self.room(padding))
        self._out.write(self._waiting)
        return self._digest.hexdigest().encode()


def open_packed(path: Path, plan: WeightPlan, sha256: str, *, gather: bool = False) -> Weights:
    """Map the packed weights of the GGUF file with this SHA-256, whose tensors `plan` places.

    Args:
        path: the file.
        plan: where the tensors have to lie.
        sha256: of the GGUF file.
        gather: whether to have the system put the file's pages together, which takes as long as a copy of them.

    Raises:
        FileNotFoundError: there is none.
        OSError: it may not or cannot be read.
        PackedFileError: it holds other weights, is damaged, or may have been changed by another user.
    """
    descriptor, start, _ = _open_checked(path, plan, sha256)
    try:
        size = start + _padded(plan.n_bytes)
        mapping = lib.sc_file_map(descriptor, size)
    finally:
        os.close(descriptor)
    if mapping == ffi.NULL:
        raise OSError(errno.EIO, "the file cannot be mapped", str(path))
    mapping = ffi.gc(mapping, releaser(lib.sc_file_unmap, size), size)
    if gather:
        lib.sc_file_gather(mapping, size)
    return view_weights(plan, mapping, start, str(path))


def verify_packed(path: Path, plan: WeightPlan, sha256: str) -> None:
    """Check all of a file of packed weights; arguments and errors are those of `open_packed`."""
    descriptor, start, checksum = _open_checked(path, plan, sha256)
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as file:
        file.seek(start)
        while data := file.read(_BLOCK):
            digest.update(data)
    if digest.hexdigest().encode() != checksum:
        raise PackedFileError(f"{path}: the weights do not have the checksum that the header says")


def _open_checked(path: Path, plan: WeightPlan, sha256: str) -> tuple[int, int, bytes]:
    """Return a descriptor, the header's length and the checksum of what follows it; errors as in `open_packed`."""
    text = _text(plan, sha256)
    expected = _header(text, _NO_SUM)
    descriptor = open_trusted(path)
    try:
        found = os.pread(descriptor, len(expected), 0)
        at = _HEAD.size + len(text)
        checksum = found[at : at + len(_NO_SUM)]
        if found != _header(text, checksum) or not _SUM.fullmatch(checksum):
            raise PackedFileError(f"{path}: {_difference(found)}")
        size, wanted = os.fstat(descriptor).st_size, len(expected) + _padded(plan.n_bytes)
        if size != wanted:
            raise PackedFileError(f"{path}: the file has {size} bytes, not {wanted}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, len(expected), checksum


def _difference(found: bytes) -> str:
    """Say why a header is not the expected one."""
    magic, version, size, digest = _HEAD.unpack(found[: _HEAD.size].ljust(_HEAD.size, b"\0"))
    text = found[_HEAD.size : _HEAD.size + size]
    if magic != PACKED_MAGIC or version != FORMAT or hashlib.sha256(text).digest() != digest:
        return "the header is damaged, or of another version"
    return "the file holds the weights of another model, or in another layout"
