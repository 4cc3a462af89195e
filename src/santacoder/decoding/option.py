"""What an option is: its type, its range, its explanation, and the values that it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from numbers import Real
from typing import Final, SupportsIndex

from santacoder._util.validation import check_integer, check_number, invalid_argument
from santacoder.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Option:
    """Everything there is to know about one option.

    Attributes:
        name: the keyword.
        type: of its values, spelled as in annotations.
        default: its value where it is not given.
        help: what it does, without a full stop.
        low, high: the range of its numbers, both included. Without low it takes no numbers; without high there is no
            upper limit.
        unset: what None, the default, means, where a reader could not tell.
        note: what else callers from Python need to know, and users of the command line do not.
        check: returns the normal form of a value that is not None, or raises InvalidRequestError. None for numbers and
            flags, which `kind` tells.
    """

    name: str
    type: str
    default: object
    help: str
    low: float | None
    high: float | None
    unset: str
    note: str
    check: Callable[[Option, object], object] | None

    @property
    def kind(self) -> str:
        """The type of one value: the first that `type` names."""
        return self.type.split(" | ")[0]

    @property
    def annotation(self) -> str:
        """The type of what callers may pass: None, too."""
        return self.type if self.type.endswith(" | None") else f"{self.type} | None"

    @property
    def range(self) -> str:
        """The numbers that it takes: "0..1", "1 or more"; empty where it takes none."""
        if self.low is None:
            return ""
        return f"{_limit(self.low)} or more" if self.high is None else f"{_limit(self.low)}..{_limit(self.high)}"

    def checked(self, value: object) -> object:
        """Return the normal form of a value; None is the default.

        Raises:
            InvalidRequestError: it has a wrong type or is out of range.
        """
        if value is None:
            return self.default
        check = self.check or _CHECKS[self.kind]
        return check(self, value)


def _limit(number: float) -> str:
    bits = int(number).bit_length()
    return f"2^{bits}-1" if bits > 53 and number == (1 << bits) - 1 else f"{number:g}"


def _integer(option: Option, value: object) -> int:
    low, high = int(option.low or 0), None if option.high is None else int(option.high)
    return check_integer(option.name, value, low, high)


def _number(option: Option, value: object, name: str = "") -> float:
    """Check a number of an option, or of a part of it that has the name `name`."""
    return check_number(name or option.name, value, option.low or 0.0, math.inf if option.high is None else option.high)


def _flag(option: Option, value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid_argument(option.name, value, "True or False")
    return value


def check_seconds(option: Option, value: object) -> float | tuple[float, float]:
    """Check a number of seconds, or a pair of them."""
    if not isinstance(value, tuple):
        return _number(option, value)
    if len(value) != 2:
        raise invalid_argument(option.name, value, "seconds, or a pair of seconds: for the prompt, and for all")
    return _number(option, value[0], f"{option.name}[0]"), _number(option, value[1], f"{option.name}[1]")


def check_texts(option: Option, value: object) -> tuple[str, ...]:
    """Check a text or several, and sort a set of them."""
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        texts = (value,) if isinstance(value, str) else (*value,)
        if all(isinstance(text, str) and text for text in texts):
            return (*sorted(texts),) if isinstance(value, Set) else texts
    raise invalid_argument(option.name, value, "a text or a list of texts, none of them empty")


def check_token_ids(option: Option, value: object) -> tuple[int, ...]:
    """Check a token id or several."""
    to_list = getattr(value, "tolist", None)  # of an array
    tokens = value if to_list is None else to_list()
    if isinstance(tokens, SupportsIndex):
        tokens = (tokens,)
    if not isinstance(tokens, Iterable) or isinstance(tokens, str | bytes):
        raise invalid_argument(option.name, value, "a token id or a list of token ids")
    return tuple(_token_id(option, token) for token in tokens)


def _token_id(option: Option, token: object) -> int:
    return check_integer(f"a token id of {option.name}", token, 0, None)


def check_biases(option: Option, value: object) -> dict[int, float]:
    """Check a mapping from token ids to numbers."""
    pairs = value.items() if isinstance(value, Mapping) else value
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise invalid_argument(option.name, value, "a mapping from token ids to numbers")
    biases: dict[int, float] = {}
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise invalid_argument(option.name, value, "a mapping from token ids to numbers")
        key, bias = pair
        plain = isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 20 and key == str(int(key))
        token = _token_id(option, int(key) if plain else key)  # JSON's keys are texts
        if token in biases:
            raise InvalidRequestError(f"{option.name} names token {token} twice, but it must have one number for each")
        biases[token] = _bias(option, bias, f"{option.name}[{token}]")
    return biases


def _bias(option: Option, value: object, name: str) -> float:
    if isinstance(value, Real) and value == -math.inf:
        return -math.inf
    try:
        return _number(option, value, name)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{error}, or -inf") from None


def check_left(option: Option, value: object) -> str:
    """Check an option whose only value is "left"."""
    if not isinstance(value, str) or value != "left":
        raise invalid_argument(option.name, value, "'left' or None")
    return value


def check_function(option: Option, value: object) -> object:
    """Check a function of the caller."""
    if not callable(value):
        raise invalid_argument(option.name, value, "a function")
    return value


def check_index(option: Option, value: object) -> object:
    """Check an index of code."""
    from santacoder.attribution.index import AttributionIndex

    if not isinstance(value, AttributionIndex):
        raise invalid_argument(option.name, value, "an AttributionIndex")
    return value


def check_report_or_stop(option: Option, value: object) -> str:
    """Check an option whose values are "report" and "stop"."""
    if not isinstance(value, str) or value not in ("report", "stop"):
        raise invalid_argument(option.name, value, "'report' or 'stop'")
    return value


_CHECKS: Final[Mapping[str, Callable[[Option, object], object]]] = {"int": _integer, "float": _number, "bool": _flag}
