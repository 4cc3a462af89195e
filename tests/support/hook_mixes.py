"""Mixes of requests with and without hooks, as Hypothesis makes them, and the ways to run a mix."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import santacoder
from tests.support.samples import PROMPTS, alone, facts

FAILS_AT = 3  # the draw at which a processor of the kind "fail" fails

Answer = tuple[Any, ...] | str


class Processor:
    """A processor that depends on only tokens and logits, and insists on being asked once for each token."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._last = -1  # tokens at the draw before
        self._draws = 0

    def __call__(self, token_ids: NDArray[np.int32], logits: NDArray[np.float32]) -> None:
        assert self._last in (-1, token_ids.size - 1)
        self._last = token_ids.size
        self._draws += 1
        if self._kind == "fail" and self._draws == FAILS_AT:
            raise ValueError(f"no more after {token_ids.size} tokens")
        if self._kind == "ban":
            logits[int(token_ids.sum()) % 3 :: 3] = -math.inf
        elif self._kind == "flatten":
            logits *= np.float32(0.5)
        elif self._kind == "favour":
            logits[token_ids] += np.float32(2)


def long_enough(text: str) -> bool:
    """A `stopping` function."""
    return len(text) >= 10


jobs = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(PROMPTS),
        "processor": st.sampled_from([None, None, "ban", "flatten", "favour", "fail"]),
        "stopping": st.sampled_from([None, None, long_enough]),
        "options": st.fixed_dictionaries(
            {
                "max_tokens": st.integers(1, 12),
                "temperature": st.sampled_from([0.0, 0.7, 1.5]),
                "frequency_penalty": st.sampled_from([0.0, 0.5]),
                "stop": st.sampled_from([(), ("\n",), ("e", "in")]),
                "seed": st.integers(0, 3),
                "lookup": st.booleans(),
                "logprobs": st.sampled_from([None, 1]),
            }
        ),
    }
)


def options_of(job: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a job, with a processor of its own."""
    processor = None if job["processor"] is None else Processor(job["processor"])
    return {**job["options"], "logits_processor": processor, "stopping": job["stopping"]}


def attempt(work: Callable[[], tuple[Any, ...]]) -> Answer:
    """The facts that `work` returns, or the message of its error."""
    try:
        return work()
    except santacoder.SantaCoderError as error:
        return str(error)


def serially(model: santacoder.SantaCoder, job: dict[str, Any]) -> Answer:
    """The answer to a job by itself."""
    return attempt(lambda: alone(model, job["prompt"], **options_of(job)))


def from_threads(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> list[Answer]:
    """The answers to a mix, each asked for by a thread."""
    with ThreadPoolExecutor(len(mix)) as pool:
        return list(pool.map(lambda job: attempt(lambda: facts(model.complete(job["prompt"], **options_of(job)))), mix))


def as_one_job(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> list[Answer]:
    """The answers of `complete_each`."""
    requests = [santacoder.Request(job["prompt"], options_of(job)) for job in mix]  # type: ignore[arg-type]
    answers: dict[int, Answer] = {}
    for position, result in model.complete_each(requests, on_error="return"):
        if isinstance(result, santacoder.SantaCoderError):
            answers[position] = str(result).removeprefix(f"requests[{position}]: ")
        else:
            answers[position] = facts(result)
    return [answers[position] for position in range(len(mix))]


def from_tasks(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> list[Answer]:
    """The answers to tasks of one event loop."""

    async def ask(job: dict[str, Any]) -> Answer:
        try:
            return facts(await model.acomplete(job["prompt"], **options_of(job)))
        except santacoder.SantaCoderError as error:
            return str(error)

    async def main() -> list[Answer]:
        return await asyncio.gather(*map(ask, mix))

    return asyncio.run(main())


def from_streams(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> list[Answer]:
    """The answers of streams that one thread reads in turn, a session's first."""
    streams = [
        (model.session() if i == 0 else model).stream(job["prompt"], **options_of(job)) for i, job in enumerate(mix)
    ]
    answers: dict[int, Answer] = {}
    while len(answers) < len(mix):
        for i in (i for i in range(len(mix)) if i not in answers):
            try:
                next(streams[i])
            except StopIteration as end:
                answers[i] = facts(end.value)
            except santacoder.SantaCoderError as error:
                answers[i] = str(error)
    return [answers[i] for i in range(len(mix))]


WAYS: list[Callable[[santacoder.SantaCoder, list[dict[str, Any]]], list[Answer]]] = [
    from_threads,
    as_one_job,
    from_tasks,
    from_streams,
]
