"""`santacoder complete`: continue a prompt."""

from __future__ import annotations

import argparse
from dataclasses import replace

from santacoder import load
from santacoder.cli import options
from santacoder.cli.sampling import add_sampling, sampling
from santacoder.text.filters import FilterChain
from santacoder.text.line_breaks import ReadLineBreaks, WriteCRLF, as_lf, uses_crlf

HELP = "continue a prompt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="the text; - or nothing reads standard input")
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)
    add_sampling(parser)


def run(args: argparse.Namespace) -> None:
    """Stream the completion to standard output, with the prompt's line breaks; the model sees LF."""
    prompt = options.read_prompt(args)
    path = options.model_path(args)
    keywords = sampling(args)
    echo = prompt if keywords.pop("echo", False) else ""
    breaks = FilterChain([])
    if uses_crlf(prompt):
        breaks = FilterChain([ReadLineBreaks(), WriteCRLF()])
        stops = [as_lf(stop) for stop in keywords.get("stop", ())]
        keywords["stop"] = [*stops, *map(WriteCRLF().feed, stops)]  # the model may write LF or CRLF
    with load(path, args.threads, args.context) as model:
        if args.json:
            completion = model.complete(as_lf(prompt), **keywords)
            text = breaks.feed(completion.text) + breaks.flush(completion.finish_reason != "stop")
            options.print_json(replace(completion, text=echo + text))
            return
        pieces = model.stream(as_lf(prompt), **keywords)
        options.write(echo)
        text = echo
        for piece in pieces:
            part = breaks.feed(piece.text)
            if piece.finish_reason:
                part += breaks.flush(piece.finish_reason != "stop")
            options.write(part)
            text = part or text
        options.end_line(text)
