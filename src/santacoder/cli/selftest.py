"""`santacoder selftest`: whether this machine computes the same bits as every other."""

from __future__ import annotations

import argparse

from santacoder.cli import options

HELP = "check that this machine computes the same bits as every other"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="number of threads (default: what the machine allows)"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Check one instruction set after the other, and print a line about each, or JSON.

    Raises:
        SystemExit: with status 1, some results differ.
    """
    from santacoder.bench.selftest import selftest

    results = []
    for result in selftest(args.threads):
        results.append(result)
        if not args.json:
            same = f"OTHER BITS: {', '.join(result.wrong)}" if result.wrong else "the same bits as everywhere"
            options.write(f"{result.isa:<14}{same}  ({result.seconds:.1f} s)\n")
    if args.json:
        options.print_json(results)
    if any(result.wrong for result in results):
        options.tell("please report this, with the output of: santacoder info --system")
        raise SystemExit(1)
