"""The options of a request, how to choose tokens and when to end: declared, explained and checked here only.

A new option is a field of `SamplingParams` and, for type checkers, a line of `SamplingOptions`. The command line's flag
and the texts that `tools/document_options.py` writes follow from the field. Nothing here needs NumPy, which would make
`santacoder complete --help` slow.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, TypedDict, TypeVar, cast

from santacoder._util.validation import check_integer, check_number, format_value, invalid_argument
from santacoder.errors import ContextOverflowError, InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from santacoder.attribution.index import AttributionIndex

    #: Takes all tokens so far (N,) int32 and the logits of the next one (V,) float32, which it changes in place.
    LogitsProcessor = Callable[[NDArray[np.int32], NDArray[np.float32]], object]
else:
    LogitsProcessor = Callable[[Any, Any], object]

#: Takes the text so far and returns whether it ends here.
Stopping = Callable[[str], bool]

F = TypeVar("F", bound=Callable[..., Any])


class SamplingOptions(TypedDict, total=False):
    """The keywords of `SantaCoder.complete`, for type checkers; `SamplingParams` declares and checks them."""

    max_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    stop: str | Iterable[str] | None
    stop_tokens: int | Iterable[int] | None
    seed: int | None
    echo: bool | None
    ignore_eos: bool | None
    any_token: bool | None
    deadline: float | tuple[float, float] | None
    line_deadline: float | None
    min_indent: int | None
    logprobs: int | None
    prompt_logprobs: int | None
    lookup: bool | None
    token_healing: bool | None
    truncate: Literal["left"] | None
    clip: bool | None
    logits_processor: LogitsProcessor | None
    stopping: Stopping | None
    attribution: AttributionIndex | None
    on_match: Literal["report", "stop"] | None
    match_length: int | None


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


def _seconds(option: Option, value: object) -> float | tuple[float, float]:
    if not isinstance(value, tuple):
        return _number(option, value)
    if len(value) != 2:
        raise invalid_argument(option.name, value, "seconds, or a pair of seconds: for the prompt, and for all")
    return _number(option, value[0], f"{option.name}[0]"), _number(option, value[1], f"{option.name}[1]")


def _texts(option: Option, value: object) -> tuple[str, ...]:
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        texts = (value,) if isinstance(value, str) else (*value,)
        if all(isinstance(text, str) and text for text in texts):
            return (*sorted(texts),) if isinstance(value, Set) else texts
    raise invalid_argument(option.name, value, "a text or a list of texts, none of them empty")


def _token_ids(option: Option, value: object) -> tuple[int, ...]:
    to_list = getattr(value, "tolist", None)  # of an array
    tokens = value if to_list is None else to_list()
    if isinstance(tokens, SupportsIndex):
        tokens = (tokens,)
    if not isinstance(tokens, Iterable) or isinstance(tokens, str | bytes):
        raise invalid_argument(option.name, value, "a token id or a list of token ids")
    return tuple(_token_id(option, token) for token in tokens)


def _token_id(option: Option, token: object) -> int:
    return check_integer(f"a token id of {option.name}", token, 0, None)


def _biases(option: Option, value: object) -> dict[int, float]:
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


def _left(option: Option, value: object) -> str:
    if not isinstance(value, str) or value != "left":
        raise invalid_argument(option.name, value, "'left' or None")
    return value


def _function(option: Option, value: object) -> object:
    if not callable(value):
        raise invalid_argument(option.name, value, "a function")
    return value


def _index(option: Option, value: object) -> object:
    from santacoder.attribution.index import AttributionIndex

    if not isinstance(value, AttributionIndex):
        raise invalid_argument(option.name, value, "an AttributionIndex")
    return value


def _report_or_stop(option: Option, value: object) -> str:
    if not isinstance(value, str) or value not in ("report", "stop"):
        raise invalid_argument(option.name, value, "'report' or 'stop'")
    return value


_CHECKS: Final[Mapping[str, Callable[[Option, object], object]]] = {"int": _integer, "float": _number, "bool": _flag}


def _option(
    default: object,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    unset: str = "",
    note: str = "",
    check: Callable[[Option, object], object] | None = None,
) -> Any:
    """Declare an option; `check` is only needed where the values are not plain numbers or flags."""
    known = {"help": help, "low": low, "high": high, "unset": unset, "note": note, "check": check}
    return field(default=default, metadata=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose tokens and when to end: a value of every option, in its normal form.

    Raises:
        InvalidRequestError: a value is of a wrong type or out of range.
    """

    max_tokens: int = _option(
        128, "most tokens to generate; 0 only reads the prompt, for requests to come that begin with it", low=0
    )
    temperature: float = _option(0.2, "0 always takes the most probable token", low=0)
    top_k: int = _option(0, "choose among the k most probable tokens; 0 is off", low=0)
    top_p: float = _option(
        0.95, "choose among the fewest tokens that add up to this probability; 1 is off", low=0, high=1
    )
    min_p: float = _option(
        0.0, "choose among tokens with at least this fraction of the largest probability; 0 is off", low=0, high=1
    )
    repetition_penalty: float = _option(
        1.0, "above 1 discourages tokens of the prompt and the text so far", low=0.01, high=100
    )
    frequency_penalty: float = _option(
        0.0, "subtracted from a token's logit for each time it was generated", low=-2, high=2
    )
    presence_penalty: float = _option(0.0, "subtracted from a token's logit if it was generated", low=-2, high=2)
    logit_bias: Mapping[int, float] | Mapping[str, float] | None = _option(
        None, "by token id, added to the token's logit; -inf bans the token", low=-100, high=100, check=_biases
    )
    stop: str | Iterable[str] = _option(
        (),
        "a text that ends the completion and is not part of it",
        note="of several, whichever comes first",
        check=_texts,
    )
    stop_tokens: int | Iterable[int] = _option(
        (),
        "a token id that ends the completion: it is the last of its tokens, but not part of its text",
        low=0,
        note="of several, whichever comes first",
        check=_token_ids,
    )
    seed: int | None = _option(
        None,
        "makes the completion repeatable",
        low=0,
        high=(1 << 64) - 1,
        unset="a random one",
        note="the completion names it",
    )
    echo: bool = _option(False, "begin the completion's text with the prompt; of infilling, with the prefix")
    ignore_eos: bool = _option(False, "go on after an end of text, which becomes a token like any other")
    any_token: bool = _option(
        False, "allow tokens that are otherwise never chosen: unused ones, padding rows, infilling markers"
    )
    deadline: float | tuple[float, float] | None = _option(
        None,
        'seconds after which the text so far is returned, with the finish reason "deadline"',
        low=0,
        unset="unlimited",
        note="of a pair the first holds for the prompt, the second for prompt and completion together",
        check=_seconds,
    )
    line_deadline: float | None = _option(
        None,
        "seconds from the first token on after which the text ends with its last whole line, at least the first one, "
        'and with the finish reason "deadline"',
        low=0,
        unset="unlimited",
    )
    min_indent: int = _option(
        0,
        "end the text before a line that is not its first, has text, and begins with fewer blanks and tabs; 0 is off",
        low=0,
    )
    logprobs: int | None = _option(
        None,
        "return each token's log-probability, before other options change anything, and those of this many of the most "
        "probable tokens",
        low=0,
        high=100,
        unset="off",
    )
    prompt_logprobs: int | None = _option(
        None,
        "return each prompt token's log-probability, too, and those of this many of the most probable tokens",
        low=0,
        high=100,
        unset="off",
    )
    lookup: bool = _option(True, "draft tokens from the text, earlier answers and `index`: same tokens, often sooner")
    token_healing: bool | None = _option(
        None,
        "take back the last word of the text, or the blanks at its end, and generate on from there: what begins with "
        "them again, and is not part of the completion's text",
        unset="on for texts, off for token ids and with prompt_logprobs",
    )
    truncate: Literal["left"] | None = _option(
        None,
        '"left" drops tokens at the beginning of a prompt that is too long, a few hundred at a time, instead of '
        "refusing it; infilling always does",
        unset="off",
        check=_left,
    )
    clip: bool = _option(
        False,
        "where max_tokens is more than the context leaves, generate what it leaves instead of refusing the prompt",
    )
    logits_processor: LogitsProcessor | None = _option(  # noqa: RUF009
        None,
        "a function that is called before each token is chosen, with all tokens so far (an array of int32, prompt and "
        "generated) and the model's logits (an array of float32, one for each token of the vocabulary), which it "
        "changes in place",
        unset="off",
        check=_function,
    )
    stopping: Stopping | None = _option(  # noqa: RUF009
        None,
        "a function that is called with the generated text so far, each time that more of it is final; if it returns "
        "True, the completion ends with this text",
        unset="off",
        check=_function,
    )
    attribution: AttributionIndex | None = _option(  # noqa: RUF009
        None, "an index of code in which the text is looked up", unset="off", check=_index
    )
    on_match: Literal["report", "stop"] = _option(
        "report",
        'with an index, "report" says what of the text stands there, and "stop" also ends the text before it would be '
        'a copy that is not common, with the finish reason "attribution"',
        check=_report_or_stop,
    )
    match_length: int = _option(
        40, "with an index, the lexemes of the shortest span to report, or not to write", low=16
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, option.checked(getattr(self, name)))
        if self.attribution is not None and self.on_match == "stop" and self.match_length < self.attribution.guarantee:
            raise invalid_argument(
                "match_length",
                self.match_length,
                f"{self.attribution.guarantee} or more with on_match 'stop': shorter spans are not always found",
            )

    @property
    def deadlines(self) -> tuple[float, float]:
        """Seconds for the prompt and for prompt and completion together; infinite where there is no limit."""
        if self.deadline is None:
            return math.inf, math.inf
        return self.deadline if isinstance(self.deadline, tuple) else (self.deadline, self.deadline)

    @property
    def heals(self) -> bool | None:
        """Whether to heal a text; None leaves it to the kind of the request."""
        return False if self.token_healing is None and self.prompt_logprobs is not None else self.token_healing

    @property
    def biases(self) -> Mapping[int, float]:
        """What `logit_bias` adds to the logits, by token id."""
        return cast("Mapping[int, float]", self.logit_bias or {})

    @property
    def choice(self) -> tuple[Hashable, ...]:
        """What decides a token beside the logits, the tokens so far and the random bits."""
        return (
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_p,
            self.repetition_penalty,
            self.frequency_penalty,
            self.presence_penalty,
            tuple(self.biases.items()),
            self.any_token,
        )

    @property
    def has_penalties(self) -> bool:
        """Whether a token's logit depends on the tokens before it."""
        return self.repetition_penalty != 1.0 or bool(self.frequency_penalty or self.presence_penalty)

    @property
    def has_hooks(self) -> bool:
        """Whether functions of the caller take part."""
        return self.logits_processor is not None or self.stopping is not None

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts of `stop`."""
        return cast("tuple[str, ...]", self.stop)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The set of `stop_tokens`."""
        return frozenset(cast("tuple[int, ...]", self.stop_tokens))


#: Every option, by its keyword.
OPTIONS: Final[Mapping[str, Option]] = {
    declared.name: Option(declared.name, str(declared.type), declared.default, **declared.metadata)
    for declared in fields(SamplingParams)
}


#: Names that other libraries have for an option, or for what is elsewhere here.
_OTHER_NAMES: Final = {
    "best_of": "n of complete_many",
    "bad_words_ids": "logit_bias",
    "do_sample": "temperature",
    "eos_token_id": "stop_tokens",
    "max_length": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_time": "deadline",
    "n": "n of complete_many",
    "n_indent": "min_indent",
    "n_predict": "max_tokens",
    "num_return_sequences": "n of complete_many",
    "prefix_allowed_tokens_fn": "logits_processor",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "stop_strings": "stop",
    "stop_token_ids": "stop_tokens",
    "stopping_criteria": "stopping",
    "stream": "the method stream",
    "suffix": "the method infill",
    "suppress_tokens": "logit_bias",
    "t_max_predict_ms": "line_deadline, in seconds",
    "timeout": "deadline",
    "truncation": "truncate",
    "truncation_side": "truncate",
}


def unknown_option(name: object) -> InvalidRequestError:
    """Return the error for a keyword that is not an option, with the options that may be meant."""
    text = name if isinstance(name, str) else ""
    meant = [_OTHER_NAMES[text]] if text in _OTHER_NAMES else get_close_matches(text.lower(), OPTIONS, 1, 0.7)
    hint = f" (did you mean {meant[0]}?)" if meant else ""
    return InvalidRequestError(f"{format_value(name)} is not a keyword{hint}; the keywords are: {', '.join(OPTIONS)}")


def with_options(function: F) -> F:
    """Show the options in the signature of a function that takes them as `**options`."""
    signature = inspect.signature(function)
    kept = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.annotation
        )
        for option in OPTIONS.values()
    ]
    function.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    return function


def check_tokens(params: SamplingParams, vocab_size: int) -> None:
    """Check logit_bias and stop_tokens against the vocabulary.

    Raises:
        InvalidRequestError: one of them names a token outside the vocabulary.
    """
    for name, tokens in (
        ("logit_bias", params.biases),
        ("stop_tokens", cast("tuple[int, ...]", params.stop_tokens)),
    ):
        for token in tokens:
            check_integer(f"a token id of {name}", token, 0, vocab_size - 1)


def check_context(max_tokens: int, context: int, prompt_tokens: int, at_least: bool = False) -> None:
    """Check that a request fits; `at_least` says that the prompt may have more than `prompt_tokens` tokens.

    Raises:
        ContextOverflowError: it needs more positions than the context has.
    """
    least = "at least " if at_least else ""
    if max_tokens == 0 and prompt_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens, but the context has {context} positions",
            prompt_tokens,
            context,
        )
    if prompt_tokens + max_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens and max_tokens is {max_tokens}, together "
            f"{least}{prompt_tokens + max_tokens}, but the context has {context} positions",
            prompt_tokens,
            context,
        )


def check_scored(context: int, tokens: int, at_least: bool = False) -> None:
    """Check that a text to be scored fits; its last token is predicted but not read, so it needs no position.

    `at_least` is as in `check_context`.

    Raises:
        ContextOverflowError: it needs more positions than the context has.
    """
    if tokens - 1 > context:
        least = "at least " if at_least else ""
        raise ContextOverflowError(
            f"the prompt has {least}{tokens} tokens, but at most {context + 1} can be scored: the context "
            f"has {context} positions, and the last token needs none",
            tokens,
            context,
        )
