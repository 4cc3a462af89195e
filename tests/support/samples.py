"""Helpers of the tests of samples: prompts, a sequence, a sample by itself, an engine that counts rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.bench.measure import TimedSteps
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.requests import Prompt, check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer

CODE = "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n"
PROMPTS = ["", "a", "é", CODE, CODE + CODE, CODE[:40], CODE[:40] + "x", "import os\n" * 8]


class Counted(TimedSteps):
    """A transformer that counts the rows it runs, and the blocks of cache in use at the same time."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__(transformer)
        self.rows: list[int] = []

    def forward_batch(self, parts: Any, *arguments: Any) -> Any:
        self.rows.append(sum(len(tokens) for tokens, _ in parts))
        return super().forward_batch(parts, *arguments)


def new_sequence(
    tokenizer: Tokenizer, prompt: Prompt, params: SamplingParams, context: int = 256, index: int = 0
) -> Sequence:
    """Sample number `index` of a prompt, checked as the model's methods do it."""
    [sequence] = new_sequences(check_request(tokenizer, context, prompt, params), [index])
    return sequence


def run_until(scheduler: Scheduler[Any], call: Call, done: Callable[[], bool]) -> None:
    """Lead or wait until `done()`, and ask the hooks that are this thread's to ask."""
    scheduler.run(call.until(done), partial(scheduler.patience, call), partial(scheduler.ask_hooks, call))


def alone(model: santacoder.SantaCoder, prompt: str, index: int = 0, **options: Any) -> tuple[Any, ...]:
    """Sample number `index` of a prompt, token by token, by itself and without a cache."""
    params = SamplingParams(**{**options, "lookup": False})
    sequence = new_sequence(model.tokenizer, prompt, params, model.context, index)
    model._scheduler.exclusive(lambda transformer: Scheduler(transformer).finish([sequence]))
    return facts(sequence.completion())


def facts(completion: santacoder.Completion) -> tuple[Any, ...]:
    """The parts of a completion that must depend only on the request."""
    return completion.text, completion.tokens, completion.finish_reason, completion.seed, completion.usage
