"""Await completions, stream one, cancel one, and bound one by time.

python examples/asyncio_requests.py [MODEL.gguf]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import santacoder


async def run(model: santacoder.SantaCoder) -> None:
    """Make requests in several ways; the event loop is free while the model computes."""
    # Requests that wait at the same time share a batch.
    prompts = ["def add(a, b):", "class Stack:", "import "]
    completions = await asyncio.gather(*(model.acomplete(prompt, max_tokens=16, temperature=0) for prompt in prompts))
    print("completion tokens:", [completion.usage.completion_tokens for completion in completions])

    async for piece in model.astream("def add(a, b):", max_tokens=16, temperature=0):
        print(piece.text, end="")

    # Canceling a task stops the work.
    task = asyncio.create_task(model.acomplete("def add(a, b):", max_tokens=512, ignore_eos=True))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print("cancelled:", task.cancelled())

    # A deadline returns the text so far, here none.
    late = await model.acomplete("def add(a, b):", max_tokens=512, deadline=0.0)
    print("finish reason:", late.finish_reason)


def main(path: str | None = None) -> None:
    """Load a model and run."""
    with santacoder.load(path) as model:
        asyncio.run(run(model))


if __name__ == "__main__":
    main(*sys.argv[1:2])
