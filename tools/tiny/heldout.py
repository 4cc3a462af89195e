"""Bits per byte of held-out files, each on its own with a window that slides by half the context."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own documentation spells it so

from data import Vocabulary
from model import Model


def sample(corpus: Path, size: int, language: str = "python") -> list[str]:
    """Held-out files of at least `size` bytes in all (or all there are), always the same ones."""
    paths = [p for p in (corpus / "heldout.txt").read_text().splitlines() if p.startswith(f"{language}/")]
    texts: list[str] = []
    for path in sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest()):
        if size <= 0:
            break
        texts.append((corpus / "files" / path).read_text("utf-8"))
        size -= len(texts[-1].encode())
    return texts


def windows(tokens: Sequence[int], context: int) -> Iterator[tuple[Sequence[int], int]]:
    """(at most context + 1 tokens, how many at their end are to be predicted) until each but the first was."""
    done = 1
    while done < len(tokens):
        end = min(len(tokens), done + context // 2 if done > 1 else context + 1)
        start = max(0, end - context - 1)
        yield tokens[start:end], end - done
        done = end


@torch.no_grad()
def bits_per_byte(model: Model, vocabulary: Vocabulary, texts: Sequence[str]) -> float:
    """Total negative log2-likelihood over total bytes; each text follows an end-of-text token."""
    nats, size = 0.0, 0
    for text in texts:
        size += len(text.encode())
        for window, count in windows([vocabulary.end, *vocabulary.encode(text)], model.shape.context):
            ids = torch.tensor([window])
            features = model.features(ids[:, :-1])[0, -count:]
            logits = F.linear(features, model.token_embd.weight).float()
            nats += float(F.cross_entropy(logits, ids[0, -count:], reduction="sum"))
    return nats / math.log(2) / size
