"""Exclusive steps on a model that other threads use too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from santacoder.batching.scheduler import Scheduler
from santacoder.engine.kv_cache import KVCache
from santacoder.engine.transformer import Transformer
from santacoder.text.token_ids import TokenIds


class ExclusiveSteps:
    """Runs exclusive steps on a model; other threads use it between two of them."""

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
        """Return an empty cache for one sequence."""
        return self._scheduler.engine.new_cache()

    def each_logits(
        self,
        parts: Sequence[tuple[TokenIds, KVCache]],
        piece_rows: int,
        use: Callable[[NDArray[np.float32]], None],
    ) -> None:
        """Call `use` with each piece of `Transformer.iter_logits_batch`; no other step can come in between."""

        def work(transformer: Transformer) -> None:
            for rows in transformer.iter_logits_batch(parts, piece_rows):
                use(rows)

        self._scheduler.exclusive(work)
