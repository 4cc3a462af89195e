"""Continue many prompts in one batch: several samples of each, then a queue in which one request fails.

python examples/batch.py [MODEL.gguf]
"""

from __future__ import annotations

import sys

import santacoder

PROMPTS = ["def add(a, b):", "class Stack:\n    def __init__(self", "import os\n\ndef read(path):\n"]


def main(path: str | None = None) -> None:
    """Run both jobs."""
    with santacoder.load(path) as model:
        # [prompt][sample]; each sample is what it would be by itself, whatever else is in the batch.
        samples = model.complete_many(PROMPTS, n=4, max_tokens=16, temperature=0.8, seed=1, progress=False)
        for prompt, texts in zip(PROMPTS, samples, strict=True):
            print(f"{prompt.splitlines()[0]!r}: {len({sample.text for sample in texts})} different samples")
        single = model.complete(PROMPTS[0], max_tokens=16, temperature=0.8, seed=1)
        print("the first sample is the one of `complete`:", samples[0][0].text == single.text)

        # A generator of requests is read as room for them comes. Results come as they finish, with their position.
        too_long = "x = 1\n" * 2000
        requests = (santacoder.Request(prompt, {"max_tokens": 16, "temperature": 0}) for prompt in [*PROMPTS, too_long])
        for position, result in sorted(model.complete_each(requests, on_error="return"), key=lambda item: item[0]):
            if isinstance(result, santacoder.SantaCoderError):
                print(f"{position}: {type(result).__name__}")
            else:
                print(f"{position}: {result.usage.completion_tokens} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:2])
