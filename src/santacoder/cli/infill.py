"""`santacoder infill`: write what belongs between a prefix and a suffix."""

from __future__ import annotations

import argparse

from santacoder import load
from santacoder.cli import options
from santacoder.cli.sampling import add_sampling, sampling
from santacoder.errors import InvalidRequestError

HELP = "write what belongs between a prefix and a suffix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="a text that holds the marker; - is standard input")
    parser.add_argument(
        "--prefix", type=options.plain_text, metavar="TEXT", help="the text before the gap, instead of FILE"
    )
    parser.add_argument(
        "--suffix", type=options.plain_text, metavar="TEXT", help="the text after the gap, instead of FILE"
    )
    parser.add_argument(
        "--marker", type=options.plain_text, default="<FILL_ME>", metavar="TEXT",
        help="marks the gap in FILE (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--mode", choices=("auto", "psm", "spm"), default="auto",
        help="order of the prompt: psm is prefix, suffix, middle; spm is suffix, prefix, middle; auto is the one that "
        "the model's file names, or else psm",
    )  # fmt: skip
    parser.add_argument("--single-line", action="store_true", help="end before the first line break")
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)
    add_sampling(parser)


def run(args: argparse.Namespace) -> None:
    """Print the middle."""
    prefix, suffix = _parts(args)
    path = options.model_path(args)
    with load(path, args.threads, args.context) as model:
        keywords = sampling(args)
        completion = model.infill(prefix, suffix, mode=args.mode, single_line=args.single_line, **keywords)
    if args.json:
        options.print_json(completion)
    else:
        options.write(completion.text)
        options.end_line(completion.text)


def _parts(args: argparse.Namespace) -> tuple[str, str]:
    if args.prefix is not None or args.suffix is not None:
        if args.file is not None:
            raise options.UsageError("FILE and --prefix or --suffix exclude each other")
        return args.prefix or "", args.suffix or ""
    if args.file is None:
        raise options.UsageError("there is nothing to fill: pass FILE, or --prefix and --suffix")
    text = options.read_stdin() if args.file == "-" else options.read_text(args.file)
    count = text.count(args.marker) if args.marker else 0
    if count != 1:
        raise InvalidRequestError(f"{args.file} holds the marker {args.marker!r} {count} times, not once")
    prefix, _, suffix = text.partition(args.marker)
    return prefix, suffix
