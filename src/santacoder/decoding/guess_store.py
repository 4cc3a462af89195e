"""Texts that guesses are copied from: the latest place where a text had the same last tokens. Kept in C."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from santacoder._native import ffi, lib
from santacoder._util.validation import check_integer
from santacoder.text.token_ids import TokenIds

RUN: Final = lib.SC_GUESS_RUN  # most tokens that are compared to find a place
MOST_TOKENS: Final = 1 << 26
_GAP: Final = np.full(1, -1, dtype=np.int32)


class Match(NamedTuple):
    """A place in a store that `length` tokens, 1 to RUN, lead to."""

    place: int
    length: int


class GuessStore:
    """The newest texts, of at most `most` tokens together. One caller at a time.

    Without memory it holds less than was added, or nothing: there are fewer guesses then, and no error.

    Attributes:
        kind: texts of one kind are guessed from equally well.
    """

    def __init__(self, kind: str, most: int) -> None:
        """Make an empty store.

        Raises:
            InvalidRequestError: `most` is not in 2..2^26.
        """
        guesses = lib.sc_guesses_new(check_integer("the tokens of a store", most, 2, MOST_TOKENS))
        self._guesses = ffi.gc(guesses, lib.sc_guesses_free)
        self.kind = kind
        self._matched = ffi.new("int32_t[]", 1)

    def __len__(self) -> int:
        """Count the tokens, and the gaps between texts."""
        return lib.sc_guesses_length(self._guesses)

    @property
    def n_bytes(self) -> int:
        """Bytes of memory."""
        return lib.sc_guesses_bytes(self._guesses)

    def add(self, token_ids: TokenIds) -> None:
        """Continue the last text by ids (N,), which are 0 or more and contiguous."""
        lib.sc_guesses_add(self._guesses, ffi.from_buffer("int32_t[]", token_ids), token_ids.size)

    def end_text(self) -> None:
        """End the last text: nothing is copied across, and no run of tokens goes across."""
        self.add(_GAP)

    def find(self, token_ids: TokenIds) -> Match | None:
        """Return the latest place behind the longest run of tokens that `token_ids` (N,), contiguous, end with."""
        ids = ffi.from_buffer("int32_t[]", token_ids)  # this is called in each step: no checks, no copies
        place = lib.sc_guesses_find(self._guesses, ids, token_ids.size, self._matched)
        return Match(place, self._matched[0]) if place else None

    def copy(self, match: Match, most: int) -> TokenIds:
        """Return at most `most` tokens, and at least one of them, that follow a place that was found just now."""
        token_ids = np.empty(most, dtype=np.int32)
        ids = ffi.from_buffer("int32_t[]", token_ids)
        return token_ids[: lib.sc_guesses_copy(self._guesses, match.place, ids, most)]
