"""What the comparison measures: works, each named by a short text, and how an engine goes through one.

    prompt:512          read a prompt of 512 tokens
    decode:64@1536      read 64 tokens one by one behind 1536
    batch:16x8@128      8 steps of 16 sequences that share a prompt of 128 tokens
    first-token         start a process and wait for the first byte of a completion
    memory:512+32       the most memory of a process that reads 512 tokens and writes 32

The first three are rates of a loaded model in tokens per second, and more is better. The last two are seconds, and a
multiple of the file's size, of a process that begins from nothing; there less is better.
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
    """`steps` tokens of each of `sequences` sequences behind a prompt of `depth` tokens; of a prompt, itself alone."""

    name: str
    kind: str
    sequences: int = 1
    steps: int = 1
    depth: int = 0

    @classmethod
    def parse(cls, name: str) -> Work:
        """The work of that name.

        Raises:
            ValueError: no work has such a name.
        """
        for kind, pattern in PATTERNS.items():
            if match := re.fullmatch(pattern, name):
                return cls(name, kind, **{field: int(text) for field, text in match.groupdict().items() if text})
        raise ValueError(f"{name!r} is not a work like prompt:512, decode:64@1536, batch:16x8@128, memory:512+32")

    @property
    def of_process(self) -> bool:
        """Whether a process of its own is measured; if not, a loaded model."""
        return self.kind in ("first-token", "memory")

    @property
    def tokens(self) -> int:
        """Tokens that are read while the clock runs."""
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
        """Tokens per second."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """What is measured: packages and their versions, settings."""

    def warm_up(self) -> None:
        """Page in the weights and start the threads."""
        self.rate(Work.parse("decode:4@32"))


class Stepper(Engine):
    """An engine that reads tokens when it is told to; `vocabulary` is the number of token ids."""

    vocabulary: int

    @abstractmethod
    def begin(self, prompt: Tokens, sequences: int, steps: int) -> None:
        """Forget all, read a prompt (T,) that may be empty, and have the logits of its last token.

        `sequences` sequences will go on from it, by up to `steps` tokens each.
        """

    @abstractmethod
    def step(self, tokens: Tokens) -> None:
        """Read the next token of each sequence and have all their logits."""

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
    """The same random ids every time."""
    return np.random.default_rng(0).integers(0, vocabulary, count, np.int32)
