"""The options of a request, how to choose tokens and when to end: declared and explained here only.

A new option is a field of `SamplingParams` and, for type checkers, a line of `SamplingOptions`. The command line's flag
and the texts that `tools/document_options.py` writes follow from the field. option.py checks its values. Nothing here
needs NumPy, which would make `santacoder complete --help` slow.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, TypeVar, cast

from santacoder._util.validation import check_integer, format_value, invalid_argument
from santacoder.decoding.option import (
    Option,
    check_biases,
    check_function,
    check_index,
    check_left,
    check_report_or_stop,
    check_seconds,
    check_texts,
    check_token_ids,
)
from santacoder.errors import InvalidRequestError

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
        None, "by token id, added to the token's logit; -inf bans the token", low=-100, high=100, check=check_biases
    )
    stop: str | Iterable[str] = _option(
        (),
        "a text that ends the completion and is not part of it",
        note="of several, whichever comes first",
        check=check_texts,
    )
    stop_tokens: int | Iterable[int] = _option(
        (),
        "a token id that ends the completion: it is the last of its tokens, but not part of its text",
        low=0,
        note="of several, whichever comes first",
        check=check_token_ids,
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
        check=check_seconds,
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
        check=check_left,
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
        check=check_function,
    )
    stopping: Stopping | None = _option(  # noqa: RUF009
        None,
        "a function that is called with the generated text so far, each time that more of it is final; if it returns "
        "True, the completion ends with this text",
        unset="off",
        check=check_function,
    )
    attribution: AttributionIndex | None = _option(  # noqa: RUF009
        None, "an index of code in which the text is looked up", unset="off", check=check_index
    )
    on_match: Literal["report", "stop"] = _option(
        "report",
        'with an index, "report" says what of the text stands there, and "stop" also ends the text before it would be '
        'a copy that is not common, with the finish reason "attribution"',
        check=check_report_or_stop,
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
