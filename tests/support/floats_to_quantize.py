"""A small model of floats to quantize, a text to calibrate on, and how far the result is from the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support import reference
from tests.support.gguf_builder import GGUFBuilder, tiny_builder

TEXT = "".join(f"def f{i}(x, y={i}):\n    return x * {i * i} + y\n\n" for i in range(60))


def builder(**changes: Any) -> GGUFBuilder:
    settings: dict[str, Any] = {"layers": 3, "width": 256, "heads": 4, "hidden": 512, "context": 128}
    return tiny_builder(**{**settings, "weight_type": "F32", **changes})


def divergence(path: Path, source: Path) -> float:
    """Mean KL of float64 passes over both files: the effect of only the weights."""
    tokens = np.random.default_rng(5).integers(0, 250, 100).tolist()
    expected, found = (reference.forward(*reference.load(each), tokens) for each in (source, path))
    return reference.mean_kl(expected, found)
