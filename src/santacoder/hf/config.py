"""What the model says of itself under the names of `transformers`: its dimensions and its parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from santacoder.gguf.config import Config, expected_tensors
from santacoder.hf.tensors import OnCPU


@dataclass
class ModelConfig:
    """The model's dimensions under the names of `GPTBigCodeConfig`."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    multi_query: bool
    layer_norm_epsilon: float
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None = None
    name_or_path: str = ""
    model_type: str = "gpt_bigcode"
    is_encoder_decoder: bool = False
    use_cache: bool = True

    @classmethod
    def of(cls, config: Config, positions: int, end: int | None, name_or_path: str) -> ModelConfig:
        """Translate a model's dimensions; `positions` are those in use, `end` is the end of text."""
        return cls(
            vocab_size=config.vocab_size,
            n_positions=positions,
            n_embd=config.embedding_length,
            n_layer=config.block_count,
            n_head=config.head_count,
            n_inner=config.feed_forward_length,
            multi_query=config.head_count_kv == 1,
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tied_embeddings,
            bos_token_id=end,
            eos_token_id=end,
            name_or_path=name_or_path,
        )

    @property
    def hidden_size(self) -> int:
        """The same as `n_embd`."""
        return self.n_embd

    @property
    def num_hidden_layers(self) -> int:
        """The same as `n_layer`."""
        return self.n_layer

    @property
    def num_attention_heads(self) -> int:
        """The same as `n_head`."""
        return self.n_head

    @property
    def max_position_embeddings(self) -> int:
        """The same as `n_positions`."""
        return self.n_positions

    @property
    def _name_or_path(self) -> str:
        return self.name_or_path

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self) | {"architectures": ["GPTBigCodeForCausalLM"]}

    def to_json_string(self) -> str:
        """Return the values as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Parameter(OnCPU):
    """The shape of one of the model's tensors. It has no values: they stay in the layout of the kernels."""

    shape: tuple[int, ...]
    requires_grad: bool = False

    def numel(self) -> int:
        """Return how many values it has."""
        return math.prod(self.shape)


def parameters(config: Config) -> Iterator[Parameter]:
    """Yield the shape of each tensor of a model, that of the embedding first."""
    yield from (Parameter(shape) for shape in expected_tensors(config).values())
