"""`santacoder complete`: continue a prompt, once or several times, or many prompts."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from santacoder.cli import options
from santacoder.cli.prompt_request import PromptRequest
from santacoder.cli.sampling import add_sampling, note_attribution, sampling, with_defaults

if TYPE_CHECKING:
    from santacoder.model import SantaCoder

HELP = "continue a prompt, or many"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s [OPTION ...] [PROMPT]"
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="the text; - or nothing reads standard input")
    parser.add_argument("-f", "--file", metavar="FILE", help="read the prompt from a file")
    parser.add_argument(
        "--samples", "--n-samples", type=int, metavar="N",
        help="complete N times; with --json, print one line for each as soon as it is done",
    )  # fmt: skip
    options.add_model(parser)
    options.add_threads(parser)
    options.add_project(parser)
    options.add_packed(parser)
    options.add_json(parser)
    group = parser.add_argument_group("many prompts")
    group.add_argument(
        "--prompts", metavar="FILE.jsonl",
        help='complete each line: a JSON text, or an object with "prompt" and options such as "max_tokens"; other '
        "fields are copied to the results; - reads standard input",
    )  # fmt: skip
    group.add_argument(
        "-o", "--out", metavar="FILE.jsonl",
        help="write the results to a file, one line each, instead of standard output; the same command continues it",
    )  # fmt: skip
    add_sampling(parser)


def run(args: argparse.Namespace) -> None:
    """Stream the completion to standard output, with the prompt's line breaks; the model sees LF."""
    _check(args)
    if args.prompts is not None:
        from santacoder.cli.prompts import run_prompts

        run_prompts(args)
        return
    prompt = options.read_prompt(args) if args.file is None else options.read_input(args.file)
    path = options.model_path(args)
    request = PromptRequest(prompt, sampling(args))
    with options.load_model(path, args) as model:
        options.index_project(model, args)
        request.options = with_defaults(model, request.options)
        if args.samples is not None:
            _print_samples(model, request, args)
        elif args.json:
            options.print_json(request.finished(model.complete(request.prompt, **request.options)))
        else:
            pieces = model.stream(request.prompt, **request.options)
            breaks = request.filters()
            options.write(request.echo)
            text = request.echo
            for piece in pieces:
                part = breaks.feed(piece.text)
                if piece.finish_reason:
                    part += breaks.flush(piece.finish_reason != "stop")
                    note_attribution(args, piece)
                options.write(part)
                text = part or text
            options.end_line(text)


def _check(args: argparse.Namespace) -> None:
    if args.samples is not None and args.samples < 1:
        raise options.UsageError(f"--samples is {args.samples}, but it must be 1 or more")
    if sum(given is not None for given in (args.prompt, args.file, args.prompts)) > 1:
        raise options.UsageError("PROMPT, --file and --prompts exclude each other")
    if args.prompts is not None and "attribution" in args:
        raise options.UsageError("--prompts and --attribution exclude each other: check the results instead")
    if args.out is not None and args.prompts is None:
        raise options.UsageError("--out needs --prompts; the completion of one prompt goes to standard output")


def _print_samples(model: SantaCoder, request: PromptRequest, args: argparse.Namespace) -> None:
    """Print all samples: as JSON when they are done, else in their order."""
    import secrets

    from santacoder.requests import Request

    keywords = {"seed": secrets.randbits(64), **request.options}
    requests = [Request(request.prompt, keywords, index) for index in range(args.samples)]  # type: ignore[arg-type]
    texts: dict[int, str] = {}
    printed = 0
    for index, completion in model.complete_each(requests):
        finished = request.finished(completion)
        note_attribution(args, finished, f"sample {index}")
        if args.json:
            options.print_json_line({"sample": index, **asdict(finished)})
            continue
        texts[index] = finished.text
        while printed in texts:
            text = texts.pop(printed)
            options.write(f"==> sample {printed} <==\n{text}" + ("" if text.endswith("\n") else "\n"))
            printed += 1
