"""Complete a prompt at once, as a stream, and a second time with the same seed.

python examples/complete.py [MODEL.gguf]
"""

from __future__ import annotations

import sys

import santacoder

PROMPT = "def add(a, b):"


def main(path: str | None = None) -> None:
    """Complete PROMPT with the model in the file `path`, or with the packaged one."""
    with santacoder.load(path) as model:
        # temperature=0 always takes the most probable token.
        greedy = model.complete(PROMPT, max_tokens=32, temperature=0)
        print(PROMPT + greedy.text)
        print(f"({greedy.usage.completion_tokens} tokens, finish reason {greedy.finish_reason!r})")

        # A stream gives text as soon as it is final; the pieces join to the text of `complete`.
        for piece in model.stream(PROMPT, max_tokens=32, temperature=0):
            print(piece.text, end="", flush=True)

        # Without a seed one is drawn. The completion names it, so the same text can be had again.
        first = model.complete(PROMPT, max_tokens=16, temperature=0.8)
        again = model.complete(PROMPT, max_tokens=16, temperature=0.8, seed=first.seed)
        print("the same text with the same seed:", first.text == again.text)


if __name__ == "__main__":
    main(*sys.argv[1:2])
