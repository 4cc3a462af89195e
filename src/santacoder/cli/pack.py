"""`santacoder pack`: write a model's packed weights to the cache, for processes that map them."""

from __future__ import annotations

import argparse

from santacoder.cli import options
from santacoder.cli.stopping import orderly

HELP = "write a model's packed weights to the cache, so that processes start faster and share their memory"
EPILOG = """
`santacoder serve`, `--packed` of other commands and `packed=True` of santacoder.load find them there, and write them
if they are missing; `santacoder info --verify` checks them, and `santacoder cache clear` removes them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.usage = "%(prog)s [OPTION ...] [FILE]"
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="the model's name, as --model takes it; not both may be given",
    )
    options.add_model(parser)
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="number of threads (default: what the machine allows)"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Pack the weights unless they are there, and print where they are."""
    from santacoder.sources.packed import PackedCache

    if args.file is not None and args.model is not None:
        raise options.UsageError("FILE and --model exclude each other")
    args.model = args.model if args.file is None else args.file
    cache = PackedCache.within(args.cache_dir)
    path = options.model_path(args)
    from santacoder.engine.packed_weights import pack_model

    with orderly():
        packed = pack_model(path, cache, args.threads)
    if args.json:
        options.print_json({"path": str(packed), "model": path, "file_bytes": packed.stat().st_size})
    else:
        print(f"{packed}: {options.mebibytes(packed.stat().st_size)}")
