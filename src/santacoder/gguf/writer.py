"""Writes a GGUF file tensor by tensor: memory holds one at a time, and the file appears whole or not at all."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from santacoder._util.atomic_file import atomic_file, check_not_read, is_file, with_path_in_errors
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.types import TYPES

#: A metadata entry: key, value, type and, for an array, the type of its items.
Field = tuple[str, Any, gguf.GGUFValueType, gguf.GGUFValueType | None]

#: (name, values, type) of a tensor -> its bytes in the file.
Encode = Callable[[str, NDArray[Any], str], NDArray[np.uint8]]

_ARCHITECTURE: Final = "general.architecture"
_ALIGNMENT: Final = "general.alignment"


@dataclass(frozen=True)
class TensorSource:
    """A tensor to write.

    Attributes:
        name: its name in the file.
        shape: in NumPy order (rows, columns).
        type_name: the type that it gets: "F32", "Q4_K".
        load: returns its values in `shape`, C-contiguous: float32, float16, or uint16 with the bits of bfloat16.
            Called once; the array is not kept.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    load: Callable[[], NDArray[Any]]

    @property
    def n_bytes(self) -> int:
        """Bytes in the file, without padding.

        Raises:
            ModelFormatError: the length of a row is not a multiple of the type's block.
        """
        kind = TYPES[self.type_name]
        if self.shape[-1] % kind.block:
            raise ModelFormatError(
                f"tensor {self.name} has rows of {self.shape[-1]} values, "
                f"but {kind.name} needs a multiple of {kind.block}"
            )
        return kind.n_bytes(math.prod(self.shape))


def check_target(
    path: str | os.PathLike[str], force: bool = False, reads: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Check, before any work is done, that a model may be written to `path`.

    Args:
        path: the file to write.
        force: whether a file that exists may be replaced.
        reads: the files that the model is made from, which are never replaced.

    Raises:
        FileExistsError: there is a file, and not `force`.
        OSError: `path` is something other than a file, its folder does not exist, or it ends like a folder's.
        InvalidRequestError: `path` holds characters that no path can, or is one of `reads`.
    """
    target = Path(path)
    if os.fspath(path).endswith(os.sep):
        raise IsADirectoryError(errno.EISDIR, "this names a folder, not a file to write", os.fspath(path))
    exists = is_file(target)
    check_not_read(target, reads)
    if exists and not force:
        raise FileExistsError(errno.EEXIST, "the file exists; --force (force=True) overwrites it", str(target))


def write_model(
    path: str | os.PathLike[str],
    fields: Sequence[Field],
    tensors: Sequence[TensorSource],
    encode: Encode,
    *,
    force: bool = False,
    reads: Sequence[str | os.PathLike[str]] = (),
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write a GGUF file (version 3) under a temporary name beside `path`, and rename it when it is on the disk.

    Args:
        path: the file to write.
        fields: the metadata, in order; `general.architecture` is required and always comes first.
        tensors: written in order, aligned to `general.alignment` (32 if that is not given).
        encode: returns a tensor's bytes, as many as its type and shape require.
        force: whether a file that exists is replaced.
        reads: the files that `tensors` are loaded from, which are never replaced.
        progress: called after every tensor with the number of bytes written since its last call.

    Raises:
        FileExistsError: `path` exists, and not `force`.
        OSError: the file cannot be written (no space, no permission); the error names `path`.
        ModelFormatError: a row does not divide into blocks, or `load` or `encode` raises it.
        InvalidRequestError: a field that GGUF cannot hold: an array without items; `path` is one of `reads`.
    """
    target = Path(path)
    check_target(target, force, reads)
    writer = _header(fields, tensors)
    with atomic_file(target) as file:
        with with_path_in_errors(target):
            _write_header(writer, file)
        start = file.seek(0, os.SEEK_END)
        start += _pad(file, target, start, writer.data_alignment)
        _tell(progress, start)
        for tensor in tensors:
            data = _encoded(tensor, encode)
            with with_path_in_errors(target):
                file.write(data.data)
            _tell(progress, data.size + _pad(file, target, data.size, writer.data_alignment))
            del data
        with with_path_in_errors(target):
            file.flush()
        GGUFFile.open(file.name).close()  # what we write, we can read
        check_target(target, force, reads)  # it may have been created meanwhile


def header_bytes(fields: Sequence[Field], tensors: Sequence[TensorSource]) -> tuple[int, int]:
    """Return how many bytes of a file come before the tensors' data, and the alignment of each tensor.

    The types of the tensors do not matter.

    Raises:
        ModelFormatError, InvalidRequestError: as `write_model`.
    """
    writer = _header(fields, tensors)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "header").open("wb+") as file:
        _write_header(writer, file)
        end = file.seek(0, os.SEEK_END)
    return padded(end, writer.data_alignment), writer.data_alignment


def padded(n_bytes: int, alignment: int) -> int:
    """Return the next multiple of `alignment`."""
    return n_bytes + -n_bytes % alignment


def _header(fields: Sequence[Field], tensors: Sequence[TensorSource]) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(None, next(value for key, value, *_ in fields if key == _ARCHITECTURE))
    for key, value, kind, item_kind in fields:
        if key == _ALIGNMENT:
            writer.add_custom_alignment(value)
        elif key != _ARCHITECTURE:  # the writer has already put it first
            if kind == gguf.GGUFValueType.ARRAY:
                value = value.tolist() if isinstance(value, np.ndarray) else value
                if not len(value):
                    raise InvalidRequestError(f"{key} is an array without items, which cannot be written")
            writer.add_key_value(key, value, kind, item_kind)
    for tensor in tensors:
        ggml_type = gguf.GGMLQuantizationType[tensor.type_name]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.n_bytes, ggml_type)
    return writer


def _write_header(writer: gguf.GGUFWriter, file: IO[bytes]) -> None:
    """Write everything before the tensors' data. The writer opens the file itself; `file` follows it."""
    try:
        writer.write_header_to_file(Path(file.name))
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()


def _encoded(tensor: TensorSource, encode: Encode) -> NDArray[np.uint8]:
    """Return the tensor's bytes, (n_bytes,)."""
    values = tensor.load()
    if values.shape != tensor.shape:
        raise ValueError(f"tensor {tensor.name} has the shape {values.shape}, not {tensor.shape}")
    data = np.ascontiguousarray(encode(tensor.name, values, tensor.type_name)).reshape(-1)
    if data.dtype != np.uint8 or data.size != tensor.n_bytes:
        raise ValueError(f"tensor {tensor.name} was encoded in {data.size} {data.dtype}, not {tensor.n_bytes} bytes")
    return data


def _pad(file: IO[bytes], target: Path, n_bytes: int, alignment: int) -> int:
    """Write zeros after n_bytes up to the next multiple of `alignment`, and return how many."""
    padding = padded(n_bytes, alignment) - n_bytes
    with with_path_in_errors(target):
        file.write(bytes(padding))
    return padding


def _tell(progress: Callable[[int], object] | None, n_bytes: int) -> None:
    if progress is not None:
        progress(n_bytes)
