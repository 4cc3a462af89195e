"""`santacoder bench`: how fast a model reads and writes here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from santacoder.cli import options

if TYPE_CHECKING:
    from santacoder.model import SantaCoder

HELP = "measure how fast a model reads prompts and generates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-p", "--prompt-tokens", type=int, metavar="N", help="length of the prompt (default: 512)")
    parser.add_argument("-n", "--tokens", type=int, metavar="N", help="tokens to generate (default: 64)")
    parser.add_argument("-r", "--runs", type=int, default=3, metavar="N", help="runs (default: %(default)s)")
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
    from santacoder.sampling import check_integer

    path = options.model_path(args)
    runs = check_integer("--runs", args.runs, 1, None)
    with options.open_model(path, args) as model:
        most = model.context - 2  # beside a prompt of one token, and a token that is never run
        n_prompt = check_integer("--prompt-tokens", _default(args.prompt_tokens, min(512, most)), 1, most)
        n_generate = check_integer("--tokens", _default(args.tokens, min(64, most)), 1, most)
        results = measure(model, n_prompt, n_generate, runs)
    if args.json:
        options.print_json(results)
        return
    print(f"{results['model']}, {results['isa']}, {results['threads']} threads, median of {runs} runs")
    for name in ("prompt", "generation"):
        row = results[name]
        rates = row["runs"]
        print(
            f"{name:<12}{row['tokens']:>6} tokens{row['tokens_per_second']:>10.2f} tokens/s"
            f"  ({min(rates):.2f} to {max(rates):.2f})"
        )


def measure(model: SantaCoder, n_prompt: int, n_generate: int, runs: int) -> dict[str, Any]:
    """Medians over `runs`, after one run to warm up: reading a random prompt, then generating from one token.

    Choosing tokens, greedily, is part of both.
    """
    import numpy as np

    greedy: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
    random = np.random.default_rng(0)
    prompt_rates, generation_rates = [], []
    for _ in range(runs + 1):
        prompt = random.integers(0, model.config.vocab_size, n_prompt)
        read = model.complete(prompt, max_tokens=1, **greedy).timings
        prompt_rates.append(read.prompt_tokens_per_second)
        written = model.complete(prompt[:1], max_tokens=n_generate + 1, **greedy).timings
        generation_rates.append(written.generation_tokens_per_second)
    return {
        "model": model.config.name,
        "isa": model.isa,
        "threads": model.threads,
        "weights_bytes": model.weights_bytes,
        "prompt": _row(n_prompt, prompt_rates[1:]),
        "generation": _row(n_generate, generation_rates[1:]),
    }


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


def _row(tokens: int, rates: list[float]) -> dict[str, Any]:
    from statistics import median

    return {"tokens": tokens, "tokens_per_second": median(rates), "runs": rates}
