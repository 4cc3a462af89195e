"""What callers pass: one line that names the argument, the value and the limit, whatever the value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder._util.validation import check_integer, format_value
from santacoder.errors import InvalidRequestError

HUGE = 10**5000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb", r"'a\nb'"),
        (np.array([1.5, 2.0]), "array([1.5, 2. ])"),
        (np.zeros((2, 2)), "array([[0., 0.], [0., 0.]])"),
        ("a  b", "'a  b'"),
        ("x" * 78, "'" + "x" * 78 + "'"),
        ("x" * 100, "'" + "x" * 76 + "..."),
        pytest.param(HUGE, "a number of 16610 bits", id="huge"),
        ([HUGE], "a list"),
    ],
)
def test_shown(value: object, expected: str) -> None:
    assert format_value(value) == expected


def test_shown_in_fewer_letters() -> None:
    assert format_value("x" * 100, 10) == "'xxxxxx..."


@pytest.mark.parametrize("value", [3, np.int8(3), np.array(3)])
def test_integers(value: object) -> None:
    assert check_integer("n", value, 1, 3) == 3


@pytest.mark.parametrize("value", [True, np.True_, 2.0, "2", None, np.array([1, 2]), np.array(2.0)])
def test_no_integers(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^n is .*, but it must be an integer in 1\.\.3$"):
        check_integer("n", value, 1, 3)


@pytest.mark.parametrize(
    ("value", "high", "limit"),
    [
        (0, None, "an integer of 1 or more"),
        (2**63, None, "an integer in 1..9223372036854775807"),
        pytest.param(HUGE, None, "an integer in 1..9223372036854775807", id="huge"),
        pytest.param(-HUGE, None, "an integer of 1 or more", id="negative"),
        (4, 3, "an integer in 1..3"),
    ],
)
def test_limits(value: int, high: int | None, limit: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_integer("n", value, 1, high)
    assert str(caught.value) == f"n is {format_value(value)}, but it must be {limit}"


@pytest.mark.parametrize(
    "options",
    [
        {"seed": HUGE},
        {"max_tokens": HUGE},
        {"max_tokens": np.array([1, 2])},
        {"top_k": HUGE},
        {"temperature": HUGE},
        {"stop_tokens": HUGE},
        {"stop_tokens": [np.array([1, 2])]},
        {"logit_bias": {HUGE: 1.0}},
        {"logit_bias": [(np.array([1, 2]), 1.0)]},
    ],
)
def test_of_complete(model: santacoder.SantaCoder, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r" is .*, but it must be "):
        model.complete("a", **options)


def test_elsewhere(model: santacoder.SantaCoder) -> None:
    with pytest.raises(InvalidRequestError, match=r"^token id a number of 16610 bits is not in 0\.\."):
        model.complete([HUGE])
    with pytest.raises(InvalidRequestError, match=r"^mode is array\(\['psm', 'x'\]"):
        model.infill("a", "b", mode=np.array(["psm", "x"]))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"^threads is a number of 16610 bits, but it must be an"):
        santacoder.load(threads=HUGE)
    with santacoder.load(threads=np.int64(1), context=np.int64(16)) as small:  # type: ignore[arg-type]
        assert (small.threads, small.context) == (1, 16)
