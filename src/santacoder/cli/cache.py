"""`santacoder cache list | clear`: converted checkpoints, packed weights, and prompts that are kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from santacoder.cli import options

if TYPE_CHECKING:
    from santacoder.prefixes.listing import StoredModel
    from santacoder.sources.converted import ConvertedModel
    from santacoder.sources.packed import PackedCache

HELP = "list or remove converted checkpoints, packed weights and prompts that are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, what, run_it in (
        ("list", "list converted checkpoints, packed weights and each model's kept prompts, with sizes", _list),
        ("clear", "remove all converted checkpoints, packed weights and kept prompts; their sources stay", _clear),
    ):
        command = commands.add_parser(name, help=what, description=what)
        options.add_cache_dir(command)
        options.add_json(command)
        command.set_defaults(cache=run_it)
        options.remember_parser(command)


def run(args: argparse.Namespace) -> None:
    """Run the chosen command."""
    args.cache(args)


def _list(args: argparse.Namespace) -> None:
    from santacoder.prefixes.listing import stored_models
    from santacoder.sources.converted import converted_models

    packed = (file for cache in _packed(args) for file in cache.files())
    _print([*converted_models(args.cache_dir), *packed, *stored_models(args.cache_dir)], args)


def _clear(args: argparse.Namespace) -> None:
    from santacoder.prefixes import listing
    from santacoder.sources import converted

    removed: Sequence[ConvertedModel | StoredModel] = [
        *converted.clear(args.cache_dir),
        *(file for cache in _packed(args) for file in cache.clear()),
        *listing.clear(args.cache_dir),
    ]
    _print(removed, args)
    options.add_note(args, f"{options.mebibytes(sum(model.file_bytes for model in removed))} were freed")


def _packed(args: argparse.Namespace) -> list[PackedCache]:
    """Return the cache of packed weights; none where the system cannot have one."""
    from santacoder.sources.packed import PackedCache, can_pack

    return [PackedCache.within(args.cache_dir)] if can_pack(args.cache_dir) else []


def _print(models: Sequence[ConvertedModel | StoredModel], args: argparse.Namespace) -> None:
    """Print each one's size, type, version and source, or JSON."""
    if args.json:
        options.print_json([asdict(model) for model in models])
        return
    for model in models:
        size, kind = options.mebibytes(model.file_bytes), model.type.upper()
        options.write(f"{size:>11}  {kind:<10}  {model.version:<12}  {options.escaped(model.source)}\n")
