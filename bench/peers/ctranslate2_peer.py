"""CTranslate2 in int8, on random weights of the same shape, for `worker.py`.

It has no call that runs one more token, so it generates greedily and reports when each token arrives.
"""

from __future__ import annotations

import time
from pathlib import Path

import ctranslate2

from bench.peers.random_checkpoint import token, vocabulary
from bench.peers.workloads import Engine, Work, random_tokens


class CTranslate2(Engine):
    """A converted checkpoint."""

    def __init__(self, folder: str, threads: int) -> None:
        self._generator = ctranslate2.Generator(
            folder, device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
        )
        self._vocabulary = vocabulary(Path(folder))

    def rate(self, work: Work) -> float:
        """Return tokens per second: those of a prompt until its first token is chosen, all others from then on."""
        ids = random_tokens(self._vocabulary, max(work.depth, 1))  # it cannot generate from an empty prompt
        prompt = [token(index) for index in ids.tolist()]
        arrivals: dict[int, float] = {}  # by step, when the last sequence's token arrived

        def arrived(result: ctranslate2.GenerationStepResult) -> bool:
            arrivals[result.step] = time.perf_counter()
            return False

        length = 1 if work.kind == "prompt" else 1 + work.steps
        start = time.perf_counter()
        self._generator.generate_batch(
            [prompt] * work.sequences,
            include_prompt_in_result=False,  # so that prompts are read at once
            min_length=length,  # an end of text does not stop it
            max_length=length,
            callback=arrived,
        )
        first, last = arrivals[min(arrivals)], arrivals[max(arrivals)]
        return work.tokens / (first - start if work.kind == "prompt" else last - first)

    def versions(self) -> dict[str, str]:
        return {"ctranslate2": ctranslate2.__version__, "weights": "int8, random"}
