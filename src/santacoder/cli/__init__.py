"""The `santacoder` command: one module per subcommand, each with `HELP`, `add_arguments` and `run`.

For a fast start, only the module of the given command is imported, and it imports what is slow only when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from santacoder._version import __version__
from santacoder.cli import options
from santacoder.errors import SantaCoderError

COMMANDS = ("complete", "infill", "info", "tokenize", "bench", "convert", "quantize", "eval")

FAILURE, USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141


class Parser(argparse.ArgumentParser):
    """A parser that reports mistakes in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and where to find help, and exit."""
        self.exit(USAGE, f"santacoder: {_one_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments after the program's name; None takes the process's own.

    Returns:
        The exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C, 141 for a closed pipe.
    """
    try:
        _check_streams()
        try:
            args = make_parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                args.run(args)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        return PIPE_CLOSED
    except Exception as error:
        _abandon_output()
        print(f"santacoder: {describe(error)}", file=sys.stderr)
        return USAGE if isinstance(error, options.UsageError) else FAILURE
    return status


def make_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Make the parser of the command that `argv` starts with, or else of all; `args.run` will be its function."""
    parser = Parser(prog="santacoder", description="Run the SantaCoder code model on a CPU.")
    parser.add_argument("--version", action="version", version=f"santacoder {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        module = importlib.import_module(f"santacoder.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def describe(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _one_line(f"{where}{error.strerror}")
    if isinstance(error, SantaCoderError | OSError | options.UsageError):
        return _one_line(str(error))
    if isinstance(error, MemoryError):
        return f"out of memory ({_one_line(str(error)) or 'no details'})"
    return _one_line(f"internal error, please report it: {type(error).__name__}: {error}")


def _check_streams() -> None:
    """Make standard output UTF-8 whatever the locale. Closed output is an error; a closed standard error is not.

    Raises:
        UsageError: standard output is closed.
    """
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    if sys.stdout is None:
        raise options.UsageError("standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _abandon_output() -> None:
    """Drop output that cannot be written, so that the interpreter does not complain about it at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"santacoder: warning: {_one_line(str(message))}", file=sys.stderr)
