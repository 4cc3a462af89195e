"""`santacoder convert`: convert a published checkpoint to a GGUF file."""

from __future__ import annotations

import argparse
from pathlib import Path

from santacoder.cli import options
from santacoder.cli.stopping import orderly

HELP = "convert a checkpoint (safetensors) to a GGUF file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="SOURCE", help="a folder with a checkpoint, or OWNER/NAME on the hub")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the GGUF file to write")
    options.add_type(parser, "type of the matrices", "f16")
    parser.set_defaults(type="f16")
    parser.add_argument(
        "--revision", metavar="R", help="a branch, tag or commit on the hub, such as mha (default: main)"
    )
    parser.add_argument(
        "--fim", action=argparse.BooleanOptionalAction, default=None,
        help="whether the model was trained to fill in the middle (default: yes, unless it is named no-fim or lacks "
        "the tokens)",
    )  # fmt: skip
    parser.add_argument(
        "--fim-mode", choices=("psm", "spm"),
        help="the order with which the model infills best, prefix or suffix first; infill uses it by default",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="number of threads (default: what the machine allows)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    options.add_hub(parser)


def run(args: argparse.Namespace) -> None:
    """Write the file."""
    from santacoder.conversion.convert import convert

    options.quiet_hub()
    keywords = {"fim": args.fim, "fim_mode": args.fim_mode, "threads": args.threads, "force": args.force}
    access = {"cache_dir": args.cache_dir, "token": args.token, "local_files_only": args.local_files_only}
    with orderly():
        convert(args.source, args.out, args.type, args.revision, **keywords, **access)
    print(f"{args.out}: {Path(args.out).stat().st_size} bytes")
