"""Processes that make training rows, for a GPU, which one process could not feed.

Every feeder has its own stream of rows, with a seed of its own. They take turns, so what is trained on depends on the
seed and on the number of feeders, and each feeder's position is what a checkpoint needs.
"""

from __future__ import annotations

import os
import queue
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.multiprocessing as mp
from numpy.typing import NDArray

from data import Mix, Position, Rows, ShortTexts, Vocabulary

AHEAD = 4  # batches that a feeder makes ahead


@dataclass(frozen=True)
class Recipe:
    """How rows are made: what `Rows` takes but for the seed and the position."""

    corpus: Path
    tokenizer: Path
    length: int
    mix: Mix
    short: tuple[Path, ...]

    def rows(self, seed: int, position: Position) -> Rows:
        """Open the stream of rows."""
        vocabulary = Vocabulary(self.tokenizer)
        short = ShortTexts(self.short, vocabulary) if self.short else None
        return Rows(self.corpus, vocabulary, self.length, seed, position, self.mix, short)


def serve(recipe: Recipe, seed: int, position: Position, batch: int, results: Any) -> None:
    """Make batches for as long as the parent lives."""
    parent = os.getppid()
    rows = recipe.rows(seed, position)
    while os.getppid() == parent:
        made = (rows.batch(batch).astype(np.int32), asdict(rows.position))
        while os.getppid() == parent:
            try:
                results.put(made, timeout=10)
                break
            except queue.Full:
                continue


class Feeders:
    """Batches from several processes in turn; the same interface as `Rows` has for a training."""

    def __init__(self, recipe: Recipe, seed: int, positions: list[Position], batch: int) -> None:
        context = mp.get_context("spawn")
        self.positions = positions
        self._files = len((recipe.corpus / "train.txt").read_text().splitlines())
        self._turn = 0
        self._queues = [context.Queue(AHEAD) for _ in positions]
        for number, (position, results) in enumerate(zip(positions, self._queues, strict=True)):
            arguments = (recipe, 1000 * seed + number, position, batch, results)
            context.Process(target=serve, args=arguments, daemon=True).start()

    @property
    def epoch(self) -> float:
        """How often the corpus was read, by all together."""
        return sum(position.opened for position in self.positions) / self._files

    def next_batch(self) -> NDArray[np.int32]:
        """Return the next rows, (batch, length)."""
        rows, position = self._queues[self._turn].get()
        self.positions[self._turn] = Position(**position)
        self._turn = (self._turn + 1) % len(self._queues)
        found: NDArray[np.int32] = rows
        return found
