"""`santacoder download`: fetch a model from the hub, so that it is there when it is needed."""

from __future__ import annotations

import argparse
from dataclasses import replace

from santacoder.cli import options

HELP = "download a model from the Hugging Face hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="REPO[:FILE]", help="OWNER/NAME on the hub, with :FILE.gguf if it has several")
    parser.add_argument("--revision", metavar="R", help="a branch, tag or commit (default: the default branch)")
    options.add_type(parser, "type of a checkpoint's matrices after conversion; a GGUF file has to be of it", "q4_k_m")
    parser.add_argument("--force", action="store_true", help="download and convert even what the cache has")
    options.add_hub(parser)


def run(args: argparse.Namespace) -> None:
    """Download the file unless the cache has it, convert it if it is a checkpoint, and print its path."""
    from santacoder.sources.model_name import parse_hub_name

    name = parse_hub_name(args.name)
    if name is None:
        raise options.UsageError(f"{args.name!r} is not a repository on the hub: OWNER/NAME or OWNER/NAME:FILE")
    print(options.resolve_model(name, replace(options.model_options(args), force_download=args.force)))
