"""The operations of the forward pass, recorded once as a program that C runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from santacoder._native import ffi, lib
from santacoder.engine.weights import Weights
from santacoder.gguf.config import Config

if TYPE_CHECKING:
    from santacoder._native import Ops


class Program:
    """The recorded operations; each method stands for one line of the pass and adds one `sc_op`."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._ops: list[dict[str, object]] = []
        self._macs: list[int] = []  # per row
        self._places: dict[str, int] = {}

    def embed(self, tokens: str, positions: str) -> None:
        """Record the token embedding plus the learned position embedding."""
        matrices = self._weights.matrices
        self._add("EMBED", 0, matrix=matrices[tokens], positions=matrices[positions])

    def norm(self, name: str, feeds: str, *, last: bool = False) -> None:
        """Record LayerNorm of the residual stream, in the form that the matrix `feeds` takes."""
        vectors = self._weights.vectors
        kind = "NORM_LAST" if last else "NORM"
        weight, bias = vectors[f"{name}.weight"], vectors[f"{name}.bias"]
        self._add(kind, 0, weight=weight, bias=bias, quantize=self._takes_int8(feeds))

    def linear(self, kind: str, name: str, layer: int = 0, feeds: str | None = None) -> None:
        """Record a matrix with its bias, if it has one, then what `kind` says: see sc_op in santacoder.h."""
        matrix = self._weights.matrices[f"{name}.weight"]
        bias = self._weights.vectors.get(f"{name}.bias", ffi.NULL)
        quantize = feeds is not None and self._takes_int8(feeds)
        self._places[f"{name}.weight"] = len(self._ops)
        self._add(kind, matrix.rows * matrix.columns, matrix=matrix, bias=bias, layer=layer, quantize=quantize)

    def attend(self, layer: int, feeds: str) -> None:
        """Record causal attention over the cache."""
        self._add("ATTEND", 0, layer=layer, quantize=self._takes_int8(feeds))

    def finish(self) -> tuple[Ops, list[int], dict[str, int]]:
        """Return the operations as a C array, the multiply-adds per row of each, and each matrix's operation index."""
        return ffi.new("sc_op[]", self._ops), self._macs, self._places

    def _takes_int8(self, name: str) -> bool:
        return self._weights.takes_int8(f"{name}.weight")

    def _add(self, kind: str, macs: int, **fields: object) -> None:
        self._ops.append({"kind": getattr(lib, f"SC_OP_{kind}"), **fields})
        self._macs.append(macs)


def record(config: Config, weights: Weights) -> tuple[Ops, list[int], dict[str, int]]:
    """Record SantaCoder's forward pass, from token ids to logits."""
    p = Program(weights)
    lm_head = "token_embd" if config.tied_embeddings else "output"
    p.embed("token_embd.weight", "position_embd.weight")  # x (T, D)
    for i in range(config.block_count):
        layer = f"blk.{i}"
        p.norm(f"{layer}.attn_norm", feeds=f"{layer}.attn_qkv")  # h (T, D)
        p.linear("QKV", f"{layer}.attn_qkv", i)  # q (T, H, D/H); keys, values (T, G, D/H) to the cache
        p.attend(i, feeds=f"{layer}.attn_output")  # a (T, D)
        p.linear("ADD_ATTN", f"{layer}.attn_output")  # x += (T, D)
        p.norm(f"{layer}.ffn_norm", feeds=f"{layer}.ffn_up")  # h (T, D)
        p.linear("UP", f"{layer}.ffn_up", feeds=f"{layer}.ffn_down")  # u = gelu (T, 4D)
        p.linear("ADD_FFN", f"{layer}.ffn_down")  # x += (T, D)
    p.norm("output_norm", feeds=lm_head, last=True)  # h (outputs, D)
    p.linear("LOGITS", lm_head)  # (outputs, V)
    return p.finish()
