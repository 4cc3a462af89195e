"""Reads the tensors of a safetensors file: the package checks the header, and we read each tensor by its offset.

The package's own NumPy reader does not support bfloat16.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.regular_file import file_identity
from santacoder._util.validation import printable
from santacoder.conversion.stored import StoredTensor
from santacoder.errors import MissingPackageError, ModelFormatError
from santacoder.gguf.types import FLOAT_DTYPES

_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 1 << 20  # a tensor takes about 100 bytes


def missing_safetensors(name: str) -> MissingPackageError:
    """Return the error for a file that cannot be read, since the package is not installed."""
    return MissingPackageError(f"{name} needs the package safetensors: install it (pip install 'santacoder[convert]')")


def read_safetensors(path: Path) -> list[StoredTensor]:
    """Return the tensors of a file, without reading them yet.

    Raises:
        MissingPackageError: the package safetensors is not installed.
        ModelFormatError: the file is truncated, or its header does not fit it.
    """
    try:
        safetensors = importlib.import_module("safetensors")
    except ImportError as error:
        raise missing_safetensors(path.name) from error
    identity = file_identity(path)
    header_bytes = _header_bytes(path)
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass  # this checks types, shapes and offsets: no hole, no overlap, nothing past the end
    except safetensors.SafetensorError as error:
        raise ModelFormatError(f"{path.name} is damaged: {printable(str(error))}") from None
    with path.open("rb") as file:
        file.seek(_LENGTH_BYTES)
        header: dict[str, Any] = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    return [_tensor(path, identity, name, entry, _LENGTH_BYTES + header_bytes) for name, entry in header.items()]


def _header_bytes(path: Path) -> int:
    """Return the length of the header, with our own error: the package reports an absurd one as bad JSON."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    room = min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES)
    if not 2 <= length <= room:
        raise ModelFormatError(
            f"{path.name} is not a safetensors file, or is truncated: its header has {length} bytes, "
            f"but the file of {size} bytes has room for {max(room, 0)}"
        )
    return length


def _tensor(path: Path, identity: tuple[int, ...], name: str, entry: dict[str, Any], data: int) -> StoredTensor:
    dtype, shape, (first, _) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]

    def fetch(start: int, stop: int) -> NDArray[Any]:
        kind = np.dtype(FLOAT_DTYPES[dtype])
        values: NDArray[Any] = np.fromfile(path, kind, stop - start, offset=data + first + start * kind.itemsize)
        if values.size != stop - start or file_identity(path) != identity:
            raise ModelFormatError(f"{path.name}: tensor {printable(name)}: the file was changed while it was read")
        return values

    return StoredTensor(name, path.name, dtype, shape, fetch)
