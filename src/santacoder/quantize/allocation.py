"""Chooses each matrix's type so that a file has at most some size, and the sum of the losses is least."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from santacoder._util.validation import check_integer, invalid_argument

#: The types to choose from, the smallest first.
CANDIDATES: Final = ("Q4_K", "Q5_K", "Q6_K", "Q8_0")

_UNITS: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([A-Za-z]*)")


@dataclass(frozen=True)
class Choice:
    """A type that a matrix could get.

    Attributes:
        type_name: its name.
        n_bytes: bytes of the matrix in the file, padding included.
        loss: what it costs, in a unit that is the same for all matrices.
    """

    type_name: str
    n_bytes: int
    loss: float


def read_size(size: int | str) -> int:
    """Return a number of bytes from "680MB", "0.7GB", "650MiB" or an integer.

    Raises:
        InvalidRequestError: it is none of these, or less than a byte.
    """
    if not isinstance(size, str):
        return check_integer("size", size, 1, None)
    match = _SIZE.fullmatch(size.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise invalid_argument("size", size, "bytes, or a number with KB, MB, GB, KiB, MiB or GiB")
    return check_integer("size", int(Fraction(match[1]) * unit), 1, None)


def choose_types(choices: Mapping[str, Sequence[Choice]], budget: int) -> dict[str, str]:
    """Return the type of each matrix.

    All begin with the smallest. Then the step that saves most loss per byte is taken, as long as it fits. Only steps on
    the lower convex hull of a matrix's choices are looked at, so that each is better than those after it.

    Args:
        choices: of each matrix, at least one.
        budget: bytes of all matrices, at least those of the smallest choices.
    """
    hulls = {name: _hull(options) for name, options in choices.items()}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    left = budget - sum(choice.n_bytes for choice in chosen.values())
    steps = [(name, *step) for name, hull in hulls.items() for step in pairwise(hull)]
    steps.sort(key=lambda step: -_saved(step[1], step[2]))  # stable: equal steps in the order of the file
    for name, before, after in steps:
        more = after.n_bytes - before.n_bytes
        if chosen[name] is before and more <= left:
            chosen[name] = after
            left -= more
    return {name: choice.type_name for name, choice in chosen.items()}


def _hull(options: Sequence[Choice]) -> list[Choice]:
    points: list[Choice] = []
    for option in sorted(options, key=lambda choice: choice.n_bytes):
        if points and option.loss >= points[-1].loss:
            continue
        while len(points) > 1 and _saved(points[-2], points[-1]) <= _saved(points[-1], option):
            points.pop()
        points.append(option)
    return points


def _saved(before: Choice, after: Choice) -> float:
    """Return the loss saved per byte."""
    return (before.loss - after.loss) / (after.n_bytes - before.n_bytes)
