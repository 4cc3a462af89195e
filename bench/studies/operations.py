"""Where a step's time goes: milliseconds per kind of operation.

    python bench/studies/operations.py MODEL --rows 512

The operations run one by one here, so each costs an extra call and a barrier of the threads compared with a real step.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from santacoder._native import ffi, lib
from santacoder.engine.loading import open_transformer
from santacoder.engine.transformer import Transformer
from santacoder.gguf.types import TYPES, Packing

KINDS = {getattr(lib, name): name.removeprefix("SC_OP_") for name in dir(lib) if name.startswith("SC_OP_")}
FORMATS = {getattr(lib, f"SC_{kind.name}"): kind.name for kind in TYPES.values() if kind.packing is Packing.OWN}


class Timed(Transformer):
    """Runs each operation in its own call, and adds up the seconds by kind and weight format."""

    seconds: dict[str, float]

    def _calls(self, ops: range, rows: int, outputs: int, attention: int) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        for index in ops:
            start = time.perf_counter()
            yield index, 1  # the caller runs it before it requests the next
            self.seconds[name(self._ops[index])] += time.perf_counter() - start


def name(op: Any) -> str:
    """Return kind and weight format, as in "UP Q4_K"."""
    has_weights = op.matrix != ffi.NULL and op.kind != lib.SC_OP_EMBED
    return f"{KINDS[op.kind]} {FORMATS[op.matrix.format]}" if has_weights else KINDS[op.kind]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Milliseconds per kind of operation in one step of the model.")
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=1, help="tokens of each sequence (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=1, help="sequences in the step (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=0, help="positions before them (default: %(default)s)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    model, _ = open_transformer(arguments.model, arguments.threads)
    model.__class__ = Timed
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, arguments.depth + arguments.rows)
    base = model.new_cache()
    model.seconds = defaultdict(float)  # type: ignore[attr-defined]
    if arguments.depth:
        model.forward(tokens[: arguments.depth], base)
    samples: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.runs):
        model.seconds.clear()  # type: ignore[attr-defined]
        model.forward_batch([(tokens[arguments.depth :], base.fork()) for _ in range(arguments.sequences)])
        for kind, seconds in model.seconds.items():  # type: ignore[attr-defined]
            samples[kind].append(seconds)
    medians = {kind: 1e3 * median(values) for kind, values in samples.items()}
    total = sum(medians.values())
    print(f"{model.isa}, {model.threads} threads, medians of {arguments.runs} runs")
    for kind, value in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{kind:<16}{value:10.2f} ms{value / total:8.1%}")
    print(f"{'all':<16}{total:10.2f} ms{arguments.sequences * arguments.rows / total * 1e3:10.1f} tokens/s")


if __name__ == "__main__":
    main()
