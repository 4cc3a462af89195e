"""What `santacoder bench` finds out, as JSON has it; `benchmark` says how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from santacoder.engine.threads import Waiting

LimitName = Literal["read", "dot"]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast tokens run.

    Attributes:
        tokens: tokens per run, those of all sequences together.
        sequences: how many run side by side.
        depth: tokens in the cache of each before.
        tokens_per_second: the median, of all sequences together.
        runs: tokens per second of each run.
        limit: what the percentages compare with.
        limit_percent: the median percentage of the limit that was reached.
        limit_percent_runs: of each run.
    """

    tokens: int
    sequences: int
    depth: int
    tokens_per_second: float
    runs: list[float]
    limit: LimitName
    limit_percent: float
    limit_percent_runs: list[float]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine can do on the model's threads: medians, and each measurement in order.

    Attributes:
        read_bytes_per_second: plain reads of the packed weights, from memory or from the caches they fit in.
        read_runs: each.
        dot_ops_per_second: int8 operations of the instruction set's dot product, two per multiply-add.
        dot_runs: each.
    """

    read_bytes_per_second: float
    read_runs: list[float]
    dot_ops_per_second: float
    dot_runs: list[float]


@dataclass(frozen=True, slots=True)
class Work:
    """What the percentages count.

    Attributes:
        weight_bytes: bytes of packed weights that one step reads.
        layer_ops: operations of the linear layers per token.
        head_ops: operations of the head per row of logits.
    """

    weight_bytes: int
    layer_ops: int
    head_ops: int


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds to open the file anew, in the system's cache and with one model in memory at a time: median and each."""

    seconds: float
    runs: list[float]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes.

    Attributes:
        peak_bytes: most that the process held at once: the model, Python and the benchmark's caches.
        weights_bytes: the packed weights.
        file_bytes: the file.
        peak_to_file: the peak as a multiple of the file.
    """

    peak_bytes: int
    weights_bytes: int
    file_bytes: int
    peak_to_file: float


@dataclass(frozen=True, slots=True)
class PythonShare:
    """Percentages of a generation step of `complete`, with its default sampling, outside `sc_run`: medians.

    Attributes:
        percent: all of it.
        forward_percent: in the forward pass.
        sampling_percent: in the choice of the token and its text.
        step_seconds: the step.
        runs: `percent` of each run.
    """

    percent: float
    forward_percent: float
    sampling_percent: float
    step_seconds: float
    runs: list[float]


@dataclass(frozen=True, slots=True)
class Report:
    """All results."""

    model: str
    isa: str
    threads: int
    context: int
    runs: int
    prompt: Speed
    generation: Speed
    generation_at_depth: Speed
    batches: list[Speed]
    load: Load
    memory: Memory
    limits: Limits
    work: Work
    python_share: PythonShare
    waiting: Waiting
