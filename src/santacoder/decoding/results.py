"""A completion: its text, tokens, counts and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from santacoder.attribution.matches import Match
    from santacoder.decoding.logprobs import TokenLogprobs


FinishReason = Literal["stop", "length", "deadline", "attribution"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a request: of the prompt, and of what was generated."""

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
        cached_tokens: tokens of the prompt that a cache held.
    """

    prompt_tokens: int
    prompt_seconds: float
    generation_tokens: int
    generation_seconds: float
    cached_tokens: int = 0

    @property
    def prompt_tokens_per_second(self) -> float:
        """Speed of reading the prompt."""
        return self.prompt_tokens / max(self.prompt_seconds, 1e-9)

    @property
    def generation_tokens_per_second(self) -> float:
        """Speed of generation."""
        return self.generation_tokens / max(self.generation_seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed completion: text that is final, and the tokens generated since the last piece.

    Attributes:
        text: it follows that of the pieces before.
        tokens: of the text, and perhaps of text to come.
        finish_reason: that of the completion, in the last piece.
        logprobs: one entry for each of the tokens, if they were asked for.
        prompt_logprobs: those of the completion, if they were asked for, in a first piece that has no tokens.
        attribution: that of the whole text, in the last piece, if there is an index.
        completion: the whole completion, in the last piece.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs | None, ...] | None = None
    attribution: tuple[Match, ...] | None = None
    completion: Completion | None = field(default=None, compare=False, repr=False)


class _Parts:
    """Where a completion's tokens are in its text, for notebooks: no part of its value, and lost in copies."""

    __slots__ = ("_parts",)
    _parts: tuple[int, Sequence[str]]  # where they begin, and the text of each


@dataclass(frozen=True, slots=True)
class Completion(_Parts):
    """A finished completion.

    Attributes:
        text: the generated text, up to a stop string and without it; with echo, after the prompt's.
        tokens: all generated tokens; those of a stop string and one of `stop_tokens` are included, the end of
            text is not.
        finish_reason: "stop" for a stop string, a stop token, a filter or the end of text, "length" for max_tokens,
            "deadline" for `deadline` or `line_deadline`, "attribution" for a copy that `on_match` "stop" prevented.
        seed: of the random bits; the same seed, prompt and options give the same completion.
        usage: token counts.
        timings: seconds and speeds.
        logprobs: one entry for each of the tokens, if they were asked for.
        healed: tokens of the prompt that token healing took back. `tokens` stand after the prompt without these, and
            begin with those that spell them again.
        dropped: tokens of the caller's text that were cut, since there was no room for them. They are not in `usage`.
        prompt_logprobs: one entry for each token of the prompt that was read, the first one None, if they were asked
            for. After a deadline in the prompt there are fewer.
        end_token: the token that ended the text: an end of text, or one of `stop_tokens`.
        end_logprobs: of an end of text, which is not among the tokens, if log-probabilities were asked for.
        stop_text: the stop string that ended the text; of infilling, with LF for its line breaks.
        attribution: what of the text stands in the index, if there is one: positions are those of the text without an
            echo, and negative where a span begins in the prompt.
    """

    text: str
    tokens: list[int]
    finish_reason: FinishReason
    seed: int
    usage: Usage
    timings: Timings
    logprobs: list[TokenLogprobs] | None = None
    healed: int = 0
    dropped: int = 0
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    end_token: int | None = None
    end_logprobs: TokenLogprobs | None = None
    stop_text: str | None = None
    attribution: list[Match] | None = None

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability of the tokens, an end of text included; None if there are none, or none was kept."""
        from santacoder.engine.fpenv import default_fpenv  # needs the extension, which a parser of the command does not

        entries = [*(self.logprobs or ()), *filter(None, [self.end_logprobs])]
        with default_fpenv():
            return math.fsum(entry.logprob for entry in entries) / len(entries) if entries else None

    def with_parts(self, start: int, parts: Sequence[str]) -> Completion:
        """Return the completion, after noting the text of each token, and where in the text the first begins."""
        object.__setattr__(self, "_parts", (start, parts))
        return self

    def _repr_html_(self) -> str:
        """Return what notebooks show: the text, shaded by the tokens' log-probabilities if they were asked for."""
        from santacoder.decoding.shading import as_html

        if self.logprobs is None or not hasattr(self, "_parts"):
            return as_html(self.text)
        start, parts = self._parts
        return as_html(self.text, start, parts, self.logprobs)
