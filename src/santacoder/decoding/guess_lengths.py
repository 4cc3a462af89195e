"""How many tokens to guess: what a step costs by its rows, how often guesses are right, and the rule that weighs them.

Costs are those of this machine, taken from the steps as they happen. Both steer speed only: which tokens are chosen
never depends on them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from santacoder.decoding.guess_store import RUN

MOST: Final = 15  # tokens of a guess
MOST_ROWS: Final = 64  # rows of a step whose cost is known by itself
WINDOW: Final = 8  # newest steps of a number of rows: the fastest counts, since others were disturbed
TRIES: Final = 2  # steps before a number of rows counts as known
REFRESH: Final = 64  # steps after which the costs of known numbers of rows are taken anew
LOOK_SECONDS: Final = 6e-6  # that looking for a guess takes
STALE: Final = 1024  # steps after which an old cost is forgotten, since the machine may have other work now

#: How often the first token of a guess is right, by the length of the run before it, as long as little was counted.
FIRST_CHANCES: Final = (0.0, 0.15, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.75, 0.8, 0.8, 0.8, 0.85, 0.85, 0.85)
FIRST_WEIGHT: Final = 8.0  # tokens that these count as
MOST_WEIGHT: Final = 400.0  # tokens that the past counts as


class Costs(Protocol):
    """What steps cost.

    Attributes:
        curve: c(n) by number of rows n: the time of a step over that of one row; as long as guesses may reach. Another
            object when costs change.
        looking: the time of looking for a guess, in steps of one row.
    """

    @property
    def curve(self) -> Sequence[float]: ...
    @property
    def looking(self) -> float: ...


class StepCosts:
    """The costs of the steps that happened.

    Costs between known ones are interpolated, and those beyond follow from the last two. At first rows seem to be free;
    a guess reaches at most twice as many rows as are known, so few steps find out what they cost.
    """

    def __init__(self) -> None:
        self._times: dict[int, deque[float]] = {}
        self._noted: dict[int, int] = {}  # the step that each number of rows had last
        self._steps = 0
        self.curve: Sequence[float] = curve({})
        self.looking = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Take the time of a step that ran so many rows of generation, and nothing else."""
        if rows > MOST_ROWS:
            return
        self._steps += 1
        self._noted[rows] = self._steps
        times = self._times.get(rows)
        if times is None:
            times = self._times[rows] = deque(maxlen=WINDOW)
        times.append(seconds)
        if self._steps % STALE == 0:
            for old in [each for each, step in self._noted.items() if step <= self._steps - STALE]:
                del self._times[old], self._noted[old]
        if len(times) == TRIES or self._steps % REFRESH == 0:
            known = self.known
            self.curve = curve(known)
            self.looking = LOOK_SECONDS / min(known.values()) if known else 0.0

    @property
    def known(self) -> dict[int, float]:
        """Seconds of a step by number of rows, in rising order, as far as they are known."""
        return {rows: min(times) for rows, times in sorted(self._times.items()) if len(times) >= TRIES}


def curve(known: Mapping[int, float]) -> list[float]:
    """Return c(n) for n = 0 to twice the most rows that are known, from seconds in rising order of rows.

    From each known n the curve goes on as before up to 2n, unless more rows are known to take less: what is not known
    is worth a try, wherever the next known n is.
    """
    if not known:
        return [1.0, 1.0, 1.0]
    points = [*known.items()]
    rows, time = points[0]
    seconds, slope = [time] * (rows + 1), 0.0
    for to, high in (*points[1:], (math.inf, math.inf)):
        while rows < to and len(seconds) <= 2 * points[-1][0]:
            end = min(to, 2 * rows)
            new = high if end == to else min(time + max(slope, 0.0) * rows, high)
            slope = (new - time) / (end - rows)
            seconds += [time + slope * n for n in range(1, int(end) - rows + 1)]
            rows, time = int(end), new
    return [each / seconds[1] for each in seconds]


class Chances:
    """How often the next token of a guess was right, by the length of the run of right tokens before it."""

    def __init__(self) -> None:
        self._tried = [FIRST_WEIGHT] * (RUN + 1)
        self._right = [FIRST_WEIGHT * chance for chance in FIRST_CHANCES]
        self.right = [*FIRST_CHANCES]
        self._costs: Sequence[float] = ()
        self._best: dict[tuple[int, int, int], tuple[int, float]] = {}  # with these chances and costs
        self._least: dict[int, int] = {}

    def best_length(self, run: int, costs: Sequence[float], most: int, beside: int) -> tuple[int, float]:
        """Return `best_length` with these chances."""
        self._take(costs)
        key = run, most, beside
        found = self._best.get(key)
        if found is None:
            found = self._best[key] = best_length(self.right, run, costs, most, beside)
        return found

    def least_run(self, costs: Sequence[float], beside: int) -> int:
        """Return how long the run before a guess has to be, at least, for the guess to be worth its cost."""
        self._take(costs)
        least = self._least.get(beside)
        if least is None:
            least = 1
            while least <= RUN and not self.best_length(least, costs, MOST, beside)[0]:
                least += 1
            self._least[beside] = least
        return least

    def _take(self, costs: Sequence[float]) -> None:
        if costs is not self._costs:
            self._costs = costs
            self._forget()

    def _forget(self) -> None:
        self._best.clear()
        self._least.clear()

    def learn(self, run: int, proposed: int, right: int) -> None:
        """Count a guess of `proposed` tokens after a run of so many; the first `right` of them were right."""
        self._forget()
        for number in range(min(proposed, right + 1)):
            length = min(run + number, RUN)
            if self._tried[length] >= MOST_WEIGHT:
                self._tried[length] /= 2
                self._right[length] /= 2
            self._tried[length] += 1
            self._right[length] += number < right
            self.right[length] = self._right[length] / self._tried[length]


def best_length(
    chances: Sequence[float], run: int, costs: Sequence[float], most: int, beside: int
) -> tuple[int, float]:
    """Return how many tokens to guess after a run, so that a step yields the most tokens for its cost, and how many.

    Args:
        chances: that the next token is right, by the length of the run before it.
        run: its length.
        costs: c(n), as far as a guess may reach.
        most: most tokens to guess.
        beside: rows of the step that belong to others; each yields a token.
    """
    rows = beside + 1
    if rows >= len(costs):
        return 0, 0.0
    best, value = 0, rows / costs[rows]
    tokens, chance, length = float(rows), 1.0, run
    for number in range(1, min(most, len(costs) - 1 - rows) + 1):
        chance *= chances[length]
        tokens += chance
        length += length < RUN
        if tokens > value * costs[rows + number]:
            best, value = number, tokens / costs[rows + number]
    return best, value
