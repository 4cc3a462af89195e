"""`santacoder bench`: how fast a model runs on this machine, and how near that is to the machine's limits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from santacoder.cli import options

if TYPE_CHECKING:
    from santacoder.bench.report import Report, Speed

HELP = "measure how fast a model reads prompts and generates, and how near that is to the machine's limits"
EPILOG = """
Percentages are relative to the machine's peaks, measured right before and after. "of reads": the packed weights read
for each token, relative to plain memory reads. "of dot products": the operations of the linear layers, two per
multiply-add, relative to int8 dot products on registers. Neither counts attention. "python share" is the part of a
generation step outside the C call that runs the model. "step" is the cost of a step by its rows, over that of one
row: guesses are as long as rows are cheap.
"""
LIMITS = {"read": "reads", "dot": "dot products"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "-p", "--prompt-tokens", type=int, metavar="N", help="length of the prompt (default: 512, or what fits)"
    )
    parser.add_argument("-n", "--tokens", type=int, metavar="N", help="tokens to generate (default: 64)")
    parser.add_argument(
        "-d", "--depth", type=int, metavar="N", help="also generate after N tokens (default: 1536, or what fits)"
    )
    parser.add_argument(
        "-b", "--batch", type=_numbers, default=(16,), metavar="N[,N...]",
        help="sequences to generate together, after a prompt that they share (default: 16)",
    )  # fmt: skip
    parser.add_argument("-r", "--runs", type=int, default=3, metavar="N", help="repetitions (default: %(default)s)")
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
    path = options.model_path(args)
    from santacoder.bench.measure import BenchConfig, bench_context, benchmark

    context = bench_context(path, args.context)
    config = BenchConfig.fit(context, args.prompt_tokens, args.tokens, args.depth, args.batch, args.runs)
    report = benchmark(path, config, args.threads)
    if args.json:
        options.print_json(report)
    else:
        print("\n".join(table(report)))


def table(report: Report) -> list[str]:
    """Format a report for people: medians, with the minimum and maximum of all runs in parentheses."""
    limits, memory, share, waiting = report.limits, report.memory, report.python_share, report.waiting
    lost = "" if waiting.losses is None else f", CPU lost {waiting.losses} times"
    waits = f"{waiting.waits} waits, {waiting.sleeps} asleep, CPU left {waiting.yields} times{lost}"
    read, dot = [x / 1e9 for x in limits.read_runs], [x / 1e12 for x in limits.dot_runs]
    percents = f"{share.forward_percent:.2f} % forward pass, {share.sampling_percent:.2f} % sampling and text"
    sizes = (
        f"weights {options.mebibytes(memory.weights_bytes)}, file {options.mebibytes(memory.file_bytes)}, peak / file"
    )
    return [
        f"{report.model}, {report.isa}, {report.threads} threads, median of {report.runs} runs",
        _speed("prompt", report.prompt),
        _speed("generation", report.generation),
        _speed(f"generation after {report.generation_at_depth.depth}", report.generation_at_depth),
        *(_speed(f"batch of {speed.sequences}", speed) for speed in report.batches),
        f"{'step':<22}" + ", ".join(f"{each.rows}: {each.cost:.2f}" for each in report.step_costs),
        _line("reads", "", limits.read_bytes_per_second / 1e9, "GB/s", _range(read)),
        _line("dot products", "", limits.dot_ops_per_second / 1e12, "TOPS", _range(dot, 3), 3),
        _line("load", "", report.load.seconds, "s", _range(report.load.runs, 3), 3),
        _line("peak memory", "", memory.peak_bytes / 2**20, "MiB", f"{sizes} {memory.peak_to_file:.2f}"),
        _line("python share", "", share.percent, "%", f"of {1e3 * share.step_seconds:.2f} ms: {percents}"),
        _line("threads", "", waiting.phases / 1e3, "k phases", waits),
    ]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not N[,N...]") from None


def _speed(name: str, speed: Speed) -> str:
    reached = f"{speed.limit_percent:5.1f} % of {LIMITS[speed.limit]}"
    note = f"{_range(speed.runs):<24}{reached}"
    return _line(name, f"{speed.tokens} tokens", speed.tokens_per_second, "tokens/s", note)


def _line(name: str, amount: str, value: float, unit: str, note: str, digits: int = 2) -> str:
    return f"{name:<22}{amount:>13}{value:>10.{digits}f} {unit:<10}{note}"


def _range(values: list[float], digits: int = 2) -> str:
    return f"({min(values):.{digits}f} to {max(values):.{digits}f})"
