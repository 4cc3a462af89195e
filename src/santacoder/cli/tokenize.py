"""`santacoder tokenize`: the tokens of a text."""

from __future__ import annotations

import argparse

from santacoder.cli import options

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
    path = options.model_path(args)
    from santacoder.gguf.config_reader import read_config
    from santacoder.gguf.reader import GGUFFile
    from santacoder.text.tokenizer import Tokenizer

    with GGUFFile.open(path) as file:
        tokenizer = Tokenizer.from_gguf(file, read_config(file).vocab_size)
    ids = tokenizer.encode(text, special=not args.plain)
    if args.json:
        options.print_json({"tokens": ids, "pieces": [tokenizer.decode([token]) for token in ids]})
        return
    for token in ids:
        options.write(f"{token:>6} {_shown(tokenizer.token_bytes(token))!r}\n")


def _shown(piece: bytes) -> str | bytes:
    """Decode a piece; return the bytes if they are only part of a character."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece
