"""The dimensions of a model, and the tensors that they ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from santacoder.gguf.sampling_defaults import SamplingDefaults

ARCHITECTURE: Final = "starcoder"

# Sane bounds, far above any model of this family (StarCoderBase-15B: 40 layers, width 6144, context 8192):
# within them no product of two dimensions and a block size comes near 2^63.
MAX_LAYERS: Final = 1 << 12
MAX_HEADS: Final = 1 << 12
MAX_CONTEXT: Final = 1 << 20
MAX_DIM: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Config:
    """The hyperparameters of one model; lengths count values, not bytes.

    `sampling_defaults` has the sampling options that the model's file recommends, by name.
    """

    architecture: str
    name: str
    context_length: int
    embedding_length: int
    feed_forward_length: int
    block_count: int
    head_count: int
    head_count_kv: int
    layer_norm_epsilon: float
    vocab_size: int
    tied_embeddings: bool
    sampling_defaults: SamplingDefaults = field(default_factory=dict)

    @property
    def head_dim(self) -> int:
        """Values in one attention head."""
        return self.embedding_length // self.head_count

    @property
    def kv_length(self) -> int:
        """Values in one token's keys (and as many in its values), all KV heads together."""
        return self.head_count_kv * self.head_dim


def expected_tensors(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the name and shape (rows, columns) of every tensor of such a model, and of no other."""
    width, hidden = config.embedding_length, config.feed_forward_length
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (config.vocab_size, width),
        "position_embd.weight": (config.context_length, width),
    }
    for i in range(config.block_count):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (width,),
            f"blk.{i}.attn_norm.bias": (width,),
            f"blk.{i}.attn_qkv.weight": (width + 2 * config.kv_length, width),
            f"blk.{i}.attn_qkv.bias": (width + 2 * config.kv_length,),
            f"blk.{i}.attn_output.weight": (width, width),
            f"blk.{i}.attn_output.bias": (width,),
            f"blk.{i}.ffn_norm.weight": (width,),
            f"blk.{i}.ffn_norm.bias": (width,),
            f"blk.{i}.ffn_up.weight": (hidden, width),
            f"blk.{i}.ffn_up.bias": (hidden,),
            f"blk.{i}.ffn_down.weight": (width, hidden),
            f"blk.{i}.ffn_down.bias": (width,),
        }
    shapes |= {"output_norm.weight": (width,), "output_norm.bias": (width,)}
    if not config.tied_embeddings:
        shapes["output.weight"] = (config.vocab_size, width)
    return shapes
