"""JSON on the way in and out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santacoder.server.errors import ApiError
from santacoder.server.strict_json import DEPTH, read_json, read_object, write_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    data = write_json(value)
    assert read_json(data) == value
    assert data.decode().splitlines() == [data.decode()]


@given(VALUES)
def test_other_spellings(value: Any) -> None:
    assert read_json(json.dumps(value, indent=1).encode()) == value


REFUSED: list[tuple[bytes, str]] = [
    (b"", "the body is empty, but it must be a JSON object"),
    (b" \n", "the body is empty, but it must be a JSON object"),
    (b"{", "the body is not JSON: Expecting property name enclosed in double quotes at character 1"),
    (b'"\xff"', "the body is not UTF-8: its byte 1 is 0xff"),
    (b'{"a":{"b":1,"c":2,"b":3}}', "the body has the key 'b' twice in one object"),
    (b"NaN", "the body holds NaN, which is not JSON"),
    (b"[-Infinity]", "the body holds -Infinity, which is not JSON"),
    (b"-1e999", "the body holds the number -1e999, which is too large"),
    (b"1" * 21, "the body holds an integer of 21 digits, but 20 are the most"),
    (b'{"a":["\\ud800"]}', "the body holds the lone surrogate U+D800, which is not valid Unicode"),
    (b'{"\\uDFFF":1}', "the body holds the lone surrogate U+DFFF, which is not valid Unicode"),
    (b"[1," * (DEPTH + 1) + b"1" + b"]" * (DEPTH + 1), f"the body is nested more than {DEPTH} deep"),
    (b'{"a":[' * 33 + b"]}" * 33, f"the body is nested more than {DEPTH} deep"),
    (b'{"a":1.5E+400}', "the body holds the number 1.5E+400, which is too large"),
    (b"9" * 400 + b".5", f"the body holds the number {'9' * 40}, which is too large"),
    (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), f"the body is nested more than {DEPTH} deep"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, f"the body is nested more than {DEPTH} deep"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(ApiError) as error:
        read_json(data)
    assert (error.value.status, error.value.message) == (400, message)


@pytest.mark.parametrize(("data", "kind"), [
    (b"[]", "an array"), (b'"x"', "a text"), (b"5", "a number"), (b"1.5", "a number"), (b"true", "true or false"),
    (b"null", "null"),
])  # fmt: skip
def test_values_that_are_not_objects(data: bytes, kind: str) -> None:
    with pytest.raises(ApiError) as error:
        read_object(data)
    assert error.value.message == f"the body is {kind}, but it must be a JSON object"


def test_brackets_in_texts_do_not_count() -> None:
    text = '[{"\\' * 500
    assert read_json(json.dumps([text, [text]]).encode()) == [text, [text]]
    nested = b"[" * DEPTH + b"]" * DEPTH
    assert read_json(b"[" + b",".join([nested[1:-1]] * 3) + b"]") is not None


def test_pairs_of_surrogates_are_characters() -> None:
    assert read_json(b'"\\ud83d\\ude00\\\\ud800"') == "\U0001f600\\ud800"


def test_ends_of_lines_are_escaped() -> None:
    assert write_json({"a": "x\u2028y\x85z\u2029\n"}) == b'{"a":"x\\u2028y\\u0085z\\u2029\\n"}'


def test_large_bodies_of_the_worst_kinds() -> None:
    assert read_json(b'"' + b"\\n" * 2_000_000 + b'"') == "\n" * 2_000_000
    assert read_json(b'["' + b"[" * 4_000_000 + b'"]') == ["[" * 4_000_000]
    assert read_json(b"[" + b"[{}]," * 500_000 + b"0]") == [*[[{}]] * 500_000, 0]
