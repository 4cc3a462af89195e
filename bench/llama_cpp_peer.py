"""llama.cpp on the same file, by way of llama-cpp-python's low-level API: what we measure ourselves against.

    python bench/llama_cpp_peer.py MODEL --threads 2

Settings are llama.cpp's own: pieces of 512 tokens, F16 cache, flash attention where it sees fit.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import llama_cpp
import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[int] | NDArray[np.integer]


class LlamaCpp:
    """A model and one context of it."""

    def __init__(
        self,
        path: str | Path,
        threads: int,
        n_ctx: int = 2048,
        n_batch: int = 512,
        sequences: int = 1,
        unified: bool = False,
    ) -> None:
        """Load a model for up to `sequences` sequences of `n_ctx` tokens each.

        Each has a cache of its own; with `unified` they share one, and the cells of a common prefix.
        """
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)  # its levels are off by one
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx * sequences
        params.n_batch = n_batch
        params.n_seq_max = sequences
        params.kv_unified = unified
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise RuntimeError(f"llama.cpp could not make a context of {n_ctx} tokens for {path}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(n_batch, 0, 1)
        self._batch_size = n_batch
        self.vocabulary: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def close(self) -> None:
        """Free everything."""
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Measurements.

    def prefill(self, tokens: Tokens) -> float:
        """Seconds to read a prompt and have the logits of its last token."""
        self._clear()
        start = time.perf_counter()
        self._prompt(tokens)
        return time.perf_counter() - start

    def decode(self, count: int, depth: int = 0) -> float:
        """Seconds per token over `count` tokens read one by one after a prompt of `depth` tokens."""
        tokens = self.random_tokens(depth + count)
        self._clear()
        self._prompt(tokens[:depth])
        start = time.perf_counter()
        for position in range(depth, depth + count):
            self._decode(tokens[position : position + 1], [position])
        return (time.perf_counter() - start) / count

    def batch_decode(self, sequences: int, prefix: int, steps: int) -> float:
        """Tokens per second when `sequences` sequences go on together from one prompt of `prefix` tokens."""
        tokens = self.random_tokens(prefix + sequences * steps)
        self._clear()
        self._prompt(tokens[:prefix])
        for sequence in range(1, sequences):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        start = time.perf_counter()
        for step, row in enumerate(tokens[prefix:].reshape(steps, sequences)):
            self._decode(row, [prefix + step] * sequences, list(range(sequences)))
        return sequences * steps / (time.perf_counter() - start)

    # Results.

    def logits(self, tokens: Tokens) -> NDArray[np.float32]:
        """Logits (T, V) of every position."""
        self._clear()
        ids = np.asarray(tokens)
        parts = []
        for start in range(0, len(ids), self._batch_size):
            part = ids[start : start + self._batch_size]
            self._decode(part, range(start, start + len(part)), outputs="all")
            parts.append(self._outputs(len(part)))
        return np.concatenate(parts)

    def greedy(self, tokens: Tokens, count: int) -> list[int]:
        """The `count` likeliest tokens after a prompt, one by one; an end of text does not end them."""
        self._clear()
        self._prompt(tokens)
        chosen: list[int] = []
        while True:
            chosen.append(int(self._outputs(1)[0].argmax()))
            if len(chosen) == count:
                return chosen
            self._decode(chosen[-1:], [len(tokens) + len(chosen) - 1])

    def random_tokens(self, count: int) -> NDArray[np.int32]:
        """The same random ids every time."""
        return np.random.default_rng(0).integers(0, self.vocabulary, count, np.int32)

    # The C API.

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, False)

    def _prompt(self, tokens: Tokens) -> None:
        """Read a prompt into sequence 0 and keep the logits of its last token."""
        for start in range(0, len(tokens), self._batch_size):
            part = tokens[start : start + self._batch_size]
            last = start + len(part) == len(tokens)
            self._decode(part, range(start, start + len(part)), outputs="last" if last else "none")

    def _decode(
        self,
        tokens: Tokens,
        positions: Sequence[int],
        sequences: Sequence[int] | None = None,
        outputs: str = "all",
    ) -> None:
        """Run one batch and wait for it."""
        batch, count = self._batch, len(tokens)
        batch.n_tokens = count
        for index in range(count):
            batch.token[index] = int(tokens[index])
            batch.pos[index] = positions[index]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequences[index] if sequences else 0
            batch.logits[index] = outputs == "all" or (outputs == "last" and index == count - 1)
        status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode failed with status {status}")
        llama_cpp.llama_synchronize(self._context)

    def _outputs(self, count: int) -> NDArray[np.float32]:
        """The logits (count, V) of the last batch, copied."""
        pointer = ctypes.cast(llama_cpp.llama_get_logits(self._context), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (count, self.vocabulary)).copy()


def versions() -> dict[str, str]:
    """The package's version, and what the library was compiled for."""
    return {
        "llama_cpp_python": llama_cpp.__version__,
        "system": llama_cpp.llama_print_system_info().decode().strip(),
    }


def main() -> None:
    """Measure one model and print JSON: medians, tokens per second."""
    parser = argparse.ArgumentParser(description="Measure llama.cpp on a model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()

    def prompt_rate(peer: LlamaCpp, length: int) -> float:
        return length / peer.prefill(peer.random_tokens(length))

    def median(measure: Callable[[], float]) -> float:
        return round(statistics.median(measure() for _ in range(arguments.runs)), 2)

    results: dict[str, object] = {"peer": versions(), "threads": arguments.threads, "runs": arguments.runs}
    with LlamaCpp(arguments.model, arguments.threads) as peer:
        peer.decode(4, depth=32)  # warm up: page in the file, build the graphs
        for length in (512, 1984):
            results[f"prompt_{length}"] = median(partial(prompt_rate, peer, length))
        results["decode"] = median(lambda: 1 / peer.decode(64))
        results["decode_at_1536"] = median(lambda: 1 / peer.decode(64, depth=1536))
    with LlamaCpp(arguments.model, arguments.threads, n_ctx=256, sequences=16) as peer:
        peer.batch_decode(16, 32, 2)
        results["batch_16"] = median(partial(peer.batch_decode, 16, 128, 32))
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
