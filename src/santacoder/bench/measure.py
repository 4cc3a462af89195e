"""Measures a model and, in the same rounds, the machine: speeds, the share of the machine's limits, memory, load time.

Every speed is measured between two measurements of its limit, so that other load on the machine slows both. The
percentage compares with their mean.

* Generation is compared with plain reads. A token counts as a read of the packed weights of all linear layers and of
  the lm_head, which is the token embedding itself if the two are tied. Rows that are looked up (positions, an untied
  token embedding), biases, norms and the KV cache are not counted.
* Prompts and batches are compared with int8 dot products. A token counts as two operations per multiply-add of the
  linear layers, whatever their format, and of the lm_head where its logits are needed: for each token of a batch, and
  for the last token of a prompt. Attention is not counted.

Python's share of a generation step is the time outside `sc_run`. `Transformer` adds up the time inside `sc_run`; the
scheduler, which `complete` uses too, times whole steps; `TimedSteps`, between the two, times the forward pass. The rest
of a step chooses the token, most of that in C too, and decodes its text.
"""

from __future__ import annotations

import os
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import lib
from santacoder._util.peak_memory import peak_bytes
from santacoder._util.validation import check_integer
from santacoder.batching.scheduler import Scheduler
from santacoder.bench.report import LimitName, Limits, Load, Memory, PythonShare, Report, Speed, StepCost, Work
from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.results import Timings
from santacoder.decoding.sampler import Sampler
from santacoder.decoding.sequence import Sequence
from santacoder.engine.isa import LEVELS
from santacoder.engine.kv_cache import KVCache
from santacoder.engine.loading import open_transformer, usable_context
from santacoder.engine.threads import waiting
from santacoder.engine.transformer import Outputs, Tokens, Transformer
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.reader import GGUFFile
from santacoder.text.stream import stop_filters
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import Tokenizer

MAX_BATCH: Final = 256
BATCH_PROMPT: Final = 128  # tokens that the sequences of a batch share
BATCH_STEPS: Final = 16  # most steps of a batch per round: each runs a token of every sequence
LOADS: Final = 5  # most times that the file is loaded again
LIMIT_SECONDS: Final = 0.05  # the least time that one measurement of a limit takes
STEP_ROWS: Final = (1, 2, 4, 8, 16)  # of the steps whose costs are compared
DOT_ROUNDS: Final = 256  # rounds of sc_peak_dot, per thread and call


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """Settings of a benchmark.

    Attributes:
        context: positions of a cache.
        prompt: tokens of the prompt.
        tokens: tokens to generate one by one.
        depth: tokens already in the cache when generation at depth begins.
        batches: numbers of sequences.
        runs: rounds that count; one more comes first, to warm up.
    """

    context: int
    prompt: int
    tokens: int
    depth: int
    batches: tuple[int, ...]
    runs: int

    @property
    def batch_steps(self) -> int:
        """Tokens that each sequence of a batch generates."""
        return min(self.tokens, BATCH_STEPS)

    @classmethod
    def fit(
        cls,
        context: int,
        prompt: int | None = None,
        tokens: int | None = None,
        depth: int | None = None,
        batches: abc.Sequence[int] = (16,),
        runs: int = 3,
    ) -> BenchConfig:
        """Return the settings; None is the default of `santacoder bench`, or as much of it as fits.

        Raises:
            InvalidRequestError: a number is out of range.
        """
        most = check_integer("the context", context, 3, None) - 2  # one token starts, and the last is never run
        prompt = check_integer("--prompt-tokens", min(512, most) if prompt is None else prompt, 1, most)
        tokens = check_integer("--tokens", min(64, most) if tokens is None else tokens, 1, most)
        room = context - tokens
        depth = check_integer("--depth", min(1536, room) if depth is None else depth, 1, room)
        sizes = tuple(check_integer("--batch", size, 1, MAX_BATCH) for size in batches)
        return cls(context, prompt, tokens, depth, sizes, check_integer("--runs", runs, 1, None))


class Machine:
    """Measures the machine's limits and keeps the results."""

    def __init__(self, transformer: Transformer) -> None:
        self._weights = transformer.weights
        self._arguments = transformer.team, LEVELS[transformer.isa]
        self._rounds = DOT_ROUNDS * transformer.threads
        self.rates: dict[LimitName, list[float]] = {"read": [], "dot": []}

    def measure(self, name: LimitName) -> float:
        """Measure a limit once; return bytes or operations per second."""
        work = self._read if name == "read" else self._multiply
        done, begin = 0, perf_counter()
        while (seconds := perf_counter() - begin) < LIMIT_SECONDS:
            done += work()
        self.rates[name].append(done / seconds)
        return done / seconds

    def forget(self) -> None:
        """Discard the measurements of the warm-up."""
        self.rates = {"read": [], "dot": []}

    def limits(self) -> Limits:
        """Return all measurements so far."""
        read, dot = self.rates["read"], self.rates["dot"]
        return Limits(median(read), read, median(dot), dot)

    def _read(self) -> int:
        lib.sc_peak_read(*self._arguments, self._weights.panels, self._weights.n_bytes)
        return self._weights.n_bytes

    def _multiply(self) -> int:
        lib.sc_peak_dot(*self._arguments, self._rounds)
        return 2 * lib.SC_PEAK_MACS * self._rounds


class Case:
    """One speed to measure: its tokens and work per run, and the runs so far.

    Args:
        run: does the work once and returns the seconds it took.
        tokens: tokens per run.
        limit: the limit that the percentages compare with.
        work: bytes to read per run, or operations.
        sequences: how many run together.
        depth: tokens in each sequence's cache beforehand.
    """

    def __init__(
        self, run: Callable[[], float], tokens: int, limit: LimitName, work: int, sequences: int = 1, depth: int = 0
    ) -> None:
        self._run = run
        self._tokens, self._sequences, self._depth = tokens, sequences, depth
        self._limit, self._work = limit, work
        self._rates: list[float] = []
        self._percents: list[float] = []

    def measure(self, machine: Machine) -> None:
        """Run once, between two measurements of the limit."""
        before = machine.measure(self._limit)
        seconds = max(self._run(), 1e-9)
        limit = (before + machine.measure(self._limit)) / 2
        self._rates.append(self._tokens / seconds)
        self._percents.append(100 * self._work / seconds / limit)

    def forget(self) -> None:
        """Discard the runs of the warm-up."""
        self._rates, self._percents = [], []

    def speed(self) -> Speed:
        """Return the result of all runs."""
        rate, percent = median(self._rates), median(self._percents)
        counts = self._tokens, self._sequences, self._depth
        return Speed(*counts, rate, self._rates, self._limit, percent, self._percents)


class TimedSteps:
    """A transformer for a scheduler that records each step's seconds in the forward pass, and of these in `sc_run`."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self.context, self.chunk = transformer.context, transformer.chunk
        self.block_bytes = transformer.block_bytes
        self.forward_seconds: list[float] = []
        self.native_seconds: list[float] = []

    def new_cache(self) -> KVCache:
        """Return an empty cache."""
        return self._transformer.new_cache()

    def forward_batch(
        self,
        parts: abc.Sequence[tuple[Tokens, KVCache]],
        outputs: Outputs = "last",
        abandon: Callable[[], bool] = lambda: False,
    ) -> NDArray[np.float32]:
        """See `Transformer.forward_batch`."""
        native, begin = self._transformer.native_seconds, perf_counter()
        logits = self._transformer.forward_batch(parts, outputs, abandon)
        self.forward_seconds.append(perf_counter() - begin)
        self.native_seconds.append(self._transformer.native_seconds - native)
        return logits

    def iter_logits_batch(
        self,
        parts: abc.Sequence[tuple[Tokens, KVCache]],
        piece_rows: int,
        outputs: Outputs = "all",
        abandon: Callable[[], bool] = lambda: False,
    ) -> Iterator[NDArray[np.float32]]:
        """See `Transformer.iter_logits_batch`; its time is not recorded."""
        return self._transformer.iter_logits_batch(parts, piece_rows, outputs, abandon)


class Workloads:
    """The work that the cases measure."""

    def __init__(self, transformer: Transformer, tokenizer: Tokenizer) -> None:
        self._transformer = transformer
        self._tokenizer = tokenizer
        self._random = np.random.default_rng(0)

    def read(self, tokens: int) -> float:
        """Run a prompt of random tokens and choose the next one greedily; return the seconds."""
        params = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, lookup=False)
        return self._generate(self._transformer, tokens, params).prompt_seconds

    def generate(self, tokens: int) -> float:
        """Generate `tokens` tokens greedily, one by one from an empty context; return the seconds."""
        params = SamplingParams(max_tokens=tokens + 1, temperature=0.0, ignore_eos=True, lookup=False)
        return self._generate(self._transformer, 1, params).generation_seconds

    def decode(self, caches: abc.Sequence[KVCache], steps: int) -> float:
        """Run `steps` steps, each adding a greedily chosen token to every cache's sequence; return the seconds."""
        greedy = SamplingParams(temperature=0.0)
        vocab_size, never = self._transformer.config.vocab_size, self._tokenizer.never_sampled
        samplers = [Sampler(greedy, vocab_size, never, seed=0) for _ in caches]
        tokens = self._prompt(len(caches))
        begin = perf_counter()
        for _ in range(steps):
            parts = [(tokens[i : i + 1], cache) for i, cache in enumerate(caches)]
            logits = self._transformer.forward_batch(parts)
            tokens[:] = [sampler.next(row) for sampler, row in zip(samplers, logits, strict=True)]
        return perf_counter() - begin

    def step(self, prefix: KVCache, rows: int) -> float:
        """Run so many tokens behind a prefix in one step, with logits for all; return the seconds."""
        tokens, cache = self._prompt(rows), prefix.fork()
        begin = perf_counter()
        self._transformer.forward_batch([(tokens, cache)], [rows])
        return perf_counter() - begin

    def fill(self, tokens: int) -> KVCache:
        """Return a cache that holds this many random tokens."""
        cache = self._transformer.new_cache()
        self._transformer.forward(self._prompt(tokens), cache)
        return cache

    def shares(self, tokens: int) -> tuple[float, float, float]:
        """Return the seconds per step of `complete` with default sampling: in all, in the forward pass, in `sc_run`."""
        steps = TimedSteps(self._transformer)
        params = SamplingParams(max_tokens=tokens + 1, seed=0, ignore_eos=True, lookup=False)
        timings = self._generate(steps, 1, params)
        forward, native = sum(steps.forward_seconds[1:]), sum(steps.native_seconds[1:])  # the first is the prompt's
        return timings.generation_seconds / tokens, forward / tokens, native / tokens

    def _prompt(self, tokens: int) -> TokenIds:
        return self._random.integers(0, self._transformer.config.vocab_size, tokens, dtype=np.int32)

    def _generate(self, engine: Transformer | TimedSteps, prompt: int, params: SamplingParams) -> Timings:
        sequence = Sequence(
            CheckedRequest(self._tokenizer, self._prompt(prompt), params, stop_filters), params.seed or 0
        )
        Scheduler(engine).finish([sequence])
        return sequence.completion().timings


def bench_context(path: str | os.PathLike[str], context: int | None = None) -> int:
    """Return the positions that a model will have with this `context`, without reading its weights.

    Raises:
        InvalidRequestError: `context` is out of range.
        OSError, ModelFormatError: as `open_transformer`.
    """
    with GGUFFile.open(path) as file:
        return usable_context(read_config(file), context)


def benchmark(path: str | os.PathLike[str], config: BenchConfig, threads: int | None = None) -> Report:
    """Load a model several times, then measure it.

    Args:
        path: a GGUF file.
        config: what to measure.
        threads: as in `SantaCoder.load`.

    Raises:
        SantaCoderError, OSError: any error of `SantaCoder.load`.
    """
    transformer, tokenizer = open_transformer(path, threads, config.context)
    loads = []
    for _ in range(min(config.runs, LOADS)):
        del transformer, tokenizer  # one at a time in memory
        begin = perf_counter()
        transformer, tokenizer = open_transformer(path, threads, config.context)
        loads.append(perf_counter() - begin)
    machine = Machine(transformer)
    workloads = Workloads(transformer, tokenizer)
    work = _work(transformer)
    cases = _cases(config, workloads, work)
    steps = []
    sizes = [rows for rows in STEP_ROWS if rows < config.context]
    prefix = workloads.fill(min(BATCH_PROMPT, config.context - sizes[-1]))
    seconds: list[list[float]] = []
    before = waiting(transformer.team)
    for number in range(config.runs + 1):
        if number == 1:
            before = waiting(transformer.team)
            machine.forget()
            for case in cases:
                case.forget()
        for case in cases:
            case.measure(machine)
        steps.append(workloads.shares(config.tokens))
        seconds.append([workloads.step(prefix, rows) for rows in sizes])
    prompt, generation, at_depth, *batches = [case.speed() for case in cases]
    return Report(
        model=transformer.config.name,
        isa=transformer.isa,
        threads=transformer.threads,
        context=transformer.context,
        runs=config.runs,
        prompt=prompt,
        generation=generation,
        generation_at_depth=at_depth,
        batches=batches,
        step_costs=_step_costs(sizes, seconds[1:]),
        load=Load(median(loads), loads),
        memory=_memory(transformer, Path(path)),
        limits=machine.limits(),
        work=work,
        python_share=_python_share(steps[1:]),
        waiting=waiting(transformer.team).since(before),
    )


def _work(transformer: Transformer) -> Work:
    layers, head = transformer.macs
    return Work(transformer.step_bytes, 2 * layers, 2 * head)


def _cases(config: BenchConfig, workloads: Workloads, work: Work) -> list[Case]:
    """Return the cases: prompt, generation, generation at depth, and the batches."""
    steps = config.batch_steps
    shared = min(BATCH_PROMPT, config.context - steps)
    deep, prefix = workloads.fill(config.depth), workloads.fill(shared)
    read = config.tokens * work.weight_bytes

    def at_depth() -> float:
        deep.truncate(config.depth)
        return workloads.decode([deep], config.tokens)

    def batch(size: int) -> Case:
        ops = steps * size * (work.layer_ops + work.head_ops)

        def decode() -> float:
            return workloads.decode([prefix.fork() for _ in range(size)], steps)

        return Case(decode, steps * size, "dot", ops, size, shared)

    prompt_ops = config.prompt * work.layer_ops + work.head_ops
    return [
        Case(lambda: workloads.read(config.prompt), config.prompt, "dot", prompt_ops),
        Case(lambda: workloads.generate(config.tokens), config.tokens, "read", read, depth=1),
        Case(at_depth, config.tokens, "read", read, depth=config.depth),
        *map(batch, config.batches),
    ]


def _step_costs(sizes: abc.Sequence[int], runs: list[list[float]]) -> list[StepCost]:
    medians = [median(times) for times in zip(*runs, strict=True)]
    return [StepCost(rows, seconds, seconds / medians[0]) for rows, seconds in zip(sizes, medians, strict=True)]


def _python_share(steps: abc.Sequence[tuple[float, float, float]]) -> PythonShare:
    seconds, forward, native = np.array(steps).T
    percent = 100 * (seconds - native) / seconds
    return PythonShare(
        percent=float(np.median(percent)),
        forward_percent=float(np.median(100 * (forward - native) / seconds)),
        sampling_percent=float(np.median(100 * (seconds - forward) / seconds)),
        step_seconds=float(np.median(seconds)),
        runs=percent.tolist(),
    )


def _memory(transformer: Transformer, path: Path) -> Memory:
    peak = peak_bytes()
    with GGUFFile.open(path) as file:
        size = file.size
    return Memory(peak, transformer.weights_bytes, size, peak / size)
