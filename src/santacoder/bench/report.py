"""The results of `santacoder bench`, with the field names of its JSON; `measure.py` says how they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from santacoder.engine.threads import Waiting

LimitName = Literal["read", "dot"]


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of one case.

    Attributes:
        tokens: tokens per run, those of all sequences together.
        sequences: how many run together.
        depth: tokens in each sequence's cache beforehand.
        tokens_per_second: the median, of all sequences together.
        runs: tokens per second of each run.
        limit: the limit that the percentages compare with.
        limit_percent: the median percentage of the limit.
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
    """The machine's peaks with the model's threads (roofline, Williams et al. 2009): medians, and all measurements.

    Attributes:
        read_bytes_per_second: plain reads of the packed weights, from memory or from the caches they fit in.
        read_runs: each measurement.
        dot_ops_per_second: int8 operations of the instruction set's dot product, two per multiply-add.
        dot_runs: each measurement.
    """

    read_bytes_per_second: float
    read_runs: list[float]
    dot_ops_per_second: float
    dot_runs: list[float]


@dataclass(frozen=True, slots=True)
class Work:
    """The work that the percentages count.

    Attributes:
        weight_bytes: bytes of packed weights that one step reads.
        layer_ops: operations of the linear layers per token.
        head_ops: operations of the lm_head per row of logits.
    """

    weight_bytes: int
    layer_ops: int
    head_ops: int


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds to load the file from the page cache, with one model in memory at a time: median and each run."""

    seconds: float
    runs: list[float]


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes.

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
        percent: in all.
        forward_percent: in the forward pass.
        sampling_percent: in choosing the token and decoding its text.
        step_seconds: seconds per step.
        runs: `percent` of each run.
    """

    percent: float
    forward_percent: float
    sampling_percent: float
    step_seconds: float
    runs: list[float]


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step of one sequence costs by its rows: guessing is free as far as rows are.

    Attributes:
        rows: tokens that run together, all of whose logits are wanted.
        seconds: the median.
        cost: that over the time of one row.
    """

    rows: int
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class Report:
    """All results of a benchmark."""

    model: str
    isa: str
    threads: int
    context: int
    runs: int
    prompt: Speed
    generation: Speed
    generation_at_depth: Speed
    batches: list[Speed]
    step_costs: list[StepCost]
    load: Load
    memory: Memory
    limits: Limits
    work: Work
    python_share: PythonShare
    waiting: Waiting
