"""`santacoder tokenize`: the tokens of a text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from santacoder.cli import options

if TYPE_CHECKING:
    from santacoder.text.tokenizer import Tokenizer

HELP = "show the tokens of a text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("prompt", nargs="?", metavar="TEXT", help="the text; - or nothing reads standard input")
    parser.add_argument("--plain", action="store_true", help="treat special tokens in the text as plain text")
    options.add_model(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print id and piece of each token; the weights are not loaded."""
    text = options.read_prompt(args)
    tokenizer = _tokenizer(args)
    ids = tokenizer.encode(text, special=not args.plain)
    if args.json:
        options.print_json({"tokens": ids, "pieces": [tokenizer.decode([token]) for token in ids]})
        return
    for token in ids:
        options.write(f"{token:>6} {_shown(tokenizer.token_bytes(token))!r}\n")


def _tokenizer(args: argparse.Namespace) -> Tokenizer:
    """Return the model's tokenizer; no checkpoint is converted for it."""
    from santacoder.conversion.find_model import find_tokenizer
    from santacoder.gguf.config_reader import read_config
    from santacoder.gguf.reader import GGUFFile
    from santacoder.sources.model_name import parse_name
    from santacoder.text.tokenizer import Tokenizer

    options.quiet_hub()
    found = find_tokenizer(parse_name(options.model_name(args)), options.model_options(args))
    if not isinstance(found, str):
        return found[0]
    with GGUFFile.open(found) as file:
        return Tokenizer.from_gguf(file, read_config(file).vocab_size)


def _shown(piece: bytes) -> str | bytes:
    """Decode a piece; return the bytes if they are only part of a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece
