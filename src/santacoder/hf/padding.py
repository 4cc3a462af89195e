"""Cutting and padding rows of tokens."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.errors import InvalidRequestError

Side = Literal["left", "right"]
#: Values for each token by name: "input_ids", "attention_mask", "offset_mapping".
Columns = dict[str, list[list[Any]]]

_PADDINGS: Final[dict[object, str]] = {
    False: "", "do_not_pad": "", True: "longest", "longest": "longest", "max_length": "max_length"
}  # fmt: skip
_TRUNCATIONS: Final[dict[object, bool]] = {
    False: False, "do_not_truncate": False, True: True, "longest_first": True, "only_first": True
}  # fmt: skip
#: What stands in the padding, of names whose rows are padded; `pad_token_id` stands in "input_ids".
_FILL: Final[Mapping[str, Any]] = {"attention_mask": 0, "offset_mapping": (0, 0)}


@dataclass(frozen=True)
class Padding:
    """How to pad rows.

    Attributes:
        padding: True or "longest" pads to the longest row, "max_length" to `length`; False and "do_not_pad" are off.
        length: tokens of a row for "max_length".
        multiple: the length is rounded up to a multiple of it; None is off.
        side: "left" or "right".
        token: the token that pads; None if there is none.
    """

    padding: object
    length: int
    multiple: int | None
    side: str
    token: int | None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidRequestError: one is none of those above.
        """
        option("padding", self.padding, _PADDINGS)
        if self.multiple is not None:
            check_integer("pad_to_multiple_of", self.multiple, 1, None)

    def __bool__(self) -> bool:
        return bool(option("padding", self.padding, _PADDINGS))

    def pad(self, columns: Columns) -> None:
        """Pad all rows to one length; leave longer ones as they are.

        Raises:
            InvalidRequestError: there is no token for it, or the side is neither.
        """
        if not self:
            return
        if self.token is None:
            raise InvalidRequestError("padding needs a pad_token, and the model has no end of text: set pad_token")
        right = on_right("padding_side", self.side)
        longest = max(map(len, columns["input_ids"]), default=0)
        length = self.length if option("padding", self.padding, _PADDINGS) == "max_length" else longest
        if self.multiple is not None:
            length = -(-length // self.multiple) * self.multiple
        for name, fill in {"input_ids": self.token, **_FILL}.items():
            if name in columns:
                gaps = [[fill] * (length - len(row)) for row in columns[name]]
                rows = zip(columns[name], gaps, strict=True)
                columns[name] = [[*row, *gap] if right else [*gap, *row] for row, gap in rows]


def cut(columns: Columns, truncation: object, length: int, side: str) -> None:
    """Cut rows to a length, if `truncation` says so.

    Raises:
        InvalidRequestError: `truncation` is not one of its values, or the side is neither.
    """
    if not option("truncation", truncation, _TRUNCATIONS):
        return
    right = on_right("truncation_side", side)
    for name, rows in columns.items():
        columns[name] = [row[:length] if right else row[-length:] for row in rows]


def on_right(name: str, side: object) -> bool:
    """Return whether a side is the right one.

    Raises:
        InvalidRequestError: it is neither.
    """
    if side not in ("left", "right"):
        raise invalid_argument(name, side, "'left' or 'right'")
    return side == "right"


def option(name: str, value: object, meanings: Mapping[object, Any]) -> Any:
    """Return what a value means.

    Raises:
        InvalidRequestError: it has no meaning.
    """
    if not isinstance(value, Hashable) or value not in meanings:
        raise invalid_argument(name, value, f"one of {list(meanings)}")
    return meanings[value]
