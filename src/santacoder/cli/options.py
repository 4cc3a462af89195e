"""Options and input that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from santacoder._util.text_file import decode_text

if TYPE_CHECKING:
    from santacoder.conversion.find_model import ModelOptions
    from santacoder.model import SantaCoder
    from santacoder.sources.model_name import ModelName

#: What arguments are added to: a parser, or a group of one.
Arguments = argparse._ActionsContainer


class UsageError(Exception):
    """The command line is wrong."""


VARIABLE = "SANTACODER_MODEL"
PACKAGED_NOTE = (
    "this is the small demonstration model of the package, not SantaCoder: "
    f"choose another with --model PATH|REPO or {VARIABLE}"
)

#: Stands for the value "--", which argparse drops before Python 3.13. No word of a command line holds a NUL.
DASHES = "\0--"


def remember_parser(parser: argparse.ArgumentParser) -> None:
    """Let arguments that this parser has read name it: `prog`, and `parser` itself."""
    parser.set_defaults(prog=parser.prog, parser=parser)


def add_note(args: argparse.Namespace, note: str) -> None:
    """Have a line printed to standard error when the command has succeeded, after its output."""
    args.notes = [*getattr(args, "notes", ()), note]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model, and what says more about it."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model",
        metavar="PATH|REPO[:FILE]",
        help="a GGUF file, a folder, or OWNER/NAME on the hub, with :FILE.gguf if that has several; a checkpoint is "
        f"converted once (default: ${VARIABLE}, else the packaged demonstration model)",
    )
    group.add_argument(
        "--revision", metavar="R", help="a branch, tag or commit on the hub, such as no-fim (default: main)"
    )
    add_type(group, "type of a checkpoint's matrices after conversion; a GGUF file has to be of it", "q4_k_m")
    add_hub(group)


def add_type(parser: Arguments, help: str, default: str | None, **keywords: Any) -> None:
    """Add --type; `default` is what its help names."""
    from santacoder.quantize.mixes import MIXES

    parser.add_argument(
        "--type", type=str.lower, choices=tuple(MIXES), metavar="TYPE",
        help=f"{help}: {', '.join(MIXES)} (default: {default})", **keywords,
    )  # fmt: skip


def add_hub(parser: Arguments) -> None:
    """Add what says how the hub is asked."""
    add_cache_dir(parser)
    parser.add_argument(
        "--token", metavar="TOKEN", help="for private repositories (default: $HF_TOKEN, or the login's)"
    )
    parser.add_argument("--local-files-only", action="store_true", help="look nowhere but in the cache")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads and --context."""
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="number of threads (default: what the machine allows)"
    )
    parser.add_argument("--context", type=int, metavar="N", help="number of positions to use (default: the model's)")


def add_project(parser: Arguments) -> None:
    """Add --project."""
    parser.add_argument(
        "--project", metavar="DIR", action="append", default=[],
        help="guess what comes next from the files of this folder, too: the same answers, often sooner; repeatable",
    )  # fmt: skip


def index_project(model: SantaCoder, args: argparse.Namespace) -> None:
    """Have a model guess from the folders that --project names.

    Raises:
        SantaCoderError, OSError: as `SantaCoder.index`.
    """
    if args.project:
        model.index(args.project)


def add_prefix_cache(parser: Arguments) -> None:
    """Add --prefix-cache, --no-prefix-cache and --prefix-cache-bytes."""
    parser.add_argument(
        "--prefix-cache", metavar="DIR",
        help="where keys and values of prompts are kept for the next start (default: $SANTACODER_PREFIX_CACHE, else "
        "santacoder/prefixes in the user's cache folder)",
    )  # fmt: skip
    parser.add_argument(
        "--no-prefix-cache", dest="prefix_cache", action="store_false", default=None, help="keep them in memory only"
    )
    parser.add_argument(
        "--prefix-cache-bytes", type=int, metavar="N", help="the most bytes in that folder (default: 2 GiB)"
    )


def prefix_cache(args: argparse.Namespace) -> bool | str | None:
    """Return what `load` is to do with prompts: keep them by default, where that is possible.

    Raises:
        InvalidRequestError: the folder that the command line or the environment names cannot be used, or the number of
            bytes is out of range.
    """
    from santacoder.errors import InvalidRequestError
    from santacoder.prefixes.place import VARIABLE, find_place

    given: bool | str | None = args.prefix_cache
    if given is not None or os.environ.get(VARIABLE):
        find_place(given, args.prefix_cache_bytes, args.cache_dir)
        return given
    find_place(False, args.prefix_cache_bytes)  # it checks the number
    try:
        find_place(True, args.prefix_cache_bytes, args.cache_dir)
    except InvalidRequestError as error:
        add_note(args, f"prompts are kept in memory only: {error}")
        return False
    return True


def add_packed(parser: Arguments) -> None:
    """Add --packed."""
    parser.add_argument(
        "--packed", action="store_true",
        help="map the model's packed weights, which starts faster and shares memory; the first time, write them to "
        "the cache",
    )  # fmt: skip


def add_cache_dir(parser: Arguments) -> None:
    """Add --cache-dir."""
    parser.add_argument(
        "--cache-dir", metavar="DIR",
        help="the hub's cache, and that of converted checkpoints and packed weights within it (default: "
        "$HF_HUB_CACHE and $SANTACODER_CACHE, else the usual ones)",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def model_path(args: argparse.Namespace) -> str:
    """Find the GGUF file that --model or the environment names; without either, take the packaged one and note it.

    Raises:
        SantaCoderError: the download or the conversion failed, or the installation lacks the packaged model.
    """
    return resolve_model(model_name(args), model_options(args))


def model_name(args: argparse.Namespace) -> str | None:
    """Return the name that --model or the environment gives; note it if there is none."""
    name = args.model or os.environ.get(VARIABLE) or None
    if name is None:
        add_note(args, PACKAGED_NOTE)
    return name


def model_options(args: argparse.Namespace) -> ModelOptions:
    """Return what the command line says about the model beside its name."""
    from santacoder.conversion.find_model import ModelOptions

    return ModelOptions(
        type=args.type, revision=args.revision, cache_dir=args.cache_dir, token=args.token,
        local_files_only=args.local_files_only,
    )  # fmt: skip


def resolve_model(name: str | ModelName | None, options: ModelOptions | None = None) -> str:
    """Find the GGUF file that a name means: see `find_model`.

    Raises:
        SantaCoderError: the download or the conversion failed.
    """
    from santacoder.cli.stopping import orderly
    from santacoder.conversion.find_model import DEFAULTS, find_model
    from santacoder.sources.model_name import ModelName, parse_name

    meant = name if isinstance(name, ModelName) else parse_name(name)
    if meant.repo is not None:
        quiet_hub()
    with orderly():
        return find_model(meant, options or DEFAULTS, tell)


def load_model(path: str, args: argparse.Namespace) -> SantaCoder:
    """Load a file as --threads, --context and --packed say; errors are those of `santacoder.load`."""
    from santacoder import load

    return load(path, args.threads, args.context, packed=args.packed, cache_dir=args.cache_dir)


def tell(text: str) -> None:
    """Print a line about what is done, to standard error."""
    print(f"santacoder: {text}", file=sys.stderr)


def quiet_hub() -> None:
    """Show only errors of the hub's library, which would report each of its retries."""
    import logging

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def plain_text(value: str) -> str:
    """Return an option's value as it was given: the type of options whose value is any text."""
    return "--" if value == DASHES else value


def read_prompt(args: argparse.Namespace) -> str:
    """Return the argument, or read standard input if it is "-" or missing.

    Raises:
        UsageError: it is missing, and standard input is a terminal.
    """
    if args.prompt not in (None, "-"):
        return str(args.prompt)
    if args.prompt is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("there is no text: pass it as an argument, or - to type it")
    return read_stdin()


def read_stdin() -> str:
    """Read all of standard input, without a byte order mark.

    Raises:
        InvalidRequestError: it is not UTF-8.
        UsageError: it is closed.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    return decode_text(sys.stdin.buffer.read(), "standard input")


def read_text(name: str) -> str:
    """Read the text of a file, without a byte order mark.

    Raises:
        OSError: it cannot be read.
        InvalidRequestError: it is not UTF-8.
    """
    return decode_text(Path(name).read_bytes(), name)


def read_input(name: str) -> str:
    """Read the text of a file, or standard input if the name is "-": see `read_text` and `read_stdin`."""
    return read_stdin() if name == "-" else read_text(name)


def escaped(text: str) -> str:
    """Escape characters of a text from a file that are not printable, as they could control a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def mebibytes(count: int) -> str:
    """Format a number of bytes."""
    return f"{count / 2**20:.1f} MiB"


def write(text: str) -> None:
    """Print text unchanged and unbuffered, in UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def end_line(text: str) -> None:
    """End the last line of `text` on a terminal; elsewhere leave the output exact."""
    if sys.stdout.isatty() and not text.endswith("\n"):
        write("\n")


def print_json(value: object) -> None:
    """Print one JSON document; dataclasses become objects."""
    import json
    from dataclasses import asdict

    print(json.dumps(value, indent=2, default=asdict))


def print_json_line(value: Mapping[str, Any]) -> None:
    """Print one JSON document on a line, at once."""
    from santacoder._util.line_file import json_line

    write(json_line(value).decode())
