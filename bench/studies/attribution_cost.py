"""What attribution costs while generating: `python bench/studies/attribution_cost.py MODEL INDEX [--rounds 5]`.

Generates the same completions without an index, with a report and with "stop", in turns, and prints the median tokens
per second of each, and whether the reports' texts are those without an index.
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
    rates: dict[str, list[float]] = {"none": [], "report": [], "stop": []}
    same = True
    with santacoder.load(arguments.model) as model, santacoder.AttributionIndex.open(arguments.index) as index:
        model.complete("x", max_tokens=4)
        for number in range(arguments.rounds):
            for prompt in PROMPTS:
                texts = {}
                for name in rates:
                    keywords: dict[str, Any] = {"max_tokens": arguments.tokens, "temperature": 0.8, "seed": number}
                    if name != "none":
                        keywords |= {"attribution": index, "on_match": name}
                    begin = time.perf_counter()
                    done = model.complete(prompt, lookup=False, **keywords)
                    seconds = time.perf_counter() - begin
                    texts[name] = done.text
                    if done.finish_reason == "length":
                        rates[name].append(done.usage.completion_tokens / seconds)
                same = same and texts["none"] == texts["report"]
    for name, each in rates.items():
        print(f"{name:8} {statistics.median(each):8.2f} tokens/s, {len(each)} completions")
    print("texts with a report are the same" if same else "texts with a report differ")


if __name__ == "__main__":
    main()
