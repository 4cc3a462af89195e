"""SantaCoder's forward pass: GPT-2 with pre-LayerNorm and multi-query attention.

Radford et al. 2019 (GPT-2), Shazeer 2019 (multi-query attention), Allal et al. 2023 (SantaCoder). The pass is recorded
once as a list of operations and then run for any tokens by `sc_run`, which keeps Python out of the loop over layers and
releases the GIL. Shapes: T rows of this step, D width, H query heads, G KV heads, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.engine.isa import name as isa_name
from santacoder.engine.kv_cache import KVCache
from santacoder.engine.program import record
from santacoder.engine.weight_plan import PADDING
from santacoder.engine.weights import Weights
from santacoder.errors import InvalidRequestError, StepAbandonedError
from santacoder.gguf.config import Config

if TYPE_CHECKING:
    from santacoder._native import Team

_SHAPE_FIELDS: Final = ffi.typeof("sc_shape").fields

Tokens = Sequence[int] | NDArray[np.integer]
#: Positions whose logits are wanted: the last of each sequence, all, or a number at the end of each sequence.
Outputs = Literal["last", "all"] | Sequence[int]

#: Multiply-adds per row and call of `sc_run`, in units of the instruction set's chunk: tens of milliseconds, so that
#: Ctrl-C and other Python threads get their turn. One layer of SantaCoder has 42 million per row.
CALL_MACS: Final = 45_000_000


def _all_f32(weights: Weights) -> bool:
    """Return whether no weight was rounded: then keys and values are not rounded either."""
    return all(matrix.format == lib.SC_F32 for matrix in weights.matrices.values())


class Transformer:
    """A model's weights with the memory and threads to run it, for one caller at a time.

    Attributes:
        config: the model's dimensions.
        context: positions that a cache has room for.
        chunk: most rows of a step.
        threads: threads that compute.
        isa: the instruction set of the kernels.
        weights: what the steps read.
        team: `sc_team *`, the threads.
        native_seconds: time spent inside `sc_run` so far.
    """

    def __init__(self, config: Config, weights: Weights, team: Team, isa: int, context: int) -> None:
        self.config = config
        self.context = context
        self.threads = lib.sc_team_wanted(team)
        self.isa = isa_name(isa)
        self.weights: Final = weights
        self.team: Final = team
        self.native_seconds = 0.0
        self._shape = ffi.new(
            "sc_shape *",
            {
                "n_layer": config.block_count,
                "n_embd": config.embedding_length,
                "n_head": config.head_count,
                "n_head_kv": config.head_count_kv,
                "head_dim": config.head_dim,
                "n_ff": config.feed_forward_length,
                "cache": lib.SC_F32 if _all_f32(weights) else lib.SC_F16,
                "epsilon": config.layer_norm_epsilon,
            },
        )
        self.chunk = min(lib.sc_engine_chunk(isa), context)
        self._ops, self._macs, self._places = record(config, weights)
        self._layer_macs = sum(self._macs[:-1])
        self._attends = {i for i, op in enumerate(self._ops) if op.kind == lib.SC_OP_ATTEND}
        float_hidden = any(op.kind == lib.SC_OP_UP and not op.quantize for op in self._ops)
        engine = lib.sc_engine_new(self._shape, isa, self.chunk, float_hidden, team)
        if engine == ffi.NULL:
            raise MemoryError(f"no memory to run {self.chunk} tokens at a time")
        self._engine = ffi.gc(engine, lib.sc_engine_free)
        self._budget = lib.sc_engine_chunk(isa) * CALL_MACS
        self._latest: Step | None = None  # the one whose rows the engine holds

    @property
    def block_bytes(self) -> int:
        """Bytes of a kv_block."""
        return lib.sc_kv_block_bytes(self._shape)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the shape and all weights: models with the same one give the same bits."""
        digest = hashlib.sha256(repr([(name, getattr(self._shape, name)) for name, _ in _SHAPE_FIELDS]).encode())
        for name, matrix in sorted(self.weights.matrices.items()):
            digest.update(f"{name} {matrix.format} {matrix.rows} {matrix.columns}".encode())
            digest.update(ffi.buffer(matrix.panels, lib.sc_matrix_bytes(matrix.format, matrix.rows, matrix.columns)))
        for name, vector in sorted(self.weights.vectors.items()):
            digest.update(name.encode())
            digest.update(ffi.buffer(vector, self.weights.vector_bytes[name]))
        return digest.hexdigest()

    def collect_moments(self) -> Mapping[str, NDArray[np.float64]]:
        """Add up each matrix's inputs from now on, and their squares, over all rows: (2, columns) float64.

        Raises:
            InvalidRequestError: a matrix is quantized, and so are its inputs.
        """
        moments = {}
        for name, place in self._places.items():
            if self.weights.takes_int8(name):
                raise InvalidRequestError(
                    f"tensor {name} is quantized, but only F32, F16 and BF16 take inputs as they are"
                )
            moments[name] = np.zeros((2, self.weights.matrices[name].columns))
            self._ops[place].moments = ffi.from_buffer("double *", moments[name])
        self._moments = moments  # keeps the memory
        return moments

    @property
    def weights_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self.weights.n_bytes

    @property
    def step_bytes(self) -> int:
        """Bytes of packed weights that every step reads in whole: those of the linear layers and of the lm_head.

        Of the position embeddings, and of a token embedding that is not also the lm_head, a token needs only one row.
        """
        rows_alone = {"position_embd.weight"} | (set() if self.config.tied_embeddings else {"token_embd.weight"})
        matrices = [matrix for name, matrix in self.weights.matrices.items() if name not in rows_alone]
        return sum(lib.sc_matrix_bytes(m.format, m.rows, m.columns) for m in matrices)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-adds of the linear layers per row of a step, and of the lm_head per row of logits."""
        return self._layer_macs, self._macs[-1]

    def new_cache(self) -> KVCache:
        """Return an empty cache for one sequence of up to `context` positions."""
        dim = -(-self.config.head_dim // PADDING) * PADDING
        item_bytes = 4 if self._shape.cache == lib.SC_F32 else 2
        return KVCache(self.block_bytes, self.context, dim=dim, item_bytes=item_bytes)

    def forward(self, tokens: Tokens, cache: KVCache, outputs: Outputs = "last") -> NDArray[np.float32]:
        """Run `forward_batch` for one sequence; return logits (1, V) of the last token, or (T, V) of all."""
        return self.forward_batch([(tokens, cache)], outputs)

    def forward_batch(
        self,
        parts: Sequence[tuple[Tokens, KVCache]],
        outputs: Outputs = "last",
        abandon: Callable[[], bool] = lambda: False,
    ) -> NDArray[np.float32]:
        """Run tokens of several sequences together, each after those in its cache, and append them there.

        A sequence's logits are batch-invariant. The caller has checked that the tokens are in the vocabulary and fit in
        the context. An exception between two steps (Ctrl-C) leaves the caches at the last whole step.

        Args:
            parts: (T,) ids of each sequence, at least one, and its cache, made by `new_cache`; no cache twice.
            outputs: the positions whose logits are wanted.
            abandon: asked every few tens of milliseconds whether to stop.

        Returns:
            Logits, float32: (len(parts), V) of each sequence's last token, (sum of T, V) of all, or as many at the end
            of each sequence as `outputs` says, in order.

        Raises:
            StepAbandonedError: `abandon` said so.
        """
        ends = _ends(parts, outputs)
        logits = np.empty((sum(ends), self.config.vocab_size), dtype=np.float32)
        filled = 0
        for step, wanted in self._steps(parts, ends):
            self._run(step, wanted, logits[filled:], abandon)
            filled += wanted.size
        return logits

    def iter_logits_batch(
        self,
        parts: Sequence[tuple[Tokens, KVCache]],
        piece_rows: int,
        outputs: Outputs = "all",
        abandon: Callable[[], bool] = lambda: False,
    ) -> Iterator[NDArray[np.float32]]:
        """Run `forward_batch`, but yield the logits in memory for `piece_rows` rows; steps are not smaller.

        A step's result stays in the engine, and the lm_head takes it from there piece by piece. So no other step may
        run before the generator has ended or was dropped. It may be dropped at any piece, and leaves each cache with
        the positions of whole steps.

        Yields:
            (N, V) float32, each time in the same memory: N is `piece_rows`, or what is left at the end.

        Raises:
            RuntimeError: another step ran in between.
            StepAbandonedError: `abandon` said so.
        """
        logits = np.empty((piece_rows, self.config.vocab_size), dtype=np.float32)
        filled = 0
        for step, wanted in self._steps(parts, _ends(parts, outputs)):
            while wanted.size or not step.done:
                room = piece_rows - filled
                self._run(step, wanted[:room], logits[filled:], abandon)
                filled += min(room, wanted.size)
                wanted = wanted[room:]
                if filled == piece_rows:
                    yield logits
                    filled = 0
        if filled:
            yield logits[:filled]

    def _steps(
        self, parts: Sequence[tuple[Tokens, KVCache]], ends: Sequence[int]
    ) -> Iterator[tuple[Step, NDArray[np.int32]]]:
        """Cut parts into steps of at most a chunk of rows; yield each with its rows whose logits are wanted.

        `ends` says for how many positions, at the end of each part, the logits are wanted.
        """
        ids = [np.asarray(tokens, dtype=np.int32) for tokens, _ in parts]
        for pieces in _cut([part.size for part in ids], self.chunk):
            step = Step([(ids[index][start:stop], parts[index][1]) for index, start, stop in pieces])
            yield step, _wanted(pieces, ids, ends)

    def _run(
        self,
        step: Step,
        wanted: NDArray[np.int32],
        logits: NDArray[np.float32],
        abandon: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run a step, or only its lm_head if done, in calls of bounded length; write the logits of `wanted` rows."""
        last = len(self._macs)
        lm_head = last - 2  # the norm before it included: both run for wanted rows only
        if step.done and self._latest is not step:
            raise RuntimeError("another step ran before all logits of this one were asked for")
        self._latest = step
        ops = range(lm_head if step.done else 0, last if wanted.size else lm_head)
        step.batch.outputs = wanted.size
        step.batch.output_rows = ffi.from_buffer("int32_t[]", wanted)
        step.batch.logits = ffi.from_buffer("float[]", logits)
        attention = step.pairs * 2 * self.config.embedding_length
        for first, n in self._calls(ops, step.rows, wanted.size, attention):
            if abandon():
                raise StepAbandonedError
            begin = perf_counter()
            lib.sc_run(self._engine, self._ops + first, n, step.batch)
            self.native_seconds += perf_counter() - begin
        step.finish()

    def _calls(self, ops: range, rows: int, outputs: int, attention: int) -> list[tuple[int, int]]:
        """Cut operations into (first, n) runs of at most the budget, at least one each.

        The `attention` of a layer counts fourfold: its multiply-adds are of floats, a quarter as fast.
        """
        layers, lm_head = self.macs
        attend = 4 * attention
        if rows * layers + outputs * lm_head + attend * len(self._attends) <= self._budget:
            return [(ops.start, len(ops))]  # most steps: looking at each operation would take longer than all else here
        calls, first, spent = [], ops.start, 0
        for i in ops:
            work = self._macs[i] * (outputs if i == len(self._macs) - 1 else rows)
            if i in self._attends:
                work = attend
            if spent and spent + work > self._budget:
                calls.append((first, i - first))
                first, spent = i, 0
            spent += work
        calls.append((first, ops.stop - first))
        return calls


class Step:
    """Rows of one or more sequences on their way through the engine.

    Attributes:
        rows: tokens of all parts.
        pairs: of a query and a key, per head, that attention multiplies.
        batch: `sc_batch *`, whose outputs the caller sets.
        done: whether the rows are in the caches.
    """

    def __init__(self, parts: Sequence[tuple[NDArray[np.int32], KVCache]]) -> None:
        self.rows = self.pairs = 0
        self.done = False
        self._parts: Sequence[tuple[NDArray[np.int32], KVCache]] = parts
        segments = []
        for ids, cache in parts:
            cache.reserve(ids.size)
            segments.append((self.rows, ids.size, len(cache), cache.table))
            self.rows += ids.size
            self.pairs += ids.size * (len(cache) + ids.size)
        self._segments = ffi.new("sc_segment[]", segments)
        tokens = parts[0][0] if len(parts) == 1 else np.concatenate([ids for ids, _ in parts])
        self._tokens = ffi.from_buffer("int32_t[]", tokens)
        self.batch = ffi.new("sc_batch *", (self.rows, len(parts), 0, self._tokens, self._segments))

    def finish(self) -> None:
        """Count the rows as part of their sequences, once, and drop the references to these."""
        for ids, cache in self._parts:
            cache.append(ids.size)
        self._parts = ()
        self.done = True


def _cut(sizes: Sequence[int], chunk: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut sequences into steps of at most `chunk` rows; yield (index, start, stop) of each step's pieces."""
    step, room = [], chunk
    for index, size in enumerate(sizes):
        start = 0
        while start < size:
            stop = min(start + room, size)
            step.append((index, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield step
                step, room = [], chunk
    if step:
        yield step


def _ends(parts: Sequence[tuple[Tokens, KVCache]], outputs: Outputs) -> Sequence[int]:
    """Return for how many positions, at the end of each part, `outputs` asks for logits."""
    if not isinstance(outputs, str):
        return outputs
    return [1 if outputs == "last" else len(tokens) for tokens, _ in parts]


def _wanted(
    pieces: Sequence[tuple[int, int, int]], ids: Sequence[NDArray[np.int32]], ends: Sequence[int]
) -> NDArray[np.int32]:
    """Return the rows of a step whose logits are wanted, rising; `pieces` are as in `_cut`, `ends` as in `_steps`."""
    wanted: list[int] = []
    row = 0
    for index, start, stop in pieces:
        first = max(start, ids[index].size - ends[index])
        wanted += range(row + first - start, row + stop - start)
        row += stop - start
    return np.array(wanted, dtype=np.int32)
