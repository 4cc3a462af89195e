"""The log-probabilities of a prompt's tokens, found while the prompt is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.logprobs import TokenLogprobs, token_logprobs
from santacoder.text.token_ids import TokenIds


class PromptScores:
    """What all samples of a prompt share: whichever reads a position first scores the token after it.

    Prompts that begin alike share it, too: see `adopt`.

    Attributes:
        entries: of the prompt's first tokens; nothing stands before the first one, so its entry is None.
        k: how many of the most probable tokens each entry has.
    """

    def __init__(self, token_ids: TokenIds, k: int) -> None:
        """Prepare for a prompt (T,) int32; beside each token the `k` most probable ones are kept."""
        self.entries: list[TokenLogprobs | None] = [None]
        self.k = k
        self._token_ids = token_ids

    @property
    def rows(self) -> int:
        """How many rows of logits were taken: those of the first positions."""
        return len(self.entries) - 1

    def adopt(self, other: PromptScores, common: int) -> None:
        """Take over what is known of another prompt, whose first `common` tokens are the same."""
        if other is not self and other.k >= self.k and min(common, len(other.entries)) > len(self.entries):
            known = other.entries[:common]
            self.entries = [entry and replace(entry, top=entry.top[: self.k]) for entry in known]

    def take(self, logits: NDArray[np.float32], position: int) -> None:
        """Score the token after `position` from its logits (V,), unless it was scored.

        Raises:
            NumericalError: the logits are not finite.
        """
        if position == self.rows:
            self.entries.append(token_logprobs(logits, int(self._token_ids[position + 1]), self.k, position))
