"""Checks of arguments, and the form in which errors show values."""

from __future__ import annotations

import contextlib
import math
import operator
import os
from numbers import Real
from typing import Final, SupportsIndex

from santacoder.errors import InvalidRequestError

MOST: Final = 2**63 - 1  # the limit of an integer that has no other


def format_value(value: object, most: int = 80) -> str:
    """Return a value as an error shows it: one line of at most `most` characters, whatever the value."""
    try:
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except Exception:  # Python refuses to spell out integers of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def printable(text: str) -> str:
    """Return a path, key or name as an error shows it: control characters and stray bytes are escaped."""
    return text if text.isprintable() else ascii(text)


def invalid_argument(name: str, value: object, limit: str) -> InvalidRequestError:
    """Return the error for an argument that is not what `limit` says."""
    return InvalidRequestError(f"{name} is {format_value(value)}, but it must be {limit}")


def check_integer(name: str, value: object, low: int, high: int | None) -> int:
    """Return the value as an int. Accepts NumPy integers; rejects bool.

    Raises:
        InvalidRequestError: it is not an integer, or not in low..high; high None is 2^63 - 1.
    """
    number = value if type(value) is int else None  # the rest takes 50 times as long
    if number is None and not isinstance(value, bool) and isinstance(value, SupportsIndex):
        with contextlib.suppress(TypeError):  # an array has the method, too
            number = operator.index(value)
    most = MOST if high is None else high
    if number is not None and low <= number <= most:
        return number
    open_ended = high is None and (number is None or number < low)
    raise invalid_argument(
        name, value, f"an integer of {low} or more" if open_ended else f"an integer in {low}..{most}"
    )


def check_number(name: str, value: object, low: float, high: float) -> float:
    """Return a finite number as a float.

    Raises:
        InvalidRequestError: it is not a number, or not in low..high.
    """
    limit = f"a number in {low:g}..{high:g}" if high < math.inf else f"a finite number of {low:g} or more"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise invalid_argument(name, value, limit)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (low <= number <= high and math.isfinite(number)):
        raise invalid_argument(name, value, limit)
    return number


def check_text(text: object) -> bytes:
    """Return a text in UTF-8.

    Raises:
        InvalidRequestError: it is not a str, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidRequestError(f"the text is a {type(text).__name__}, but it must be a str")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise InvalidRequestError(
            f"character {error.start} of the text is the lone surrogate U+{code:04X}, which is not valid Unicode"
        ) from None


def why_bad_path(name: str | os.PathLike[str]) -> str:
    """Return why the operating system does not accept a name as a path."""
    return "holds a NUL character" if "\0" in os.fspath(name) else "holds characters that names of files cannot have"
