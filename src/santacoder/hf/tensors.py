"""NumPy arrays and PyTorch tensors. PyTorch is imported only when a tensor is asked for."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from santacoder.errors import InvalidRequestError, MissingPackageError

Kind = Literal["pt", "np"]

_MAX_DRAWN_SEED: Final = (1 << 63) - 1


class Device(str):
    """A device's name, "cpu", with the attributes of a `torch.device`, which it equals."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The kind of device."""
        return str(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


CPU: Final = Device("cpu")


def check_device(device: object) -> None:
    """Check that a device is the CPU.

    Raises:
        InvalidRequestError: it is not.
    """
    if str(device) not in ("cpu", "cpu:0"):
        raise InvalidRequestError(f"the device is {str(device)!r}, but this library runs on the CPU only: use 'cpu'")


def import_torch() -> Any:
    """Import PyTorch.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingPackageError(
            "return_tensors='pt' needs the package torch: install it (pip install torch) or use return_tensors='np'"
        ) from error


class OnCPU:
    """What the model and its parameters have in common: where they are, and the type of results."""

    @property
    def device(self) -> Device:
        """The CPU."""
        return CPU

    @property
    def dtype(self) -> Any:
        """The type of results, float32: PyTorch's if that is imported, else NumPy's."""
        torch = sys.modules.get("torch")
        return np.dtype(np.float32) if torch is None else torch.float32


def is_dtype(value: object) -> bool:
    """Tell whether a value is a type of numbers, PyTorch's or NumPy's, rather than a device."""
    torch = sys.modules.get("torch")
    return isinstance(value, np.dtype | type) or (torch is not None and isinstance(value, torch.dtype))


def kind_of(value: object) -> Kind | None:
    """Tell whether a value is a PyTorch tensor or a NumPy array; None is neither."""
    if isinstance(value, np.ndarray):
        return "np"
    torch = sys.modules.get("torch")  # a tensor exists only if torch is imported
    return "pt" if torch is not None and isinstance(value, torch.Tensor) else None


def to_array(value: Any) -> NDArray[Any]:
    """Convert a tensor or array to an array.

    Raises:
        InvalidRequestError: the tensor is not on the CPU.
    """
    if isinstance(value, np.ndarray):
        return value
    check_device(value.device)
    array: NDArray[Any] = value.detach().numpy()
    return array


def as_kind(array: NDArray[Any], kind: Kind) -> Any:
    """Return an array as it is, or as a tensor that shares its memory."""
    return array if kind == "np" else import_torch().from_numpy(array)


def draw_seed(kind: Kind) -> int:
    """Draw a seed in 0..2^63-1 from PyTorch's global generator for tensors, from NumPy's for arrays."""
    if kind == "np":
        return int(np.random.randint(0, _MAX_DRAWN_SEED, dtype=np.int64))
    return int(import_torch().randint(0, _MAX_DRAWN_SEED, ()).item())


def set_seed(seed: int) -> None:
    """Make later sampling repeatable, as `transformers.set_seed` does: seed NumPy and PyTorch.

    Args:
        seed: 0..2^32-1.
    """
    np.random.seed(seed)
    with suppress(MissingPackageError):
        import_torch().manual_seed(seed)
