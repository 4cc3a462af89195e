"""`santacoder info`: facts about a model, and how it runs on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from santacoder import load
from santacoder.cli import options

if TYPE_CHECKING:
    from santacoder.model import SantaCoder
    from santacoder.text.tokenizer import Tokenizer

HELP = "show facts about a model and how it runs on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    options.add_model(parser)
    options.add_threads(parser)
    parser.add_argument(
        "--system", action="store_true", help="show facts about this machine, for a report, and no model"
    )
    parser.add_argument(
        "--verify", action="store_true", help="check every byte of the model's packed weights, too, and name their file"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print the facts."""
    facts = _system_facts() if args.system else _model_facts(args)
    if args.json:
        options.print_json(facts)
        return
    for name, value in facts.items():
        options.write(f"{name.replace('_', ' '):<20} {options.escaped(_shown(name, value))}\n")


def _system_facts() -> dict[str, Any]:
    from santacoder.engine.machine import describe_system

    return describe_system()


def _model_facts(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from santacoder.gguf.facts import file_facts

    path = options.model_path(args)
    packed = {"packed_file": _verified(path, args)} if args.verify else {}
    with load(path, args.threads, args.context) as model:
        return {**asdict(file_facts(path)), **describe(model), **packed}


def _verified(path: str, args: argparse.Namespace) -> str:
    """Check the packed weights of a file, and return their path."""
    from santacoder.engine.packed_weights import verify_model
    from santacoder.sources.packed import PackedCache

    return str(verify_model(path, PackedCache.within(args.cache_dir)))


def describe(model: SantaCoder) -> dict[str, Any]:
    """Collect the facts about a loaded model, as JSON values."""
    from dataclasses import asdict

    config = model.config
    return {
        **asdict(config),
        "context": model.context,
        "tensor_types": dict(model.tensor_types),
        "weights_bytes": model.weights_bytes,
        "cache_bytes": model.cache_bytes,
        "isa": model.isa,
        "threads": model.threads,
        "fim_mode": model.tokenizer.fim_mode,
        "special_tokens": special_tokens(model.tokenizer),
        "end_tokens": sorted(model.tokenizer.end_ids),
    }


def special_tokens(tokenizer: Tokenizer) -> dict[str, int | None]:
    """Return the ids of the special tokens by role."""
    return {
        "end_of_text": tokenizer.eot_id,
        "fim_prefix": tokenizer.fim_prefix_id,
        "fim_suffix": tokenizer.fim_suffix_id,
        "fim_middle": tokenizer.fim_middle_id,
        "fim_pad": tokenizer.fim_pad_id,
    }


def _shown(name: str, value: object) -> str:
    if isinstance(value, dict) and value:
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name.endswith("_bytes") and isinstance(value, int):
        return options.mebibytes(value)
    if name == "parameters":
        return f"{value:,}"
    return "not stated" if value is None or value == {} else str(value)
