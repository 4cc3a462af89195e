"""`santacoder quantize`: quantize a GGUF file of floats."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from santacoder._util.atomic_file import check_not_read
from santacoder.cli import options
from santacoder.cli.stopping import orderly

if TYPE_CHECKING:
    from santacoder.quantize.quantize_file import TensorReport

HELP = "round a model's weights to fewer bits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source", metavar="IN.gguf", help="a model whose matrices are F32, F16 or BF16; if it is split, its first part"
    )
    parser.add_argument("target", metavar="OUT.gguf", help="the file to write")
    options.add_type(parser, "type of the matrices", "q4_k_m")
    parser.add_argument(
        "--size", metavar="SIZE",
        help="the most bytes of OUT.gguf, such as 680MB, 0.7GB or 650MiB, instead of a type: each matrix gets Q4_K, "
        "Q5_K, Q6_K or Q8_0 so that the error is least; with --calibrate, the measured divergence",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", nargs="+", default=[], metavar="FILE",
        help="code like the model's later input: weights that matter for it are rounded with more care",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="number of threads (default: what the machine allows)"
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace OUT.gguf if it exists")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the type, size and error of each tensor")


def run(args: argparse.Namespace) -> None:
    """Quantize the model, and print its new size."""
    check_not_read(Path(args.target), args.calibrate)
    texts = [options.read_text(name) for name in args.calibrate]
    from santacoder._util.progress import progress_bar
    from santacoder.gguf.reader import GGUFFile
    from santacoder.quantize.quantize_file import quantize

    with GGUFFile.open(args.source) as file:
        before = file.size
    with (
        orderly(),
        progress_bar(sum(map(len, texts)), "characters read") as read,
        progress_bar(before if args.size is None else 2 * before, "bytes read") as bar,
    ):
        reports = quantize(
            args.source, args.target, args.type, size=args.size, calibration=texts, threads=args.threads,
            force=args.force, progress=bar.update, calibration_progress=read.update,
        )  # fmt: skip
    if args.verbose:
        _print_table(reports)
    after = Path(args.target).stat().st_size
    print(f"{args.target}: {after / 1e6:.1f} MB, {after / before:.0%} of {args.source}")


def _print_table(reports: list[TensorReport]) -> None:
    width = max(len(report.name) for report in reports)
    print(f"{'tensor':<{width}}  {'shape':>13}  {'from':>4}  {'to':>4}  {'bytes':>11}  relative error")
    for r in reports:
        shape = " x ".join(map(str, r.shape))
        error = f"{r.relative_error:.3e}" if r.relative_error else "-"
        print(f"{r.name:<{width}}  {shape:>13}  {r.source:>4}  {r.target:>4}  {r.n_bytes:>11}  {error:>14}")
