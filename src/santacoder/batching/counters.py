"""What the requests of a model did so far, counted by the scheduler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from santacoder.text.token_ids import TokenIds

MEASURED_ROWS: Final = 64  # rows of prompts in a step that tells their speed: with fewer, it is that of the weights
NEWEST: Final = 0.3  # the weight of the newest step in that speed


@dataclass(frozen=True, slots=True)
class Counters:
    """A model's requests at one moment; counts are those since it was loaded, scores and logits aside.

    Attributes:
        running: samples in the batch.
        waiting: samples that wait for a place in it.
        steps: passes of the model.
        prompt_tokens: tokens of prompts that were run.
        cached_tokens: tokens of prompts that a cache held.
        generated_tokens: tokens that were generated.
        generating_rows: rows of steps that generated: fewer than tokens where samples share some.
        prompt_seconds: time that prompts took: of each step the share of their rows.
        generated_seconds: time that generation took, likewise.
        prompt_speed: tokens of prompts per second in the last steps with 64 or more of them; None before the first.
        cache_bytes: memory for the keys and values of the batch, as far as its samples may fill it, and of kept ones.
        stalled_seconds: how long nothing has moved though something runs or waits; 0.0 if nothing does.
    """

    running: int
    waiting: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    generating_rows: int
    prompt_seconds: float
    generated_seconds: float
    prompt_speed: float | None
    cache_bytes: int
    stalled_seconds: float


class Stepping(Protocol):
    """A sequence of the batch."""

    @property
    def generated(self) -> int: ...


class PlannedRows(Protocol):
    """A sequence's part of a step: `policy.Rows`."""

    @property
    def sequence(self) -> Stepping: ...
    @property
    def token_ids(self) -> TokenIds: ...


class Meter:
    """Counts what the steps of a model do; only their leader writes.

    Attributes:
        generated_tokens: of samples that have ended.
        moved: when the last step ended, or the first request came after all were done.
    """

    def __init__(self) -> None:
        self.steps = self.prompt_tokens = self.cached_tokens = self.generated_tokens = self.generating_rows = 0
        self.prompt_seconds = self.generated_seconds = 0.0
        self.prompt_speed: float | None = None
        self.moved = monotonic()

    def move(self) -> None:
        """Note that something moves now."""
        self.moved = monotonic()

    def count_step(self, plan: Iterable[PlannedRows], seconds: float) -> int:
        """Count a step that ran, before it chooses tokens; return its rows, or 0 if some are of prompts."""
        read = rows = 0
        for part in plan:
            rows += part.token_ids.size
            read += 0 if part.sequence.generated else part.token_ids.size
        self.steps += 1
        self.prompt_tokens += read
        self.generating_rows += rows - read
        self.prompt_seconds += seconds * read / rows
        self.generated_seconds += seconds * (rows - read) / rows
        if read >= MEASURED_ROWS:
            speed, before = rows / seconds, self.prompt_speed
            self.prompt_speed = speed if before is None else before + NEWEST * (speed - before)
        self.move()
        return 0 if read else rows

    def snapshot(self, running: int, waiting: int, generated: int, cache_bytes: int) -> Counters:
        """Return the counts; `generated` tokens are those of the samples that run."""
        return Counters(
            running=running,
            waiting=waiting,
            steps=self.steps,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            generated_tokens=self.generated_tokens + generated,
            generating_rows=self.generating_rows,
            prompt_seconds=self.prompt_seconds,
            generated_seconds=self.generated_seconds,
            prompt_speed=self.prompt_speed,
            cache_bytes=cache_bytes,
            stalled_seconds=monotonic() - self.moved if running or waiting else 0.0,
        )
