"""Log-probabilities of the tokens of texts.

All are natural logarithms of the plain softmax over the vocabulary, without temperature, penalties, biases or bans:
float64, from one row of float32 logits at a time.

Prompts run in large steps, but few rows of logits are in memory: the last layer's output goes through the lm_head
piece by piece. A row of logits serves all sequences that begin with the tokens up to it: see shared_prefixes.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.logprobs import log_softmax
from santacoder.engine.fpenv import default_fpenv
from santacoder.engine.kv_cache import KVCache
from santacoder.scoring.shared_prefixes import Packer, PrefixPlan, PrefixSegment, plan_prefixes
from santacoder.text.token_ids import TokenIds

#: Most rows of a step. More would not make it faster, only its working memory larger.
STEP_ROWS: Final = 256
#: Rows of logits in memory at once: 3 MB with SantaCoder's vocabulary.
PIECE_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class Score:
    """The log-probabilities of the tokens of a text, each after those before it.

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
        """Whether each token is the one with the largest logit; the first None."""
        return [None if said is None else said == token for token, said in zip(self.tokens, self.greedy, strict=True)]

    @property
    def total(self) -> float:
        """The sum of all log-probabilities: that of the text after its first token."""
        with default_fpenv():
            return math.fsum(value for value in self.logprobs if value is not None)


class LogitsSource(Protocol):
    """The parts of a model that scoring needs; `ExclusiveSteps` has them."""

    @property
    def context(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    def new_cache(self) -> KVCache: ...
    def each_logits(
        self,
        parts: Sequence[tuple[TokenIds, KVCache]],
        piece_rows: int,
        use: Callable[[NDArray[np.float32]], None],
    ) -> None: ...


def score_sequences(
    engine: LogitsSource, sequences: Sequence[TokenIds], progress: Callable[[int], object] = lambda scored: None
) -> list[Score]:
    """Score sequences that were checked: each (T,) int32, at least one token, at most one above the context.

    A sequence's score is batch-invariant. The last token of each predicts nothing and does not run.
    `progress` is called with the number of tokens newly scored.

    Raises:
        NumericalError: as in `log_softmax`; the position is that of the token before the one to be scored.
        ModelClosedError: the model is closed.
    """
    steps = score_steps(engine, sequences, progress)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            scores: list[Score] = end.value
            return scores


def score_steps(
    engine: LogitsSource, sequences: Sequence[TokenIds], progress: Callable[[int], object] = lambda scored: None
) -> Generator[None, None, list[Score]]:
    """Score sequences as `score_sequences` does, and yield after each step."""
    scores = [Score(ids.tolist(), [None] * ids.size, [None] * ids.size) for ids in sequences]
    plan = plan_prefixes([ids[:-1] for ids in sequences])
    packer = Packer(plan.roots, engine.new_cache, min(engine.chunk, STEP_ROWS), engine.context)
    while parts := packer.next_step():
        rows = ((part.segment, position) for part in parts for position in range(part.start, part.stop))
        pieces = [(part.segment.tokens[part.start : part.stop], part.cache) for part in parts]
        engine.each_logits(pieces, PIECE_ROWS, partial(_take, plan, scores, rows, progress))
        packer.finish_step(parts)
        yield
    return scores


def _take(
    plan: PrefixPlan,
    scores: Sequence[Score],
    rows: Iterator[tuple[PrefixSegment, int]],
    progress: Callable[[int], object],
    logits: NDArray[np.float32],
) -> None:
    """Score the tokens that follow the next N of `rows`, from the logits (N, V) of these."""
    scored = 0
    for row in logits:
        segment, position = next(rows)
        logprobs, greedy = log_softmax(row, position), int(row.argmax())
        for index in plan.served(segment, position):
            scored += 1
            score = scores[index]
            score.logprobs[position + 1] = float(logprobs[score.tokens[position + 1]])
            score.greedy[position + 1] = greedy
    progress(scored)
