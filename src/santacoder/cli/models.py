"""`santacoder models`: the models on this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from santacoder.cli import options

HELP = "list the models on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_cache_dir(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print each model's size, file type and name."""
    from santacoder.sources.installed import installed_models

    models = list(installed_models(args.cache_dir))
    if args.json:
        options.print_json([asdict(model) for model in models])
        return
    for model in models:
        size = "" if model.facts is None else options.mebibytes(model.facts.file_bytes)
        kind = "cannot run" if model.problem or model.facts is None else model.facts.file_type or "not stated"
        options.write(f"{size:>11}  {kind:<10}  {options.escaped(model.name)}\n")
