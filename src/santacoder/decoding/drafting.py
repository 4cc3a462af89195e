"""Draft tokens: guesses at what follows, copied from places where a text had the same last tokens.

Drafts are verified in one step with the token before them: right ones save steps, wrong ones change nothing (Saxena
2023, "Prompt Lookup Decoding"; Leviathan et al. 2023 for the verification).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from santacoder.decoding.guess_lengths import MOST, Chances, Costs
from santacoder.decoding.guess_store import RUN, GuessStore, Match
from santacoder.text.token_ids import TokenIds

PATIENCE: Final = 32.0  # tokens to rest, for each step's time that was spent looking in vain
MOST_REST: Final = 16  # tokens
OWN: Final = "own"  # the kind of text that the request's own is


class Source(Protocol):
    """Texts to copy from: see `GuessStore`. Those that somebody else is changing just then find nothing."""

    @property
    def kind(self) -> str: ...
    def find(self, token_ids: TokenIds) -> Match | None: ...
    def copy(self, match: Match, most: int) -> TokenIds: ...


class Guessing:
    """What the drafts of a model's requests have in common: the costs of steps, the chances of guesses by their source.

    Attributes:
        costs: those of steps.
        chances: by kind of source.
        sources: texts to copy from, beside the request's own.
    """

    def __init__(self, costs: Costs, sources: Sequence[Source] = ()) -> None:
        self.costs = costs
        self.chances: defaultdict[str, Chances] = defaultdict(Chances)
        self.sources = sources

    def beside(self, *sources: Source) -> Guessing:
        """Return the same with further sources."""
        guessing = Guessing(self.costs, (*sources, *self.sources))
        guessing.chances = self.chances
        return guessing


class _Draft(NamedTuple):
    """Where a draft came from, and how many tokens led there."""

    kind: str
    run: int


class _Found(NamedTuple):
    """A guess: tokens that a step with it yields for its cost, the guess's length, and its place."""

    value: float
    length: int
    match: Match
    source: Source


class Drafter:
    """Drafts what follows one growing text."""

    def __init__(self, guessing: Guessing, prompt: int, most: int, gap: int | None = None) -> None:
        """Prepare for a text that begins with a prompt.

        Args:
            guessing: what to copy from, and what that costs.
            prompt: tokens of the prompt.
            most: most tokens of the text.
            gap: where in the prompt the text ends that generated tokens go on from; None is the prompt's end.
        """
        self._guessing = guessing
        self._own = GuessStore(OWN, most + 2)
        self._prompt, self._gap = prompt, gap
        self._last = _Draft(OWN, 0)
        self._longest, self._looked = RUN, 0  # the longest run that was found, and where
        self._in_vain = self._rest = 0  # times that nothing was found, and tokens before the next one

    def rests(self) -> bool:
        """Return whether not even to look before the next token: looking costs more than it is likely to bring."""
        self._rest -= self._rest > 0
        return self._rest > 0

    def propose(self, token_ids: TokenIds, most: int, beside: int = 0) -> TokenIds:
        """Return at most `most` tokens that may follow `token_ids` (N,), which begin with those of the call before.

        `beside` is the number of rows of others in the step.
        """
        best = self._find(token_ids, most, beside)
        if best is None:
            return token_ids[:0]
        self._in_vain = 0
        _, length, match, source = best
        self._last = _Draft(source.kind, match.length)
        found = source.copy(match, length)
        if source is self._own and found.size < length:
            return np.resize(found, length)  # what recurs goes on to recur
        return found

    def _find(self, token_ids: TokenIds, most: int, beside: int) -> _Found | None:
        """Return the guess that is worth most, if there is one that is worth its cost."""
        guessing, costs = self._guessing, self._guessing.costs.curve
        sources: tuple[Source, ...] = *guessing.sources, self._own
        longest = self._longest + token_ids.size - self._looked  # a run grows by no more than the text
        least = min([guessing.chances[source.kind].least_run(costs, beside) for source in sources])
        if longest < least:
            self._rest = least - longest
            return None
        last = before_gap(token_ids, self._prompt, self._gap)
        self._longest, self._looked = 0, token_ids.size
        best: _Found | None = None
        for source in sources:
            if source is self._own:
                self._follow(token_ids)
            match = source.find(last)
            if match is not None:
                self._longest = max(self._longest, match.length)
                chances = guessing.chances[source.kind]
                length, value = chances.best_length(match.length, costs, MOST, beside)
                if length > most:  # near the end of the text; else lengths are known from the tokens before
                    length, value = chances.best_length(match.length, costs, most, beside)
                if length and (best is None or value >= best.value):
                    best = _Found(value, length, match, source)
                if length and match.length == RUN:
                    break  # the text itself has no longer run, and takes longest to look into at first
        if best is None:
            self._in_vain += 1
            self._rest = 1 + min(int(self._in_vain * guessing.costs.looking * PATIENCE), MOST_REST)
        return best

    def _follow(self, token_ids: TokenIds) -> None:
        """Add to the own text what is new."""
        own, gap = self._own, self._gap
        if gap is None:
            own.add(token_ids[len(own) :])
            return
        if len(own) <= gap:  # what the prompt has behind the text before the gap is not what belongs there
            own.add(token_ids[len(own) : gap])
            own.end_text()
        own.add(token_ids[len(own) - 1 :])

    def learn(self, proposed: int, right: int) -> None:
        """Count the result of a draft: the first `right` of its `proposed` tokens were right."""
        self._guessing.chances[self._last.kind].learn(self._last.run, proposed, right)


def before_gap(token_ids: TokenIds, prompt: int, gap: int | None) -> TokenIds:
    """Return the last tokens, at most RUN, that the next one continues; see `Drafter` for `prompt` and `gap`."""
    generated = token_ids.size - prompt
    if gap is None or generated >= RUN:
        return token_ids[-RUN:]
    return np.concatenate([token_ids[max(gap - RUN + generated, 0) : gap], token_ids[prompt:]])
