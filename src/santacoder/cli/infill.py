"""`santacoder infill`: write what belongs between a prefix and a suffix."""

from __future__ import annotations

import argparse
import codecs
import sys
from pathlib import Path

from santacoder._util.atomic_file import atomic_file, is_file
from santacoder._util.text_file import decode_text
from santacoder.cli import options
from santacoder.cli.sampling import add_sampling, note_attribution, sampling, with_defaults
from santacoder.cli.stopping import orderly
from santacoder.decoding.results import Completion
from santacoder.errors import InvalidRequestError

HELP = "write what belongs between a prefix and a suffix"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s [OPTION ...] [FILE]"
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a text that holds the marker; - or nothing reads standard input"
    )
    parser.add_argument(
        "-i", "--in-place", action="store_true", help="write the text into FILE, in place of the marker"
    )
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
    options.add_packed(parser)
    options.add_json(parser)
    add_sampling(parser)


def run(args: argparse.Namespace) -> None:
    """Print the middle, or write it into the file."""
    if args.in_place:
        _edit(args)
        return
    completion = _infill(args, *_parts(args))
    if args.json:
        options.print_json(completion)
    else:
        options.write(completion.text)
        options.end_line(completion.text)
        note_attribution(args, completion)


def _infill(args: argparse.Namespace, prefix: str, suffix: str) -> Completion:
    path = options.model_path(args)
    with options.load_model(path, args) as model:
        keywords = with_defaults(model, sampling(args))
        return model.infill(prefix, suffix, mode=args.mode, single_line=args.single_line, **keywords)


def _edit(args: argparse.Namespace) -> None:
    """Write the middle into the file, whose other bytes stay as they are, also if somebody changes it meanwhile."""
    if args.file in (None, "-") or args.prefix is not None or args.suffix is not None:
        raise options.UsageError("--in-place needs a FILE to write")
    if getattr(args, "echo", False):
        raise options.UsageError("--echo and --in-place exclude each other: the file has the prefix")
    path = Path(args.file)
    is_file(path)  # before the model runs
    data = path.read_bytes()
    prefix, suffix = _split(decode_text(data, args.file), args.marker, args.file)
    completion = _infill(args, prefix, suffix)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    with orderly(), atomic_file(path) as file:
        if path.read_bytes() != data:
            raise InvalidRequestError(f"{args.file} was changed meanwhile, so nothing is written")
        file.write(mark + f"{prefix}{completion.text}{suffix}".encode())
    if args.json:
        options.print_json(completion)
    note_attribution(args, completion)
    if completion.finish_reason in ("length", "deadline"):
        limit = {"length": "--max-tokens", "deadline": "--deadline"}[completion.finish_reason]
        options.add_note(args, f"the text in {args.file} is cut off by {limit}")


def _parts(args: argparse.Namespace) -> tuple[str, str]:
    if args.prefix is not None or args.suffix is not None:
        if args.file is not None:
            raise options.UsageError("FILE and --prefix or --suffix exclude each other")
        return args.prefix or "", args.suffix or ""
    if args.file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise options.UsageError("there is nothing to fill: pass FILE, or --prefix and --suffix")
    name = args.file or "-"
    return _split(options.read_input(name), args.marker, "standard input" if name == "-" else name)


def _split(text: str, marker: str, name: str) -> tuple[str, str]:
    count = text.count(marker) if marker else 0
    if count != 1:
        raise InvalidRequestError(f"{name} holds the marker {marker!r} {count} times, not once")
    prefix, _, suffix = text.partition(marker)
    return prefix, suffix
