"""What attribution costs while generating: `python bench/studies/attribution_cost.py MODEL INDEX [--rounds 5]`.

Generates the same completions without an index, with a report and with "stop", in turns, each as often first as last,
and prints the tokens per second of each, the median of what the index costs beside the same completion without it, and
whether the reports' texts are those without an index.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import santacoder

PROMPTS = (
    "import os\n\n\ndef main():\n",
    "class Reader:\n    def __init__(self",
    "def quicksort(items):\n",
    "import numpy as np\n",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("index")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    names = ["none", "report", "stop"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    tokens, same = 0, True
    with santacoder.load(arguments.model) as model, santacoder.AttributionIndex.open(arguments.index) as index:
        model.complete("x", max_tokens=4)
        for number in range(arguments.rounds):
            for prompt in PROMPTS:
                names.append(names.pop(0))
                done = {name: complete(model, index, name, prompt, number, arguments.tokens) for name in names}
                same = same and done["none"][0].text == done["report"][0].text
                if done["stop"][0].tokens == done["none"][0].tokens:
                    tokens += len(done["none"][0].tokens)
                    for name, (_, took) in done.items():
                        seconds[name].append(took)
    for name, each in seconds.items():
        more = statistics.median(took / plain for took, plain in zip(each, seconds["none"], strict=True)) - 1
        print(f"{name:8} {tokens / sum(each):8.2f} tokens/s, {100 * more:+.2f}%, {len(each)} completions")
    print("texts with a report are the same" if same else "texts with a report differ")


def complete(
    model: santacoder.SantaCoder, index: santacoder.AttributionIndex, name: str, prompt: str, seed: int, tokens: int
) -> tuple[santacoder.Completion, float]:
    """Return a completion, and how many seconds it took."""
    keywords: dict[str, Any] = {} if name == "none" else {"attribution": index, "on_match": name}
    begin = time.perf_counter()
    done = model.complete(prompt, lookup=False, max_tokens=tokens, temperature=0.8, seed=seed, **keywords)
    return done, time.perf_counter() - begin


if __name__ == "__main__":
    main()
