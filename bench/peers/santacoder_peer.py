"""This library's engine, without sampling and text, for `worker.py`."""

from __future__ import annotations

import santacoder
from bench.peers.workloads import Stepper, Tokens
from santacoder.engine.loading import open_transformer


class SantaCoderPeer(Stepper):
    """A loaded model and the caches of the sequences in flight."""

    def __init__(self, path: str, threads: int) -> None:
        self._transformer, _ = open_transformer(path, threads)
        self._caches = [self._transformer.new_cache()]
        self.vocabulary = self._transformer.config.vocab_size

    def begin(self, prompt: Tokens, sequences: int, steps: int) -> None:
        cache = self._caches[0]
        cache.truncate(0)
        if prompt.size:
            self._transformer.forward(prompt, cache)
        self._caches = [cache, *(cache.fork() for _ in range(1, sequences))]

    def step(self, tokens: Tokens) -> None:
        parts = [([token], cache) for token, cache in zip(tokens, self._caches, strict=True)]
        self._transformer.forward_batch(parts)

    def versions(self) -> dict[str, str]:
        return {"santacoder": santacoder.__version__, "isa": self._transformer.isa}
