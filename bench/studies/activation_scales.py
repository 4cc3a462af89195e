"""How much precision int8 activations lose, by the number of columns that share a scale.

Runs the float64 reference with activations rounded as the kernels round them, and prints the mean KL divergence from
the unrounded pass: `python bench/studies/activation_scales.py tests/data/*.gguf`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from tests.support import reference


def rounded_by_the_engine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round with a float32 scale per 256 columns and an integer factor per 32."""
    return reference.quantize_activations(x).values


def rounded_with_scales(x: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Round with one scale per `block` columns."""
    blocks = x.reshape(len(x), -1, block)
    scales = np.abs(blocks).max(-1, keepdims=True) / 127
    rounded: NDArray[np.float64] = np.rint(blocks / np.where(scales > 0, scales, 1)) * scales
    return rounded.reshape(x.shape)


ROUNDINGS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "32 in 256": rounded_by_the_engine,
    **{f"per {block}": partial(rounded_with_scales, block=block) for block in (32, 64, 256)},
}


class RoundedInput:
    """A weight (rows, columns) that rounds its input to int8."""

    __array_ufunc__ = None  # so that `x @ weight.T` calls this class

    def __init__(
        self, weight: NDArray[np.float64], rounding: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> None:
        self._weight = weight
        self._rounding = rounding

    @property
    def T(self) -> RoundedInput:  # noqa: N802
        """The transpose, by which the reference multiplies: this object itself."""
        return self

    def __getitem__(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = self._weight[ids]
        return rows

    def __rmatmul__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._rounding(x) @ self._weight.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path, help="GGUF files of modest size, with an .npz of tokens beside")
    args = parser.parse_args()
    print(f"{'model':24}" + "".join(f"{name:>12}" for name in ROUNDINGS))
    for path in args.models:
        if not path.with_suffix(".npz").exists():
            continue
        weights, config = reference.load(path)
        tokens = np.load(path.with_suffix(".npz"))["tokens"]
        exact = reference.forward(weights, config, tokens)
        row = []
        for rounding in ROUNDINGS.values():
            rounded: dict[str, Any] = {}  # the reference uses a RoundedInput like an array
            for name, w in weights.items():
                rounded[name] = RoundedInput(w, rounding) if w.ndim == 2 else w
            row.append(reference.mean_kl(exact, reference.forward(rounded, config, tokens)))
        print(f"{path.stem:24}" + "".join(f"{kl:12.2e}" for kl in row))


if __name__ == "__main__":
    main()
