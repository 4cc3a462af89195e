"""The works that the comparison measures, each named by a short text, and how an engine runs them.

    prompt:512          run a prompt of 512 tokens
    decode:64@1536      run 64 tokens one by one after 1536
    batch:16x8@128      8 steps of 16 sequences that share a prompt of 128 tokens
    first-token         start a process and wait for the first byte of a completion
    memory:512+32       the peak memory of a process that runs a prompt of 512 tokens and generates 32

The first three are rates of a loaded model in tokens per second: more is better. The last two measure a new process,
in seconds and in multiples of the file's size: less is better.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

PATTERNS = {
    "prompt": r"prompt:(?P<depth>\d+)",
    "decode": r"decode:(?P<steps>\d+)(@(?P<depth>\d+))?",
    "batch": r"batch:(?P<sequences>\d+)x(?P<steps>\d+)(@(?P<depth>\d+))?",
    "first-token": r"first-token",
    "memory": r"memory:(?P<depth>\d+)\+(?P<steps>\d+)",
}


@dataclass(frozen=True)
class Work:
    """`steps` tokens of each of `sequences` sequences after a prompt of `depth` tokens, or the prompt itself."""

    name: str
    kind: str
    sequences: int = 1
    steps: int = 1
    depth: int = 0

    @classmethod
    def parse(cls, name: str) -> Work:
        """Return the work of that name.

        Raises:
            ValueError: no work has such a name.
        """
        for kind, pattern in PATTERNS.items():
            if match := re.fullmatch(pattern, name):
                return cls(name, kind, **{field: int(text) for field, text in match.groupdict().items() if text})
        raise ValueError(f"{name!r} is not a work like prompt:512, decode:64@1536, batch:16x8@128, memory:512+32")

    @property
    def of_process(self) -> bool:
        """Whether a whole process is measured, and not a loaded model."""
        return self.kind in ("first-token", "memory")

    @property
    def tokens(self) -> int:
        """Tokens that run while the clock does."""
        return self.depth if self.kind == "prompt" else self.sequences * self.steps

    @property
    def label(self) -> str:
        """The name for readers."""
        if self.kind == "prompt":
            return f"prompt {self.depth}"
        if self.kind == "decode":
            return f"decode {self.steps}" + (f" at depth {self.depth}" if self.depth else ", empty context")
        if self.kind == "batch":
            return f"{self.sequences} sequences at once, after {self.depth} shared tokens"
        if self.kind == "memory":
            return f"peak memory over the file's size, {self.depth} tokens read and {self.steps} written"
        return "process start to first token, seconds"


class Engine(ABC):
    """A loaded model."""

    @abstractmethod
    def rate(self, work: Work) -> float:
        """Return tokens per second."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return what is measured: packages with their versions, and settings."""

    def warm_up(self) -> None:
        """Page in the weights and start the threads."""
        self.rate(Work.parse("decode:4@32"))


class Stepper(Engine):
    """An engine that runs given tokens step by step; `vocabulary` is the number of token ids."""

    vocabulary: int

    @abstractmethod
    def begin(self, prompt: Tokens, sequences: int, steps: int) -> None:
        """Start over: run a prompt (T,), which may be empty, and compute the logits of its last token.

        `sequences` sequences will continue it, by up to `steps` tokens each.
        """

    @abstractmethod
    def step(self, tokens: Tokens) -> None:
        """Run the next token of each sequence and compute all their logits."""

    def rate(self, work: Work) -> float:
        prompt = random_tokens(self.vocabulary, work.depth)
        if work.kind == "prompt":
            start = time.perf_counter()
            self.begin(prompt, 1, 0)
            return work.tokens / (time.perf_counter() - start)
        rows = random_tokens(self.vocabulary, work.tokens).reshape(work.steps, work.sequences)
        self.begin(prompt, work.sequences, work.steps)
        start = time.perf_counter()
        for row in rows:
            self.step(row)
        return work.tokens / (time.perf_counter() - start)


def random_tokens(vocabulary: int, count: int) -> Tokens:
    """Return random ids, the same every time."""
    return np.random.default_rng(0).integers(0, vocabulary, count, np.int32)
