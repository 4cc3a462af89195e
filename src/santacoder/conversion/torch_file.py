"""Reads the tensors of a PyTorch file with PyTorch's own loader, in the mode that runs no code from the file."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import format_value
from santacoder.conversion.stored import StoredTensor
from santacoder.errors import MissingPackageError, ModelFormatError

_NAMES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def missing_torch(name: str) -> MissingPackageError:
    """Return the error for a file that cannot be read, since PyTorch is not installed."""
    return MissingPackageError(
        f"{name} is a pickle, which only PyTorch's safe loader may read: install torch, "
        "or take a revision that has model.safetensors"
    )


def read_torch(path: Path) -> list[StoredTensor]:
    """Return the tensors of a file; if it can be mapped, they are not read yet.

    Raises:
        MissingPackageError: PyTorch is not installed.
        ModelFormatError: PyTorch refuses the file, or it is not a dictionary of tensors.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise missing_torch(path.name) from error
    if not path.stat().st_size:
        raise ModelFormatError(f"{path.name} is empty")
    try:
        # Only zip archives, PyTorch's format since version 1.6, can be mapped.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # RuntimeError, UnpicklingError, or whatever a damaged archive causes
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelFormatError(f"{path.name}: PyTorch's safe loader refuses it: {reason}") from error
    if not isinstance(state, dict):
        raise ModelFormatError(f"{path.name} holds a {type(state).__name__}, not a dictionary of tensors")
    return [_tensor(torch, path, name, value) for name, value in state.items()]


def _tensor(torch: Any, path: Path, name: object, value: Any) -> StoredTensor:
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        raise ModelFormatError(f"{path.name}: {format_value(name)} holds a {type(value).__name__}, not a tensor")
    if value.device.type != "cpu":
        raise ModelFormatError(
            f"{path.name}: tensor {format_value(name)} is on the device {value.device} and has no values here"
        )
    if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ModelFormatError(
            f"{path.name}: tensor {format_value(name)} is sparse or repeats its values: store it whole"
        )
    dtype = str(value.dtype).removeprefix("torch.")

    def fetch(start: int, stop: int) -> NDArray[Any]:
        part = (
            value.detach().reshape(-1)[start:stop].clone()
        )  # the mapping is private, but its pages must not be changed
        if part.dtype == torch.bfloat16:
            bits: NDArray[Any] = part.view(torch.int16).numpy()
            return bits.view(np.uint16)
        values: NDArray[Any] = part.numpy()
        return values

    return StoredTensor(name, path.name, _NAMES.get(dtype, dtype), tuple(value.shape), fetch)
