"""The fields of a request: each is taken with its type and range, and what nobody took is known as ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from santacoder._util.validation import check_integer, check_number, format_value
from santacoder.errors import InvalidRequestError
from santacoder.server.errors import bad_request, unsupported

T = TypeVar("T")

MAX_SEED: Final = (1 << 64) - 1
#: Values of a field that would change the text by which it changes nothing.
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "grammar": ("",), "json_schema": (), "response_format": ({"type": "text"},), "structured_outputs": (),
    "tools": ([],), "tool_choice": ("none",), "functions": ([],), "messages": (), "chat_template": ("",),
    "mirostat": (0,), "dry_multiplier": (0,), "xtc_probability": (0,), "typical_p": (1,), "dynatemp_range": (0,),
    "lora": ([],), "post_sampling_probs": (False,), "use_beam_search": (False,),
}  # fmt: skip
_IGNORED_NAMES: Final = 16  # of those in the header
_IGNORED_LENGTH: Final = 40  # characters of each


class Fields:
    """The members of a request's JSON object. A member that is null counts as not given."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._given = {name: value for name, value in body.items() if value is not None}
        self._left = dict.fromkeys(body)

    def take(self, name: str) -> Any:
        """Return a field as it is, or None."""
        self._left.pop(name, None)
        return self._given.get(name)

    def skip(self, *names: str) -> None:
        """Know fields that change nothing."""
        for name in names:
            self._left.pop(name, None)

    def has(self, name: str) -> bool:
        """Return whether a field is given."""
        return name in self._given

    def integer(self, name: str, low: int, high: int | None, default: T) -> int | T:
        """Return an integer in low..high; one may be written as a float without a fraction."""
        value = self.take(name)
        return default if value is None else _checked(name, check_integer, whole(value), low, high)

    def number(self, name: str, low: float, high: float, default: T) -> float | T:
        """Return a finite number in low..high."""
        value = self.take(name)
        return default if value is None else _checked(name, check_number, value, low, high)

    def flag(self, name: str, default: T = False) -> bool | T:  # type: ignore[assignment]
        """Return true or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise bad_request(f"{name} is {format_value(value)}, but it must be true or false", name)
        return value

    def text(self, name: str, default: T) -> str | T:
        """Return a text, of which an error does not show anything."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise bad_request(f"{name} is {kind(value)}, but it must be a text", name)
        return value

    def items(self, name: str, most: int) -> list[Any]:
        """Return a list of at most `most` items; empty where it is not given."""
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise bad_request(f"{name} is {kind(value)}, but it must be a list", name)
        if len(value) > most:
            raise bad_request(f"{name} has {len(value)} items, but {most} are the most", name)
        return value

    def seed(self) -> int | None:
        """Return the field "seed"; None where the server is to draw one."""
        value = self.integer("seed", -1, MAX_SEED, None)
        return None if value == -1 else value

    def stop(self) -> list[str]:
        """Return the stop strings, a text or a list of them; empty ones are dropped."""
        value = self.take("stop")
        texts = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise bad_request(f"stop is {kind(value)}, but it must be a text or a list of texts", "stop")
        if len(texts) > 32:
            raise bad_request(f"stop has {len(texts)} texts, but 32 are the most", "stop")
        longest = max(map(len, texts), default=0)
        if longest > 1024:
            raise bad_request(f"stop has a text of {longest} characters, but 1024 are the most", "stop")
        return [text for text in texts if text]

    def check_model(self) -> None:
        """Check the field "model", whose value does not matter: one process has one model."""
        value = self.take("model")
        if value is not None and not isinstance(value, str):
            raise bad_request(f"model is {format_value(value)}, but it must be a text", "model")

    def refuse_unsupported(self) -> None:
        """Refuse fields that would change the text and are not offered, unless they change nothing."""
        for name in (*self._left,):
            neutral = _NEUTRAL.get(name, () if name.startswith("guided_") else None)
            if neutral is not None:
                value = self.take(name)
                if value is not None and not any(_same(value, each) for each in neutral):
                    raise unsupported(name)
        if self.number("top_n_sigma", float("-inf"), float("inf"), 0.0) > 0:
            raise unsupported("top_n_sigma")

    def ignored(self) -> str:
        """Return the names of the fields that nobody took, as a header can carry them."""
        names = [quote(name[:_IGNORED_LENGTH], safe="") for name in self._left]
        more = ["..."] if len(names) > _IGNORED_NAMES else []
        return ",".join([*names[:_IGNORED_NAMES], *more])


def whole(value: object) -> object:
    """Return a float without a fraction as an integer, and anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def kind(value: object) -> str:
    """Name the type of a value of JSON."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}
    return names.get(type(value), "a number")


def bias_of(name: str, value: object) -> float:
    """Return one number of logit_bias."""
    found: float = _checked("logit_bias", lambda _, *rest: check_number(name, *rest), value, -100, 100)
    return found


def _checked(name: str, check: Any, *args: Any) -> Any:
    """Return what a check of the library returns; its error is about the field `name`."""
    try:
        return check(name, *args)
    except InvalidRequestError as error:
        raise bad_request(str(error), name) from None


def _same(value: object, neutral: object) -> bool:
    """Compare, and tell numbers from true and false."""
    return isinstance(value, bool) == isinstance(neutral, bool) and value == neutral
