"""`santacoder completion`: a script with which a shell completes commands, options and names of files."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Final

from santacoder.cli import options
from santacoder.errors import MissingPackageError

HELP = "print a script that completes commands and options in a shell"
SHELLS: Final = ("bash", "zsh", "fish")

#: What the names of values say that are files or folders.
_FILE: Final = re.compile(r"FILE|PATH|LIST|SOURCE|\.gguf")
_FOLDER: Final = re.compile(r"DIR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that will run it")


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        raise MissingPackageError("completion needs shtab: `pip install santacoder[completion]`") from None
    from santacoder.cli import make_parser

    parser = make_parser()
    for action in _actions(parser):
        metavar = str(action.metavar)
        if _FOLDER.search(metavar):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif _FILE.search(metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    options.write(shtab.complete(parser, args.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
