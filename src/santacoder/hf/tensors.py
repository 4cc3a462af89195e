"""NumPy arrays and PyTorch tensors. PyTorch is imported when it is asked for and never before."""

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
    """The name of a device, "cpu", with the attribute that code reads from a `torch.device`."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The kind of device."""
        return str(self)


CPU: Final = Device("cpu")


def check_device(device: object) -> None:
    """Check that a device is the CPU.

    Raises:
        InvalidRequestError: it is another.
    """
    if str(device) not in ("cpu", "cpu:0"):
        raise InvalidRequestError(f"the device is {str(device)!r}, but this library runs on the CPU alone: use 'cpu'")


def import_torch() -> Any:
    """PyTorch.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingPackageError(
            "return_tensors='pt' needs the package torch: install it (pip install torch) or use return_tensors='np'"
        ) from error


def kind_of(value: object) -> Kind | None:
    """Whether a value is a PyTorch tensor or a NumPy array, or neither."""
    if isinstance(value, np.ndarray):
        return "np"
    torch = sys.modules.get("torch")  # who made a tensor has imported it
    return "pt" if torch is not None and isinstance(value, torch.Tensor) else None


def to_array(value: Any) -> NDArray[Any]:
    """A tensor or array as an array.

    Raises:
        InvalidRequestError: the tensor is not on the CPU.
    """
    if isinstance(value, np.ndarray):
        return value
    check_device(value.device)
    array: NDArray[Any] = value.detach().numpy()
    return array


def as_kind(array: NDArray[Any], kind: Kind) -> Any:
    """An array as it is, or as a tensor that shares its memory."""
    return array if kind == "np" else import_torch().from_numpy(array)


def draw_seed(kind: Kind) -> int:
    """A seed in 0..2^63-1 from PyTorch's global generator for tensors, from NumPy's for arrays."""
    if kind == "np":
        return int(np.random.randint(0, _MAX_DRAWN_SEED, dtype=np.int64))
    return int(import_torch().randint(0, _MAX_DRAWN_SEED, ()).item())


def set_seed(seed: int) -> None:
    """Make what is sampled from here on repeatable, as `transformers.set_seed` does: seeds NumPy and PyTorch.

    Args:
        seed: 0..2^32-1.
    """
    np.random.seed(seed)
    with suppress(MissingPackageError):
        import_torch().manual_seed(seed)
