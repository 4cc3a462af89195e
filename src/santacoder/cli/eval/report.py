"""`santacoder eval report`: a benchmark run compared with SantaCoder's published numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from santacoder.cli import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", metavar="DIR", help="the folder given as --out when the benchmark ran")
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Write report.md, report.json and the plot into the folder, and print the report."""
    from santacoder.harness.report import write_report

    report, markdown = write_report(Path(args.folder))
    if args.json:
        options.print_json(report)
    else:
        options.write(markdown)
