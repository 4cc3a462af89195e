"""`santacoder attribute check`: find what of a file stands in an index."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from santacoder.cli import options

FOUND = 3  # the exit status of --fail-on-match; 1 and 2 say that there was no answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="the file to check, - for standard input")
    parser.add_argument(
        "--min-length", type=int, default=40, metavar="N",
        help="lexemes of the shortest span to report: 40 are always found, 16 or more may be (default: 40)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="also show what is common, such as licence headers")
    output = parser.add_mutually_exclusive_group()
    options.add_json(parser)
    output.add_argument("--notices", action="store_true", help="print the sources by licence")
    parser.add_argument("--sarif", metavar="OUT", help="write a SARIF file as well")
    parser.add_argument("--fail-on-match", action="store_true", help=f"exit with status {FOUND} if anything is shown")


def run(args: argparse.Namespace) -> None:
    """Print the matches."""
    from santacoder.attribution.index import AttributionIndex
    from santacoder.attribution.report import as_notices, as_sarif, as_text

    text = options.read_input(args.file)
    name = "standard input" if args.file == "-" else args.file
    with AttributionIndex.open(args.index) as index:
        found = index.find(text, args.min_length)
    shown = [match for match in found if args.all or not match.common]
    if args.sarif:
        from santacoder._util.atomic_file import atomic_file

        with atomic_file(Path(args.sarif)) as file:
            file.write(json.dumps(as_sarif(name, text, shown), indent=2).encode())
    if args.json:
        options.print_json({"file": name, "common": sum(match.common for match in found), "matches": shown})
    elif args.notices:
        options.write(_escaped(as_notices(shown)))
    else:
        options.write(_escaped(as_text(name, shown)))
        if hidden := len(found) - len(shown):
            options.add_note(args, f"common matches that are not shown: {hidden} (see --all)")
        if not found:
            options.add_note(args, "nothing was found")
    if args.fail_on_match and shown:
        raise SystemExit(FOUND)


def _escaped(text: str) -> str:
    """Escape what comes from the index, line by line."""
    return "".join(f"{options.escaped(line)}\n" for line in text.split("\n")[:-1])
