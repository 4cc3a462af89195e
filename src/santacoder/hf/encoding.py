"""The result of a tokenizer call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from santacoder._util.validation import invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.tensors import Kind, as_kind, check_device, kind_of


class BatchEncoding(dict[str, Any]):
    """Lists, arrays or tensors by name, "input_ids" and "attention_mask"; also attributes of these names."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute {name!r}") from None

    def to(self, device: object) -> BatchEncoding:
        """Return self; only the CPU is supported.

        Raises:
            InvalidRequestError: another device is asked for.
        """
        check_device(device)
        return self


def check_kind(return_tensors: str | None) -> Kind | None:
    """Check the value of `return_tensors`, and return it.

    Raises:
        InvalidRequestError: it is not "pt", "np" or None.
    """
    kinds: dict[str | None, Kind | None] = {"pt": "pt", "np": "np", None: None}
    if not isinstance(return_tensors, str | None) or return_tensors not in kinds:
        raise invalid_argument("return_tensors", return_tensors, "'pt', 'np' or None")
    return kinds[return_tensors]


def stack(rows: Sequence[Sequence[int]], kind: Kind) -> Any:
    """Stack rows of equal length into a (B, T) int64 array or tensor.

    Raises:
        InvalidRequestError: the rows differ in length.
        MissingPackageError: a tensor is asked for, and PyTorch is not installed.
    """
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InvalidRequestError(
            f"the texts have {lengths[0]} to {lengths[-1]} tokens, which makes no tensor: ask for padding=True"
        )
    return as_kind(np.array(rows, dtype=np.int64).reshape(len(rows), *lengths), kind)


def as_lists(ids: Any) -> Any:
    """Convert a tensor or array of ids to (nested) lists; return anything else unchanged."""
    return ids if kind_of(ids) is None else ids.tolist()
