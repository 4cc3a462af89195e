"""This library's engine, measured as `llama_cpp_peer` measures llama.cpp: the same calls, the same work."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

import santacoder
from santacoder.loading import open_transformer


class SantaCoderPeer:
    """A loaded model without sampling and text."""

    def __init__(self, path: str | Path, threads: int) -> None:
        self._transformer, _ = open_transformer(path, threads)
        self._cache = self._transformer.new_cache()
        self.vocabulary = self._transformer.config.vocab_size

    def __enter__(self) -> SantaCoderPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._cache, self._transformer

    def prefill(self, tokens: NDArray[np.int32]) -> float:
        """Seconds to read a prompt and have the logits of its last token."""
        self._cache.truncate(0)
        start = time.perf_counter()
        self._transformer.forward(tokens, self._cache)
        return time.perf_counter() - start

    def decode(self, count: int, depth: int = 0) -> float:
        """Seconds per token over `count` tokens read one by one after a prompt of `depth` tokens."""
        tokens = self.random_tokens(depth + count)
        self._cache.truncate(0)
        if depth:
            self._transformer.forward(tokens[:depth], self._cache)
        start = time.perf_counter()
        for token in tokens[depth:]:
            self._transformer.forward([token], self._cache)
        return (time.perf_counter() - start) / count

    def random_tokens(self, count: int) -> NDArray[np.int32]:
        """The same random ids every time."""
        return np.random.default_rng(0).integers(0, self.vocabulary, count, np.int32)


def versions() -> dict[str, str]:
    """The package's version and instruction set."""
    return {"santacoder": santacoder.__version__, "system": santacoder.isa()}
