"""Log-probabilities: of the tokens of a text, and of those that a completion chose.

All are natural logarithms of the plain softmax over the vocabulary, without temperature, penalties, biases or bans:
float64, from one row of float32 logits at a time.

Prompts run in large steps, but few rows of logits are in memory: what the last layer gave goes through the head piece
by piece. A row of logits serves all sequences that begin with the tokens up to it: see runs.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder.errors import NumericalError
from santacoder.float_state import default_float_state
from santacoder.kv_cache import KVCache
from santacoder.runs import Packer, Plan, Run, plan_runs

if TYPE_CHECKING:
    from santacoder.scheduler import Scheduler
    from santacoder.transformer import Transformer

#: Rows of a step at most. More make it no faster, but its working memory larger.
STEP_ROWS: Final = 256
#: Rows of logits in memory at once: 3 MB with SantaCoder's vocabulary.
PIECE_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A chosen token among those that could have been.

    Attributes:
        token: the chosen one.
        logprob: its log-probability.
        top: the most probable tokens and their log-probabilities, best first; of equals the lowest id first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Score:
    """How probable the tokens of a text are, each after those before it.

    Attributes:
        tokens: all T of them; nothing stands before the first, so it has no score.
        logprobs: T log-probabilities, the first None.
        greedy: T tokens, the first None: the one with the largest logit, of equals the lowest id. Those that
            `complete` never samples count too.
    """

    tokens: list[int]
    logprobs: list[float | None]
    greedy: list[int | None]

    @property
    def is_greedy(self) -> list[bool | None]:
        """Whether each token is the one that the model would have said; the first None."""
        return [None if said is None else said == token for token, said in zip(self.tokens, self.greedy, strict=True)]

    @property
    def total(self) -> float:
        """The sum of all log-probabilities: that of the text after its first token."""
        with default_float_state():
            return math.fsum(value for value in self.logprobs if value is not None)


@default_float_state()
def log_softmax(logits: NDArray[np.float32], position: int | None = None) -> NDArray[np.float64]:
    """Logarithms of the probabilities of one row (V,), all finite.

    One row at a time stays in the CPU's cache, and the result cannot depend on how many came together.

    Raises:
        NumericalError: a logit is not finite; the message names the `position`, if one is given.
    """
    if not np.isfinite(logits).all():
        where = "" if position is None else f" of position {position}"
        raise NumericalError(f"the logits{where} hold a NaN or an infinity")
    shifted = logits.astype(np.float64)
    shifted -= shifted.max()
    shifted -= math.log(np.exp(shifted).sum())
    return shifted


def token_logprobs(logits: NDArray[np.float32], token: int, k: int, position: int | None = None) -> TokenLogprobs:
    """A chosen token and the `k` most probable ones, given the logits (V,) that the model gave; k 0 is none.

    Raises:
        NumericalError: as in `log_softmax`.
    """
    logprobs = log_softmax(logits, position)
    k = min(k, logits.size)
    best: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    if k:
        least = np.partition(logits, -k)[-k]
        candidates = np.flatnonzero(logits >= least)  # by rising id, more than k if several equal the least
        best = candidates[np.argsort(-logits[candidates], kind="stable")[:k]]
    top = tuple(zip(best.tolist(), logprobs[best].tolist(), strict=True))
    return TokenLogprobs(int(token), float(logprobs[token]), top)


class Engine(Protocol):
    """What scoring needs of a model; `SharedSteps` has it."""

    @property
    def context(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    def new_cache(self) -> KVCache: ...
    def each_logits(
        self,
        parts: Sequence[tuple[Sequence[int], KVCache]],
        piece_rows: int,
        use: Callable[[NDArray[np.float32]], None],
    ) -> None: ...


class SharedSteps:
    """Steps of a model that others use too: between two steps it is theirs."""

    def __init__(self, scheduler: Scheduler[Transformer]) -> None:
        self._scheduler = scheduler

    @property
    def context(self) -> int:
        """Positions that a cache has room for."""
        return self._scheduler.engine.context

    @property
    def chunk(self) -> int:
        """Most rows of a step."""
        return self._scheduler.engine.chunk

    def new_cache(self) -> KVCache:
        """An empty cache for one sequence."""
        return self._scheduler.engine.new_cache()

    def each_logits(
        self,
        parts: Sequence[tuple[Sequence[int], KVCache]],
        piece_rows: int,
        use: Callable[[NDArray[np.float32]], None],
    ) -> None:
        """Call `use` with each piece of `Transformer.iter_logits_batch`; no other step can come in between."""

        def work(transformer: Transformer) -> None:
            for rows in transformer.iter_logits_batch(parts, piece_rows):
                use(rows)

        self._scheduler.exclusive(work)


def score_sequences(
    engine: Engine, sequences: Sequence[Sequence[int]], progress: Callable[[int], object] = lambda scored: None
) -> list[Score]:
    """The scores of sequences that are known to be good: each (T,), at least one token, at most one above the context.

    A sequence's score is the same in any company. The last token of each predicts nothing and does not run.
    `progress` is told how many tokens were scored since it was told last.

    Raises:
        NumericalError: as in `log_softmax`; the position is that of the token before the one to be scored.
        ModelClosedError: the model is closed.
    """
    scores = [Score(list(tokens), [None] * len(tokens), [None] * len(tokens)) for tokens in sequences]
    plan = plan_runs([score.tokens[:-1] for score in scores])
    packer = Packer(plan.roots, engine.new_cache, min(engine.chunk, STEP_ROWS), engine.context)
    while parts := packer.next_step():
        rows = ((part.run, position) for part in parts for position in range(part.start, part.stop))
        pieces = [(part.run.tokens[part.start : part.stop], part.cache) for part in parts]
        engine.each_logits(pieces, PIECE_ROWS, partial(_take, plan, scores, rows, progress))
        packer.finish_step(parts)
    return scores


def _take(
    plan: Plan,
    scores: Sequence[Score],
    rows: Iterator[tuple[Run, int]],
    progress: Callable[[int], object],
    logits: NDArray[np.float32],
) -> None:
    """Write down what logits (N, V), those of the next N of `rows`, say about the tokens after them."""
    scored = 0
    for row in logits:
        run, position = next(rows)
        logprobs, greedy = log_softmax(row, position), int(row.argmax())
        for index in plan.served(run, position):
            scored += 1
            score = scores[index]
            score.logprobs[position + 1] = float(logprobs[score.tokens[position + 1]])
            score.greedy[position + 1] = greedy
    progress(scored)
