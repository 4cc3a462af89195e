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

PATIENCE: Final = 1000.0  # times as long as looking in vain took, at most, until the next look
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


class _Found(NamedTuple):
    """A guess: tokens that a step with it yields for its cost, the guess's length, its place, and its chances."""

    value: float
    length: int
    match: Match
    source: Source
    chances: Chances


class Drafter:
    """Drafts what follows one growing text.

    Attributes:
        look_at: tokens of the text before which looking costs more than it is likely to bring.
    """

    def __init__(self, guessing: Guessing, prompt: int, most: int, gap: int | None = None) -> None:
        """Prepare for a text that begins with a prompt.

        Args:
            guessing: what to copy from, and what that costs.
            prompt: tokens of the prompt.
            most: most tokens of the text.
            gap: where in the prompt the text ends that generated tokens go on from; None is the prompt's end.
        """
        self.look_at = 0
        self._costs = guessing.costs
        self._own = GuessStore(OWN, most + 2)
        sources: tuple[Source, ...] = *guessing.sources, self._own
        self._sources = [(source, guessing.chances[source.kind]) for source in sources]
        self._prompt, self._gap = prompt, gap
        self._last, self._run = guessing.chances[OWN], 0  # what the last draft is counted for
        self._pause = 1  # tokens until the next look, when one is in vain

    def propose(self, token_ids: TokenIds, most: int, beside: int = 0) -> TokenIds:
        """Return at most `most` tokens that may follow `token_ids` (N,), which begin with those of the call before.

        `beside` is the number of rows of others in the step.
        """
        best = self._find(token_ids, most, beside)
        if best is None:
            return token_ids[:0]
        self._pause = 1
        _, length, match, source, self._last = best
        self._run = match.length
        found = source.copy(match, length)
        if source is self._own and found.size < length:
            return np.resize(found, length)  # what recurs goes on to recur
        return found

    def _find(self, token_ids: TokenIds, most: int, beside: int) -> _Found | None:
        """Return the guess that is worth most, if there is one that is worth its cost."""
        costs = self._costs.curve
        last = before_gap(token_ids, self._prompt, self._gap)
        longest, least = 0, RUN + 1  # the longest run that is found, and the shortest that is worth its cost
        best: _Found | None = None
        for source, chances in self._sources:
            if source is self._own:
                self._follow(token_ids)
            least = min(least, worth := chances.least_run(costs, beside))
            match = source.find(last)
            if match is None:
                continue
            longest = max(longest, match.length)
            if match.length < worth:
                continue
            length, value = chances.best_length(match.length, costs, MOST, beside)
            if length > most:  # near the end of the text; else lengths are known from the tokens before
                length, value = chances.best_length(match.length, costs, most, beside)
            if length and (best is None or value >= best.value):
                best = _Found(value, length, match, source, chances)
            if length and match.length == RUN:
                break  # the text itself has no longer run, and takes longest to look into at first
        if best is None:  # a run grows by no more than the text
            pause = min(self._pause, 1 + int(self._costs.looking * PATIENCE))
            self.look_at = token_ids.size + max(pause, least - longest)
            self._pause = 2 * pause
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
        self._last.learn(self._run, proposed, right)


def before_gap(token_ids: TokenIds, prompt: int, gap: int | None) -> TokenIds:
    """Return the last tokens, at most RUN, that the next one continues; see `Drafter` for `prompt` and `gap`."""
    generated = token_ids.size - prompt
    if gap is None or generated >= RUN:
        return token_ids[-RUN:]
    return np.concatenate([token_ids[max(gap - RUN + generated, 0) : gap], token_ids[prompt:]])
