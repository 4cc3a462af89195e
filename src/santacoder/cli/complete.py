"""`santacoder complete`: continue a prompt."""

from __future__ import annotations

import argparse

from santacoder.cli import options

HELP = "continue a prompt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="text; - or nothing reads standard input")
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)
    options.add_sampling(parser)


def run(args: argparse.Namespace) -> None:
    """Stream the completion to standard output."""
    prompt = options.read_prompt(args)
    path = options.model_path(args)
    with options.open_model(path, args) as model:
        if args.json:
            completion = model.complete(prompt, **options.sampling(args))
            options.print_json(completion)
            return
        text = ""
        for piece in model.stream(prompt, **options.sampling(args)):
            options.write(piece.text)
            text = piece.text or text
        options.end_line(text)
