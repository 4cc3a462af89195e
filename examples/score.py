"""Find which continuation of a context the model thinks most probable.

python examples/score.py [MODEL.gguf]
"""

from __future__ import annotations

import sys

import santacoder

CONTEXT = "def area(width, height):\n    return width"
CONTINUATIONS = [" * height\n", " + height\n", " banana height\n"]


def main(path: str | None = None) -> None:
    """Print the log-probability of each continuation, best first."""
    with santacoder.load(path) as model:
        # The context is run once for all of them. Its tokens are the first of each text: a space always begins a token.
        start = len(model.tokenizer.encode(CONTEXT))
        scores = model.score_many([CONTEXT + continuation for continuation in CONTINUATIONS], progress=False)
        totals = {
            continuation: sum(value for value in score.logprobs[start:] if value is not None)
            for continuation, score in zip(CONTINUATIONS, scores, strict=True)
        }
        for continuation, total in sorted(totals.items(), key=lambda item: -item[1]):
            print(f"{total:8.2f}  {continuation.strip()}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
