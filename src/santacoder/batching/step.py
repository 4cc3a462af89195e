"""What a step needs of a model, and what becomes of its logits where prompts are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from santacoder.batching.policy import Rows
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KVCache
from santacoder.errors import SantaCoderError
from santacoder.scoring.score import PIECE_ROWS
from santacoder.text.token_ids import TokenIds


class StepRunner(Protocol):
    """The parts of a model that a scheduler needs; `Transformer` describes them."""

    @property
    def context(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def new_cache(self) -> KVCache: ...
    def forward_batch(
        self, parts: list[tuple[TokenIds, KVCache]], outputs: list[int], abandon: Callable[[], bool]
    ) -> NDArray[np.float32]: ...  # new each time: sequences overwrite the logits
    def iter_logits_batch(
        self,
        parts: list[tuple[TokenIds, KVCache]],
        piece_rows: int,
        outputs: list[int],
        abandon: Callable[[], bool],
    ) -> Iterator[NDArray[np.float32]]: ...


def parts_of(plan: list[Rows[Sequence]]) -> list[tuple[TokenIds, KVCache]]:
    """Return what the model runs."""
    return [(rows.token_ids, _cache(rows.sequence)) for rows in plan]


def scores_prompts(plan: list[Rows[Sequence]]) -> bool:
    """Return whether a step has rows whose logits score the next token of a prompt."""
    return any(map(_count_scored, plan))


def run_scoring(engine: StepRunner, plan: list[Rows[Sequence]], abandon: Callable[[], bool]) -> NDArray[np.float32]:
    """Run a step that scores prompts, and return the logits that `plan` wants, (rows, V).

    Raises:
        StepAbandonedError: `abandon` said so; the caches may be longer than what was scored.
    """
    scored = [_count_scored(rows) for rows in plan]
    outputs = [count + rows.wanted for count, rows in zip(scored, plan, strict=True)]
    uses = iter(_uses(plan, scored))  # by the caches' lengths before the step
    wanted: list[NDArray[np.float32]] = []
    for piece in engine.iter_logits_batch(parts_of(plan), PIECE_ROWS, outputs, abandon):
        for row in piece:
            sequence, position = next(uses)
            if sequence is None:
                wanted.append(row.copy())
            else:
                _score(sequence, row, position)
    return np.array(wanted, dtype=np.float32)


def _cache(sequence: Sequence) -> KVCache:
    assert sequence.cache is not None
    return sequence.cache


def _count_scored(rows: Rows[Sequence]) -> int:
    """Return for how many tokens of a part, the first ones, the logits score the next token of the prompt."""
    sequence = rows.sequence
    scores = sequence.request.scores is not None and not sequence.generated
    return rows.token_ids.size - rows.wanted if scores else 0


def _uses(plan: list[Rows[Sequence]], scored: list[int]) -> list[tuple[Sequence | None, int]]:
    """Return for each row of logits the sequence whose prompt it scores and its position; None if it is wanted."""
    uses: list[tuple[Sequence | None, int]] = []
    for rows, count in zip(plan, scored, strict=True):
        first = len(_cache(rows.sequence))
        uses += [(rows.sequence, position) for position in range(first, first + count)]
        uses += [(None, 0)] * rows.wanted
    return uses


def _score(sequence: Sequence, row: NDArray[np.float32], position: int) -> None:
    scores = sequence.request.scores
    if scores is not None and not sequence.ended:
        try:
            scores.take(row, position)
        except SantaCoderError as error:
            sequence.error = error
