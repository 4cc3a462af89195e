"""Compare this package's logits of an exported file with those of the model that was trained.

    python check.py santacoder-tiny-f32.gguf santacoder-tiny.npz

The .npz is what `export.py --reference` wrote. An F32 file must agree to a mean KL divergence of 1e-6 nats.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

import santacoder


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities, row by row."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def main() -> None:
    """Print the mean KL divergence, how often the likeliest token is the same, and the nats per token."""
    path, reference = sys.argv[1:]
    data = np.load(reference)
    tokens = data["tokens"]
    with santacoder.load(path) as model:
        ours = log_softmax(model.logits(tokens.tolist()).astype(np.float64))
    exact = log_softmax(data["logits"])
    kl = (np.exp(exact) * (exact - ours)).sum(axis=-1)
    same = (exact.argmax(axis=-1) == ours.argmax(axis=-1)).mean()
    print(
        f"{len(tokens)} tokens: mean KL {kl.mean():.3e}, largest {kl.max():.3e} nats; same likeliest token {same:.4f}"
    )
    for name, table in (("trained model", exact), ("file", ours)):
        loss = -np.take_along_axis(table[:-1], tokens[1:, None], axis=-1).mean()
        print(f"{name}: {loss:.6f} nats per token")


if __name__ == "__main__":
    main()
