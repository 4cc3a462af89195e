"""`santacoder eval`: how well a model predicts text, and how many benchmark problems it solves.

Each measurement is an entry of `MEASUREMENTS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from santacoder.cli import options
from santacoder.cli.eval import benchmark, report, text

HELP = "measure how well a model predicts text and how many benchmark problems it solves"


class Measurement(NamedTuple):
    """A subcommand of `santacoder eval`."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def run_benchmark(args: argparse.Namespace) -> None:
    """Run a benchmark and print its report, and where its files are."""
    benchmark.run(args)
    report.run(argparse.Namespace(folder=args.out, json=args.json))
    options.add_note(args, f"this report and all files of the run are in {args.out}")


MEASUREMENTS = {
    "bpb": Measurement("bits per byte, and perplexity per token", text.add_bpb_arguments, text.run_bpb),
    "ppl": Measurement("perplexity per token only", text.add_ppl_arguments, text.run_ppl),
    "kl": Measurement("divergence of a model's predictions from a reference's", text.add_kl_arguments, text.run_kl),
    "report": Measurement("compare a benchmark run with published numbers", report.add_arguments, report.run),
    **{
        name: Measurement(what, benchmark.arguments_of(name), run_benchmark)
        for name, what in benchmark.BENCHMARKS.items()
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the measurements, each with its options."""
    measurements = parser.add_subparsers(title="measurements", metavar="MEASUREMENT", required=True)
    for name, measurement in MEASUREMENTS.items():
        command = measurements.add_parser(name, help=measurement.help, description=measurement.help)
        measurement.add_arguments(command)
        command.set_defaults(measure=measurement.run)
        options.remember_parser(command)


def run(args: argparse.Namespace) -> None:
    """Run the chosen measurement."""
    args.measure(args)
