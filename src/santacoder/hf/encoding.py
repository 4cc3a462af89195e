"""The result of a tokenizer call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from santacoder._util.validation import invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.padding import Columns
from santacoder.hf.tensors import Kind, as_kind, check_device, kind_of

#: Dimensions of one value, of names whose values are not numbers.
_ITEM: Final[Mapping[str, tuple[int, ...]]] = {"offset_mapping": (2,)}


class BatchEncoding(dict[str, Any]):
    """Lists, arrays or tensors by name, "input_ids" and "attention_mask"; also attributes of these names."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"BatchEncoding has no attribute {name!r}") from None

    @property
    def data(self) -> BatchEncoding:
        """The same."""
        return self

    def to(self, device: object, non_blocking: bool = False) -> BatchEncoding:
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


def encoding(columns: Columns, kind: Kind | None, lone: bool) -> BatchEncoding:
    """Return rows as the result of a call: lists, of a lone text its own, or (B, T) int64 arrays or tensors.

    Raises:
        InvalidRequestError: rows of a tensor differ in length.
        MissingPackageError: a tensor is asked for, and PyTorch is not installed.
    """
    if kind is not None:
        return BatchEncoding({name: _stack(rows, kind, _ITEM.get(name, ())) for name, rows in columns.items()})
    return BatchEncoding({name: rows[0] if lone else rows for name, rows in columns.items()})


def _stack(rows: Sequence[Sequence[Any]], kind: Kind, item: tuple[int, ...]) -> Any:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InvalidRequestError(
            f"the texts have {lengths[0]} to {lengths[-1]} tokens, which makes no tensor: ask for padding=True"
        )
    shape = (len(rows), *(lengths or [0]), *item) if item else (len(rows), *lengths)
    return as_kind(np.array(rows, dtype=np.int64).reshape(shape), kind)


def collect(encoded: object) -> tuple[Columns, Kind | None, bool]:
    """Return the rows of one or more results, whether they were tensors or arrays, and whether it is one text's.

    Raises:
        InvalidRequestError: they are not results of calls.
    """
    if isinstance(encoded, Sequence) and encoded and all(isinstance(each, Mapping) for each in encoded):
        encoded = {name: [each[name] for each in encoded if name in each] for name in encoded[0]}
    if not isinstance(encoded, Mapping) or "input_ids" not in encoded:
        raise invalid_argument("encoded_inputs", encoded, "results of the tokenizer, with input_ids")
    kind = None
    columns: Columns = {}
    for name, value in encoded.items():
        first = value[0] if isinstance(value, list | tuple) and value else value
        kind = kind or kind_of(first)
        columns[name] = [*map(as_lists, as_lists(value))]
    rows = columns["input_ids"]
    lone = bool(rows) and not isinstance(rows[0], list | tuple)
    if not lone and any(isinstance(row[0], list | tuple) for row in rows if row):
        raise invalid_argument("input_ids", rows, "one row, or a list of rows, of token ids")
    return {name: [values] for name, values in columns.items()} if lone else columns, kind, lone


def as_lists(ids: Any) -> Any:
    """Convert a tensor or array of ids to (nested) lists; return anything else unchanged."""
    return ids if kind_of(ids) is None else ids.tolist()
