"""JSON as the server reads and writes it: strict on the way in, one compact line on the way out."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from santacoder.server.errors import ApiError, bad_request

DEPTH: Final = 64  # of nested arrays and objects
DIGITS: Final = 20  # of an integer

_TEXT: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")
_ONE_KIND: Final = str.maketrans("{}", "[]")
#: What a text has if it holds a number that is too long or too large; looking at each number would take far longer.
_LONG_INTEGER: Final = re.compile(rf"[0-9]{{{DIGITS + 1}}}")
_LARGE_FLOAT: Final = re.compile(r"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
#: Characters that some clients take for the end of a line; JSON may hold them only within texts.
_LINE_ENDS: Final = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def read_json(data: bytes) -> object:
    """Return the value of a request's body.

    Raises:
        ApiError: it is not JSON in UTF-8, or holds what would mean different things to different readers.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8: its byte {error.start} is 0x{data[error.start]:02x}") from None
    if not text.strip():
        raise bad_request("the body is empty, but it must be a JSON object")
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer if _LONG_INTEGER.search(text) else None,
            parse_float=_float if _LARGE_FLOAT.search(text) else None,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    _check_depth(text)
    if _SURROGATE.search(text):
        _check_texts(value)
    return value


def read_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that a request's body must be.

    Raises:
        ApiError: as in `read_json`, or it is another value.
    """
    value = read_json(data)
    if not isinstance(value, dict):
        kinds = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
        raise bad_request(f"the body is {kinds.get(type(value), 'a number')}, but it must be a JSON object")
    return value


def write_json(value: object) -> bytes:
    """Return a value as one line of JSON in UTF-8, without spaces between its parts."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text if text.isascii() else text.translate(_LINE_ENDS)).encode()


def _check_depth(text: str) -> None:
    """Refuse JSON that is nested too deep: each step takes away the innermost pairs of brackets."""
    if text.count("[") + text.count("{") <= DEPTH:
        return
    brackets = _NO_BRACKETS.sub("", _TEXT.sub("", text)).translate(_ONE_KIND)
    for _ in range(DEPTH):
        brackets = brackets.replace("[]", "")
    if brackets:
        raise _too_deep()


def _too_deep() -> ApiError:
    return bad_request(f"the body is nested more than {DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in found if names.count(name) > 1)
        raise bad_request(f"the body has the key {ascii(name)[:80]} twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise bad_request(f"the body holds an integer of {len(digits.lstrip('-'))} digits, but {DIGITS} are the most")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise bad_request(f"the body holds the number {digits[:40]}, which is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise bad_request(f"the body holds {name}, which is not JSON")


def _check_texts(value: object) -> None:
    """Refuse lone surrogates in any text or key; JSON's escapes can write them, but no UTF-8 can carry them."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            code = ord(value[error.start])
            raise bad_request(f"the body holds the lone surrogate U+{code:04X}, which is not valid Unicode") from None
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_texts(name)
            _check_texts(item)
