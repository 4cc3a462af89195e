"""A strict, bounded reader for the header of a GGUF file (version 2 or 3, little endian).

Every number is checked before it is used, so no later code sees an integer that a damaged file made up. The
data section has to be laid out as llama.cpp writes and demands it: tensors (listed in any order) that follow
each other without overlap or hole, each start aligned, and after the last at most the padding to the next
multiple of the alignment. Anything else past the end is trailing garbage and is refused.

The file is mapped, not read: if another process truncates it, touching the missing pages would kill this one
(SIGBUS), as with every mapped file. So before a tensor is touched, and after every piece of one, the file's size
and time are compared with those it had when it was opened; a change is an error. One risk remains: a truncation
while a piece of some megabytes is read. Replace a model file by renaming a new one over it, which is always safe.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt

from santacoder._util.regular_file import FileIdentity, map_file, open_model_file
from santacoder._util.validation import printable
from santacoder.errors import ModelClosedError, ModelFormatError
from santacoder.gguf.cursor import Cursor
from santacoder.gguf.magic import check_magic
from santacoder.gguf.metadata import Metadata
from santacoder.gguf.split import check_part, check_tensors_count, other_parts
from santacoder.gguf.types import BY_NUMBER

_MIN_KV_BYTES: Final = 8 + 1 + 4 + 1  # key length, key, type, value
_MIN_TENSOR_BYTES: Final = 8 + 1 + 4 + 8 + 4 + 8  # name length, name, rank, one dimension, type, offset
_MAX_HEADER_BYTES: Final = 1 << 26  # bounds memory; a vocabulary of 2^18 tokens takes some 20 MB
_MAX_ENTRIES: Final = 1 << 16
_MAX_KEY_BYTES: Final = (1 << 16) - 1  # the GGUF specification's own limit
_MAX_NAME_BYTES: Final = 63  # ggml keeps names in 64 bytes with a final NUL
_MAX_DIMS: Final = 4
_MAX_ALIGNMENT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: shape in NumPy order (rows, columns), offset in bytes from the start of its file.

    `part` is the number of that file, counted from 0; only split models have more than one.
    """

    name: str
    type: int
    type_name: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    part: int = 0


def _align(n: int, alignment: int) -> int:
    return (n + alignment - 1) & -alignment


@final
class GGUFFile:
    """A mapped GGUF file: metadata, tensor directory and the tensors' bytes; for a split model, all its files.

    Attributes:
        path: the path it was opened with.
        size: bytes in the file, or in all files of a split model.
        version: 2 or 3.
        alignment: bytes; every tensor starts at a multiple of it from the start of the data section.
        metadata: key -> value.
        tensors: name -> TensorInfo, in the file's order, those of part 2 after those of part 1.
    """

    def __init__(self, path: str, descriptor: int, mapping: mmap.mmap, status: os.stat_result) -> None:
        """Parse a mapping; use `open`."""
        self.path = path
        self.size = size = status.st_size
        self._descriptor = descriptor
        self._status = status
        self.metadata = Metadata()
        self.tensors: dict[str, TensorInfo] = {}
        self._map: mmap.mmap | None = mapping
        self._entries: dict[str, int] = {}
        self._others: list[GGUFFile] = []  # parts 2 and on
        self._parse(Cursor(mapping, min(size, _MAX_HEADER_BYTES)))
        self.metadata.path = printable(path)  # only now: `open` adds the path to what _parse raises

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> GGUFFile:
        """Map the file and check its header; for a split model `path` is the first file, and all of them are mapped.

        Raises:
            ModelFormatError: it is not a regular file, or not a GGUF file that can be read safely; or it is part of a
                split model but not the first, or other parts are missing or do not belong to it.
            FileNotFoundError, PermissionError: as the operating system says.
            MemoryError: there is not enough memory to map it.
        """
        file = cls._open_one(os.fsdecode(path))
        try:
            file._join()
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def _open_one(cls, name: str) -> GGUFFile:
        """Open one file, a whole model or a part."""
        shown = printable(name)
        descriptor = open_model_file(name)
        mapping = None
        try:
            status = os.fstat(descriptor)
            mapping = map_file(descriptor, status.st_size)
            return cls(name, descriptor, mapping, status)
        except BaseException as error:
            if mapping is not None:
                mapping.close()
            os.close(descriptor)
            if isinstance(error, ModelFormatError):
                raise ModelFormatError(f"{shown}: {error}") from None
            raise

    def _join(self) -> None:
        """Open the other parts of a split model, and add their tensors."""
        paths = other_parts(self.path, self.metadata)
        for number, path in enumerate(paths, 1):
            try:
                part = GGUFFile._open_one(path)
            except FileNotFoundError:
                problem = f"the model is split into {len(paths) + 1} files, but part {number + 1}, {printable(path)},"
                raise ModelFormatError(f"{self.metadata.path}: {problem} is not there") from None
            self._others.append(part)
            check_part(part.metadata, number, self.metadata)
            self.size += part.size
            for name, info in part.tensors.items():
                if name in self.tensors:
                    raise part.error(name, f"is in {self._part_of(name).metadata.path} too")
                self.tensors[name] = replace(info, part=number)
        if paths:
            check_tensors_count(self.metadata, len(self.tensors))

    def _part_of(self, tensor: str) -> GGUFFile:
        """Return the file that holds a tensor, or this one if none does."""
        return self._part(self.tensors[tensor].part) if tensor in self.tensors else self

    def _part(self, number: int) -> GGUFFile:
        return self._others[number - 1] if number else self

    @property
    def paths(self) -> list[str]:
        """The paths of the file, or of all parts of a split model in their order."""
        return [self.path, *(part.path for part in self._others)]

    @property
    def identities(self) -> tuple[tuple[int, ...], ...]:
        """The identity of the file, or of each part of a split model, when it was opened: see `file_identity`."""
        return tuple(FileIdentity.of(part._status) for part in (self, *self._others))

    def pieces(self, n_bytes: int) -> Iterator[bytes]:
        """Yield all bytes of the file, of all parts in their order, `n_bytes` at a time.

        Raises:
            ModelFormatError: the file has changed since it was opened.
        """
        for part in (self, *self._others):
            for start in range(0, part._status.st_size, n_bytes):
                yield os.pread(part._descriptor, n_bytes, start)
            part._check_unchanged()

    def close(self) -> None:
        """Release the mapping; may be called again.

        Arrays from `data` stay valid: the file is unmapped when the last of them is freed.
        """
        for part in self._others:
            part.close()
        mapping, self._map = self._map, None
        if mapping is not None:
            os.close(self._descriptor)
            with suppress(BufferError):  # an array from data() is alive: it holds the mapping until it dies
                mapping.close()

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    def data(self, info: TensorInfo) -> npt.NDArray[np.uint8]:
        """Return the tensor's bytes, (n_bytes,) uint8, read-only, not copied; valid for as long as the array lives.

        Raises:
            ModelClosedError: after close().
            ModelFormatError: the file has changed since it was opened.
        """
        part = self._part(info.part)
        part._check_unchanged()
        return np.frombuffer(part._open_map(), dtype=np.uint8, count=info.n_bytes, offset=info.offset)

    def release(self, offset: int, part: int = 0) -> None:
        """Tell the kernel that all bytes of a part before `offset` were consumed; reading them again fetches them anew.

        It always starts at byte 0: reading a page may bring back its neighbours, up to 2 MB of them.

        Raises:
            ModelClosedError: after close().
            ModelFormatError: the file has changed since it was opened, so the bytes may have changed too.
        """
        file = self._part(part)
        mapping = file._open_map()
        file._check_unchanged()
        stop = offset & -mmap.PAGESIZE
        if stop and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED, 0, stop)

    def error(self, tensor: str, problem: str) -> ModelFormatError:
        """Return the error "tensor NAME at byte N PROBLEM" (N is its directory entry), for the caller to raise."""
        part = self._part_of(tensor)
        where = f" at byte {part._entries[tensor]}" if tensor in part._entries else ""
        return ModelFormatError(f"{part.metadata.path}: tensor {printable(tensor)}{where} {problem}")

    def _check_unchanged(self) -> None:
        if self._map is None:
            return
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise ModelFormatError(f"{self.metadata.path}: the file was changed while it was read: try again")

    def _open_map(self) -> mmap.mmap:
        if self._map is None:
            raise ModelClosedError(f"{self.metadata.path}: the file is closed")
        return self._map

    def _parse(self, cursor: Cursor) -> None:
        check_magic(cursor.buffer[:512], self.size)
        cursor.pos = 4
        self.version = cursor.u32("the version")
        if self.version not in (2, 3):
            if self.version in (0x02000000, 0x03000000):
                raise ModelFormatError("the file is big-endian (version at byte 4), but only little-endian is read")
            raise ModelFormatError(f"the version is {self.version} at byte 4, but only 2 and 3 are read")
        n_tensors = cursor.count("the tensor count", _MIN_TENSOR_BYTES, _MAX_ENTRIES)
        n_keys = cursor.count("the metadata count", _MIN_KV_BYTES, _MAX_ENTRIES)
        for i in range(n_keys):
            at = cursor.pos
            key = cursor.identifier(f"the key of metadata entry {i}", _MAX_KEY_BYTES)
            shown = printable(key[:80])
            if key in self.metadata:
                raise ModelFormatError(f"the key {shown} at byte {at} is duplicated")
            kind_at = cursor.pos
            kind = cursor.u32(f"the type of {shown}")
            self.metadata.offsets[key] = cursor.pos
            self.metadata.kinds[key] = kind
            self.metadata[key] = cursor.value(kind, shown, kind_at)
        self.alignment = self._read_alignment()
        entries = [self._read_tensor(cursor, i) for i in range(n_tensors)]
        self._place(entries, cursor.pos)

    def _read_alignment(self) -> int:
        key = "general.alignment"
        alignment = self.metadata.integer(key, 8, _MAX_ALIGNMENT, default=32)
        if alignment & (alignment - 1):
            at = self.metadata.offsets[key]
            raise ModelFormatError(f"{key} is {alignment} at byte {at}, not a power of two")
        return alignment

    def _read_tensor(self, cursor: Cursor, index: int) -> TensorInfo:
        """Read one directory entry; its offset is still relative to the data section."""
        at = cursor.pos
        name = cursor.identifier(f"the name of tensor {index}", _MAX_NAME_BYTES)
        shown = printable(name)
        if name in self._entries:
            raise ModelFormatError(f"the tensor name {shown} at byte {at} is duplicated")
        self._entries[name] = at
        rank_at = cursor.pos
        rank = cursor.u32(f"the rank of {shown}")
        if not 1 <= rank <= _MAX_DIMS:
            raise ModelFormatError(f"the rank of {shown} is {rank} at byte {rank_at}, not in 1..{_MAX_DIMS}")
        dims_at = cursor.pos
        dims = [cursor.u64(f"dimension {i} of {shown}") for i in range(rank)]
        if 0 in dims:
            i = dims.index(0)
            raise ModelFormatError(f"dimension {i} of {shown} is 0 at byte {dims_at + 8 * i}")
        type_at = cursor.pos
        kind = cursor.u32(f"the type of {shown}")
        if kind not in BY_NUMBER:
            raise ModelFormatError(f"the type of {shown} is {kind} at byte {type_at}, not a ggml type in use")
        found = BY_NUMBER[kind]
        if dims[0] % found.block:
            needed = f"{found.name} needs a multiple of {found.block}"
            raise ModelFormatError(f"a row of {shown} has {dims[0]} values at byte {dims_at}, but {needed}")
        offset_at = cursor.pos
        offset = cursor.u64(f"the offset of {shown}")
        if offset % self.alignment:
            raise ModelFormatError(
                f"the offset of {shown} is {offset} at byte {offset_at}, "
                f"not a multiple of the alignment {self.alignment}"
            )
        n_bytes = found.n_bytes(math.prod(dims))  # Python integers: the product cannot wrap
        return TensorInfo(name, kind, found.name, tuple(reversed(dims)), offset, n_bytes)

    def _place(self, entries: list[TensorInfo], header_end: int) -> None:
        """Check that the tensors tile the data section, and make their offsets absolute."""
        start = _align(header_end, self.alignment)
        available = max(self.size - start, 0)
        expected = 0
        for info in sorted(entries, key=lambda info: info.offset):
            where = f"tensor {printable(info.name)} at byte {self._entries[info.name]}"
            if info.offset > available or info.n_bytes > available - info.offset:
                raise ModelFormatError(
                    f"{where} takes {info.n_bytes} bytes from offset {info.offset}, but the data section, "
                    f"from byte {start}, has {available}: the file is truncated or damaged"
                )
            if info.offset != expected:
                fault = "overlaps the tensor before it" if info.offset < expected else "leaves a hole before it"
                raise ModelFormatError(f"{where} has the offset {info.offset}, not {expected}: it {fault}")
            expected = _align(info.offset + info.n_bytes, self.alignment)
        if available > expected:
            raise ModelFormatError(
                f"trailing garbage: {available - expected} bytes follow the last tensor at byte {start + expected}"
            )
        for info in entries:
            self.tensors[info.name] = replace(info, offset=start + info.offset)
