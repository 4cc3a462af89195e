"""SantaCoder's architecture (GPTBigCode) in plain PyTorch.

A GPT-2 with one key/value head for all query heads (multi-query attention), learned positions, tanh-GELU, LayerNorm
with bias, biases on every linear and the embedding as the output matrix. Names follow the tensors of a GGUF file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own documentation spells it so
from torch import Tensor, nn

from data import GUESSED

EPSILON = 1e-5  # of LayerNorm
GELU_LINEAR = math.sqrt(8 / math.pi)  # (1 + tanh(u)) / 2 is the sigmoid of 2u
GELU_CUBIC = 0.044715 * GELU_LINEAR


@dataclass(frozen=True)
class Shape:
    """The numbers that define a model; lengths count values."""

    layers: int = 8
    width: int = 256
    heads: int = 4
    hidden: int = 1024
    context: int = 1024
    vocabulary: int = 8192

    @property
    def head_dim(self) -> int:
        """Values in one head."""
        return self.width // self.heads


def gelu(x: Tensor) -> Tensor:
    """Return the tanh approximation of GELU, written with a sigmoid, which compiles to faster code than tanh."""
    return x * torch.sigmoid(GELU_LINEAR * x + GELU_CUBIC * x * x * x)


class Block(nn.Module):
    """One layer: attention, then the MLP, each behind a norm and added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attn_norm = nn.LayerNorm(shape.width, eps=EPSILON)
        self.attn_qkv = nn.Linear(shape.width, shape.width + 2 * shape.head_dim)
        self.attn_output = nn.Linear(shape.width, shape.width)
        self.ffn_norm = nn.LayerNorm(shape.width, eps=EPSILON)
        self.ffn_up = nn.Linear(shape.width, shape.hidden)
        self.ffn_down = nn.Linear(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, tokens, width) -> the same shape."""
        x = x + self.attn_output(self.attend(self.attn_norm(x)))
        return x + self.ffn_down(gelu(self.ffn_up(self.ffn_norm(x))))

    def attend(self, x: Tensor) -> Tensor:
        """Causal multi-query attention without its output matrix, (rows, tokens, width)."""
        shape = self.shape
        rows, tokens, _ = x.shape
        q, k, v = self.attn_qkv(x).split([shape.width, shape.head_dim, shape.head_dim], dim=-1)
        q = q.view(rows, tokens, shape.heads, shape.head_dim).transpose(1, 2)
        k = k.unsqueeze(1).expand(-1, shape.heads, -1, -1)
        v = v.unsqueeze(1).expand(-1, shape.heads, -1, -1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).reshape(rows, tokens, shape.width)


class Model(nn.Module):
    """The whole model; the embedding matrix is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embd = nn.Embedding(shape.context, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.LayerNorm(shape.width, eps=EPSILON)

    def initialise(self, seed: int) -> None:
        """GPT-2's initial weights: every layer adds two terms to the residual stream, which are drawn smaller."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    std /= math.sqrt(2 * self.shape.layers)
                nn.init.normal_(parameter, std=std, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def features(self, tokens: Tensor) -> Tensor:
        """Return what the output matrix is applied to: (rows, tokens) ids -> (rows, tokens, width)."""
        x = self.token_embd(tokens) + self.position_embd.weight[: tokens.shape[1]]
        for block in self.blk:
            x = block(x)
        return self.output_norm(x)

    def forward(self, tokens: Tensor) -> Tensor:
        """(rows, tokens) ids -> (rows, tokens, vocabulary) logits."""
        return F.linear(self.features(tokens), self.token_embd.weight)

    def loss(self, rows: Tensor, guessed_weight: float = 1.0) -> Tensor:
        """Mean negative log-likelihood, nats per token, of tokens[:, 1:]; rows is (rows, context + 1) ids.

        Tokens to which GUESSED was added count `guessed_weight` times.
        """
        tokens, guessed = rows % GUESSED, rows[:, 1:].flatten() >= GUESSED
        logits = self(tokens[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none")
        weights = torch.where(guessed, guessed_weight, 1.0)
        return (losses * weights).sum() / weights.sum()
