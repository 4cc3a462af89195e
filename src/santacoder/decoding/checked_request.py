"""A request that fits its model: tokenized and checked once, for any number of samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from santacoder.decoding.options import SamplingParams
from santacoder.decoding.prompt_scores import PromptScores
from santacoder.text.filters import MakeFilters
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from santacoder.attribution.generated import EnclosingText
    from santacoder.attribution.matches import Match


@dataclass(frozen=True, slots=True, eq=False)
class CheckedRequest:
    """The part of a request that all samples of its prompt share; made by `requests.check_request`.

    Attributes:
        tokenizer: the model's tokenizer.
        token_ids: (T,) int32 of the prompt, at least one; shared by all samples, which do not write to it.
        params: how to choose tokens and when to end.
        filters: makes the filters that a sample's text passes through.
        taken: tokens of the caller's prompt that token healing took back; they are not in `token_ids`.
        owed: the bytes of these, with which the generated text has to begin.
        echo: the text to begin completions with.
        dropped: tokens of the caller's text that were cut, since there is no room for them.
        scores: takes the log-probabilities of the prompt's tokens, if they were asked for.
        enclosing: the text around the generated one, in which copies may begin and end; None without an index.
    """

    tokenizer: Tokenizer
    token_ids: TokenIds
    params: SamplingParams
    filters: MakeFilters
    echo: str = ""
    taken: int = 0
    owed: bytes = b""
    dropped: int = 0
    enclosing: EnclosingText | None = None
    scores: PromptScores | None = field(init=False)

    def __post_init__(self) -> None:
        k = self.params.prompt_logprobs
        object.__setattr__(self, "scores", None if k is None else PromptScores(self.token_ids, k))

    def attribution(self, text: str) -> tuple[Match, ...] | None:
        """Return what of a generated text stands in the index; None without one.

        Raises:
            AttributionIndexError: the index is damaged.
            InvalidRequestError: it was closed.
        """
        if self.enclosing is None or self.params.attribution is None:
            return None
        return tuple(self.enclosing.matches(self.params.attribution, text, self.params.match_length))

    @property
    def gap(self) -> int | None:
        """Where in the prompt the text before a gap ends, if the text behind the gap comes next."""
        ids, suffix = self.token_ids, self.tokenizer.fim_suffix_id
        if suffix is None or ids[-1] != self.tokenizer.fim_middle_id:
            return None
        [places] = np.nonzero(ids == suffix)
        return int(places[-1]) if places.size else None

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text: stop tokens and, unless they are ignored, the ends of text."""
        stops = self.params.stop_ids
        return stops if self.params.ignore_eos else stops | self.tokenizer.end_ids

    @property
    def never_sampled(self) -> tuple[int, ...]:
        """The tokens that are never chosen."""
        return () if self.params.any_token else self.tokenizer.never_sampled
