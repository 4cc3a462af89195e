"""Stand-ins for containers of other libraries, with the methods by which they can be read."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Column:
    """Values as a Series of pandas holds them: no Sequence, with an index that need not begin at 0."""

    ndim = 1

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    @property
    def shape(self) -> tuple[int]:
        return (len(self._values),)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __getitem__(self, key: object) -> Any:
        raise KeyError(key)

    def __bool__(self) -> bool:
        raise ValueError("the truth value of a Series is ambiguous")

    def tolist(self) -> list[Any]:
        return [*self._values]


class Table:
    """Columns as a DataFrame of pandas holds them: iterating gives their names."""

    ndim = 2

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)


class Tensor:
    """Numbers as a tensor of PyTorch holds them, on a device from which NumPy cannot read."""

    def __init__(self, values: Any) -> None:
        self._array = np.array(values)
        self.shape = self._array.shape
        self.ndim = self._array.ndim

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return map(Tensor, self._array)

    def __array__(self, *_: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __bool__(self) -> bool:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def cpu(self) -> Tensor:
        return self

    def tolist(self) -> Any:
        return self._array.tolist()


def series(values: list[Any]) -> Any:
    """A Series of pandas, or a stand-in where it is not installed."""
    make = _installed("pandas", "Series")
    return Column(values) if make is None else make(values, index=range(5, 5 + len(values)))


def tensor(values: Any) -> Any:
    """A tensor of PyTorch, or a stand-in where it is not installed."""
    make = _installed("torch", "tensor")
    return Tensor(values) if make is None else make(values)


def table(columns: dict[str, list[Any]]) -> Any:
    """A DataFrame of pandas, or a stand-in where it is not installed."""
    make = _installed("pandas", "DataFrame")
    return Table(columns) if make is None else make(columns)


def _installed(package: str, name: str) -> Callable[..., Any] | None:
    try:
        make: Callable[..., Any] = getattr(importlib.import_module(package), name)
    except ImportError:
        return None
    return make
