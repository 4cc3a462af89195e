"""SantaCoder's forward pass: GPT-2 with pre-LayerNorm and multi-query attention.

Radford et al. 2019 (GPT-2), Shazeer 2019 (multi-query attention), Allal et al. 2023 (SantaCoder). The pass is recorded
once as a list of operations and then run for any tokens by `sc_run`, which keeps Python out of the loop over layers and
holds no lock of the interpreter. Shapes: T rows of this step, D width, H query heads, G KV heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from santacoder import _isa
from santacoder._native import ffi, lib
from santacoder.config import Config
from santacoder.kv_cache import KVCache
from santacoder.weights import Weights

#: Multiply-adds per row and call of `sc_run`, in units of the instruction set's chunk: tens of milliseconds, so that
#: Ctrl-C and other Python threads get their turn. One layer of SantaCoder has 42 million per row.
CALL_MACS: Final = 45_000_000


class Program:
    """The recorded operations; each method stands for one line of the pass and adds one `sc_op`."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._ops: list[dict[str, Any]] = []
        self._macs: list[int] = []  # per row

    def embed(self, tokens: str, positions: str) -> None:
        """Token embedding plus learned position."""
        matrices = self._weights.matrices
        self._add("EMBED", 0, matrix=matrices[tokens], positions=matrices[positions])

    def norm(self, name: str, feeds: str, *, last: bool = False) -> None:
        """LayerNorm of the residual stream, in the form that the matrix `feeds` takes."""
        vectors = self._weights.vectors
        kind = "NORM_LAST" if last else "NORM"
        weight, bias = vectors[f"{name}.weight"], vectors[f"{name}.bias"]
        self._add(kind, 0, weight=weight, bias=bias, quantize=self._takes_int8(feeds))

    def linear(self, kind: str, name: str, layer: int = 0, feeds: str | None = None) -> None:
        """A matrix with its bias if it has one, then what `kind` says: see sc_op in santacoder.h."""
        matrix = self._weights.matrices[f"{name}.weight"]
        bias = self._weights.vectors.get(f"{name}.bias", ffi.NULL)
        quantize = feeds is not None and self._takes_int8(feeds)
        self._add(kind, matrix.rows * matrix.columns, matrix=matrix, bias=bias, layer=layer, quantize=quantize)

    def attend(self, layer: int, feeds: str) -> None:
        """Causal attention over the cache."""
        self._add("ATTEND", 0, layer=layer, quantize=self._takes_int8(feeds))

    def finish(self) -> tuple[Any, list[int]]:
        """The operations as a C array, and the multiply-adds per row of each."""
        return ffi.new("sc_op[]", self._ops), self._macs

    def _takes_int8(self, name: str) -> bool:
        return bool(self._weights.matrices[f"{name}.weight"].format >= lib.SC_Q4_K)

    def _add(self, kind: str, macs: int, **fields: Any) -> None:
        self._ops.append({"kind": getattr(lib, f"SC_OP_{kind}"), **fields})
        self._macs.append(macs)


def record(config: Config, weights: Weights) -> tuple[Any, list[int]]:
    """SantaCoder, from token ids to logits."""
    p = Program(weights)
    head = "token_embd" if config.tied_embeddings else "output"
    p.embed("token_embd.weight", "position_embd.weight")  # x (T, D)
    for i in range(config.block_count):
        block = f"blk.{i}"
        p.norm(f"{block}.attn_norm", feeds=f"{block}.attn_qkv")  # h (T, D)
        p.linear("QKV", f"{block}.attn_qkv", i)  # q (T, H, D/H); keys, values (T, G, D/H) to the cache
        p.attend(i, feeds=f"{block}.attn_output")  # a (T, D)
        p.linear("ADD_ATTN", f"{block}.attn_output")  # x += (T, D)
        p.norm(f"{block}.ffn_norm", feeds=f"{block}.ffn_up")  # h (T, D)
        p.linear("UP", f"{block}.ffn_up", feeds=f"{block}.ffn_down")  # u = gelu (T, 4D)
        p.linear("ADD_FFN", f"{block}.ffn_down")  # x += (T, D)
    p.norm("output_norm", feeds=head, last=True)  # h (outputs, D)
    p.linear("LOGITS", head)  # (outputs, V)
    return p.finish()


class Transformer:
    """One model's weights with the memory and threads to run it. One caller at a time."""

    def __init__(self, config: Config, weights: Weights, team: Any, isa: int, context: int) -> None:
        self.config = config
        self.context = context
        self.threads = int(lib.sc_team_wanted(team))
        self.isa = _isa.name(isa)
        self._weights = weights
        self._team = team
        self._shape = ffi.new(
            "sc_shape *",
            {
                "n_layer": config.block_count,
                "n_embd": config.embedding_length,
                "n_head": config.head_count,
                "n_head_kv": config.head_count_kv,
                "head_dim": config.head_dim,
                "n_ff": config.feed_forward_length,
                "epsilon": config.layer_norm_epsilon,
            },
        )
        self._chunk = min(int(lib.sc_engine_chunk(isa)), context)
        engine = lib.sc_engine_new(self._shape, isa, self._chunk, team)
        if engine == ffi.NULL:
            raise MemoryError(f"no memory to run {self._chunk} tokens at a time")
        self._engine = ffi.gc(engine, lib.sc_engine_free)
        self._ops, self._macs = record(config, weights)
        self._budget = int(lib.sc_engine_chunk(isa)) * CALL_MACS

    @property
    def weights_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self._weights.n_bytes

    @property
    def tensor_types(self) -> Mapping[str, int]:
        """How many tensors the file held of each type."""
        return self._weights.tensor_types

    def new_cache(self) -> KVCache:
        """An empty cache for one sequence of up to `context` positions."""
        return KVCache(int(lib.sc_kv_block_bytes(self._shape)), self.context)

    def forward(
        self, tokens: Sequence[int], cache: KVCache, outputs: Literal["last", "all"] = "last"
    ) -> NDArray[np.float32]:
        """Run tokens that follow what the cache holds, and append them to it.

        The tokens are known to be in the vocabulary and to fit the cache. An exception between two chunks (Ctrl-C)
        leaves the cache at the last whole chunk.

        Args:
            tokens: (T,) ids, at least one.
            cache: of one sequence, made by `new_cache`.
            outputs: the positions whose logits are wanted.

        Returns:
            Logits (1, V) of the last token, or (T, V) of all, float32.
        """
        ids = np.asarray(tokens, dtype=np.int32)
        logits = np.empty((ids.size if outputs == "all" else 1, self.config.vocab_size), dtype=np.float32)
        for start in range(0, ids.size, self._chunk):
            chunk = ids[start : start + self._chunk]
            if outputs == "all":
                wanted, out = np.arange(chunk.size, dtype=np.int32), logits[start : start + chunk.size]
            else:
                last = start + chunk.size == ids.size
                wanted, out = np.array([chunk.size - 1] if last else [], dtype=np.int32), logits
            self._step(chunk, cache, wanted, out)
        return logits

    def _step(
        self, ids: NDArray[np.int32], cache: KVCache, wanted: NDArray[np.int32], logits: NDArray[np.float32]
    ) -> None:
        """One chunk through all operations, in calls of bounded length."""
        cache.reserve(ids.size)
        segment = ffi.new("sc_segment *", (0, ids.size, len(cache), cache.table))
        batch = ffi.new(
            "sc_batch *",
            (
                ids.size,
                1,
                wanted.size,
                ffi.from_buffer("int32_t[]", ids),
                segment,
                ffi.from_buffer("int32_t[]", wanted),
                ffi.from_buffer("float[]", logits),
            ),
        )
        count = len(self._macs) if wanted.size else len(self._macs) - 2  # the head serves wanted rows alone
        for first, n in self._calls(ids.size, wanted.size, count, len(cache) + ids.size):
            lib.sc_run(self._engine, self._ops + first, n, batch)
        cache.append(ids.size)

    def _calls(self, rows: int, outputs: int, count: int, seen: int) -> list[tuple[int, int]]:
        """Cuts the first `count` operations into (first, n) runs of at most the budget, at least one each.

        Attention over `seen` positions counts fourfold: its multiply-adds are of floats, a quarter as fast.
        """
        attention = 4 * 2 * self.config.embedding_length * seen  # per row
        calls, first, spent = [], 0, 0
        for i in range(count):
            macs = attention if self._ops[i].kind == lib.SC_OP_ATTEND else self._macs[i]
            work = macs * (outputs if i == len(self._macs) - 1 else rows)
            if spent and spent + work > self._budget:
                calls.append((first, i - first))
                first, spent = i, 0
            spent += work
        calls.append((first, count - first))
        return calls
