"""From tokens to text, with stop strings and whole characters; and what a finished completion is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from santacoder.errors import ContextOverflowError
from santacoder.text_filters import FilterChain, TextFilter
from santacoder.tokenizer import StreamDecoder, Tokenizer

if TYPE_CHECKING:
    from santacoder.scoring import TokenLogprobs

FinishReason = Literal["stop", "length", "deadline"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a request: what the prompt became, and what was generated."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went.

    Attributes:
        prompt_tokens: tokens of the prompt that were run; those that a cache held already are not counted.
        prompt_seconds: from the request to the choice of the first token.
        generation_tokens: tokens chosen after the first.
        generation_seconds: how long they took.
    """

    prompt_tokens: int
    prompt_seconds: float
    generation_tokens: int
    generation_seconds: float

    @property
    def prompt_tokens_per_second(self) -> float:
        """Speed of reading the prompt."""
        return self.prompt_tokens / max(self.prompt_seconds, 1e-9)

    @property
    def generation_tokens_per_second(self) -> float:
        """Speed of generating."""
        return self.generation_tokens / max(self.generation_seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed completion: text that is final, and the tokens generated since the last piece.

    `logprobs` has one entry for each of the tokens, if they were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprobs, ...] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished completion.

    Attributes:
        text: the generated text, up to a stop string and without it; with echo, after the prompt's.
        tokens: all generated tokens; those of a stop string and one of `stop_tokens` are included, the end of
            text is not.
        finish_reason: "stop" for a stop string, a stop token, a filter or the end of text, "length" for max_tokens,
            "deadline".
        seed: what the random bits were drawn with; the same seed and prompt give the same completion.
        usage: token counts.
        timings: seconds and speeds.
        logprobs: one entry for each of the tokens, if they were asked for.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason
    seed: int
    usage: Usage
    timings: Timings
    logprobs: list[TokenLogprobs] | None = None


class StopFilter:
    """Passes text on until a stop string appears, and holds back what could be the start of one.

    The stop string that is complete first counts (of several, the longest), so the result does not depend on
    how the text was cut into tokens.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The part of all text so far that is now known to be final and was not returned before."""
        held = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return held[: min(found)[1]]
        cut = len(held) - max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[cut:]
        return held[:cut]

    def flush(self, cut_off: bool = False) -> str:
        """What is still held back: no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop`, longer, starts."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def stop_filters(stops: Sequence[str]) -> list[TextFilter]:
    """The filters of a text that ends before a stop string, and is otherwise as the model writes it."""
    return [StopFilter(stops)]


class TextStream:
    """From tokens to final text: whole characters, of which filters let pass what the caller wants."""

    def __init__(self, tokenizer: Tokenizer, filters: Sequence[TextFilter]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._filter = FilterChain(filters)

    @property
    def stopped(self) -> bool:
        """Whether a filter ended the text."""
        return self._filter.stopped

    def feed(self, token: int) -> str:
        """The text that became final with this token."""
        return self._filter.feed(self._decoder.feed(token))

    def finish(self, cut_off: bool = False) -> str:
        """The rest: no more tokens come, because of a limit if `cut_off`."""
        return self._filter.feed(self._decoder.flush()) + self._filter.flush(cut_off)


def check_context(max_tokens: int, context: int, prompt_tokens: int, at_least: bool = False) -> None:
    """Check that a request fits; `at_least` says that the prompt may have more tokens than that.

    Raises:
        ContextOverflowError: it needs more positions than there are.
    """
    least = "at least " if at_least else ""
    if max_tokens == 0 and prompt_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens, but the context has {context} positions"
        )
    if prompt_tokens + max_tokens > context:
        raise ContextOverflowError(
            f"the prompt has {least}{prompt_tokens} tokens and max_tokens is {max_tokens}, together "
            f"{least}{prompt_tokens + max_tokens}, but the context has {context} positions"
        )


def check_scored(context: int, tokens: int, at_least: bool = False) -> None:
    """Check that a text to be scored fits; its last token is predicted but not read, so it needs no position.

    `at_least` is as in `check_context`.

    Raises:
        ContextOverflowError: it needs more positions than there are.
    """
    if tokens - 1 > context:
        least = "at least " if at_least else ""
        raise ContextOverflowError(
            f"the prompt has {least}{tokens} tokens, but at most {context + 1} can be scored: the context "
            f"has {context} positions, and the last token needs none"
        )
