"""The speed of constrained decoding beside free generation: `python bench/studies/constrained.py MODEL`.

The constraints are those of examples/constrained.py, by llguidance: records in JSON, and bodies of functions in Python.
Each constrained completion takes turns with a free one of the same prompt, sampling and number of tokens. The figures
are tokens per second, median over the turns, and their ratio; of one request at a time, and of 16 in a batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import santacoder

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of examples
BATCH = 16


def rate(model: santacoder.SantaCoder, requests: list[santacoder.Request]) -> tuple[float, list[int]]:
    """Return the tokens per second of requests that run together, and how many tokens each has."""
    begin = time.perf_counter()
    if len(requests) == 1:
        results = {0: model.complete(requests[0].prompt, **requests[0].options)}
    else:
        results = dict(model.complete_each(requests))
    seconds = time.perf_counter() - begin
    counts = [results[i].usage.completion_tokens for i in range(len(requests))]
    return sum(counts) / seconds, counts


def compare(
    model: santacoder.SantaCoder, make: Callable[[int], santacoder.Request], size: int, turns: int
) -> dict[str, float]:
    """Return the median tokens per second of both ways, and the median of the turns' ratios."""
    rates = []
    for turn in range(turns + 1):  # the first one warms up
        requests = [make(turn * size + i) for i in range(size)]
        constrained, counts = rate(model, requests)
        free, _ = rate(model, [unconstrained(*pair) for pair in zip(requests, counts, strict=True)])
        rates.append((constrained, free, constrained / free))
    first, second, ratio = (median(column) for column in zip(*rates[1:], strict=True))
    return {"constrained": first, "free": second, "ratio": ratio}


def unconstrained(request: santacoder.Request, tokens: int) -> santacoder.Request:
    """Ask for as many tokens, whichever they are."""
    options: Any = {**request.options, "logits_processor": None, "max_tokens": tokens, "ignore_eos": True}
    return santacoder.Request(request.prompt, options)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a GGUF file; without it the packaged model")
    parser.add_argument("--threads", type=int, help="threads of the model")
    parser.add_argument("--turns", type=int, default=5, help="turns of each kind (default: 5)")
    arguments = parser.parse_args()
    from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

    from examples import constrained as example

    figures = {}
    with santacoder.load(arguments.model, arguments.threads) as model:
        tokenizer = LLTokenizer(TokenizerWrapper(example.Vocabulary(model.tokenizer)), n_vocab=model.config.vocab_size)
        grammars = {
            "JSON": (example.RECORD, LLMatcher.grammar_from_json_schema(example.SCHEMA)),
            "Python": (example.FUNCTION, LLMatcher.grammar_from_lark(example.BODY)),
        }
        for name, (prompt, grammar) in grammars.items():
            for size in (1, BATCH):

                def make(seed: int, prompt: str = prompt, grammar: str = grammar) -> santacoder.Request:
                    return example.constrained(prompt, tokenizer, grammar, seed)

                figures[f"{name}, {size} at a time"] = compare(model, make, size, arguments.turns)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
