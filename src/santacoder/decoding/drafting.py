"""Prompt lookup: draft tokens, copied from an earlier place where the text had the same last tokens.

Drafts are verified in one step with the token before them: right ones save steps, wrong ones change nothing (Saxena
2023, "Prompt Lookup Decoding"; Leviathan et al. 2023 for the verification).
"""

from __future__ import annotations

from typing import Final

from santacoder.text.token_ids import TokenIds

GRAM: Final = 3  # tokens that must have occurred before
MOST: Final = 15  # tokens of a draft
FIRST: Final = 3  # tokens of the first draft: where a step waits for weights from memory, these rows cost little
REST: Final = 64  # most tokens between two tries while drafts fail


class Drafter:
    """Drafts what follows one growing text, and drafts less the more it is wrong."""

    def __init__(self) -> None:
        self._ends: dict[bytes, int] = {}  # for each run of GRAM tokens, the position after its latest place
        self._indexed = GRAM  # the next position to enter
        self._length = FIRST
        self._failures = 0
        self._resting = 0

    def propose(self, token_ids: TokenIds, most: int) -> TokenIds:
        """Return at most `most` tokens that may follow `token_ids` (N,), which begin with those of the call before."""
        if self._resting:
            self._resting -= 1
            return token_ids[:0]
        grams = token_ids[self._indexed - GRAM :].tobytes()
        size = GRAM * token_ids.itemsize
        for end in range(self._indexed, token_ids.size):  # the last ones must not find themselves
            at = (end - self._indexed) * token_ids.itemsize
            self._ends[grams[at : at + size]] = end
        self._indexed = max(self._indexed, token_ids.size)
        place = self._ends.get(token_ids[-GRAM:].tobytes(), token_ids.size)
        return token_ids[place : place + min(self._length, most)]

    def learn(self, proposed: int, right: int) -> None:
        """Adapt to the result of a draft: the first `right` of its `proposed` tokens were right."""
        if right == proposed:
            self._length = min(2 * self._length + 1, MOST)
        else:
            self._length = max(right + 1, FIRST)
        self._failures = 0 if right else self._failures + 1
        self._resting = min(2**self._failures - 1, REST)
