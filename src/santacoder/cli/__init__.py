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
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from santacoder._version import __version__
from santacoder.cli import options
from santacoder.errors import SantaCoderError

COMMANDS = (
    "complete", "infill", "serve", "models", "download", "cache", "info", "selftest", "tokenize", "bench", "convert",
    "quantize", "pack", "eval", "attribute", "completion",
)  # fmt: skip

FAILURE, USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141

EPILOG = "santacoder COMMAND --help shows the options of a command, and so does santacoder help COMMAND."

#: Options whose value is any text, also one that begins with a dash.
TEXT_OPTIONS = frozenset({"--stop", "--prefix", "--suffix", "--marker"})


class Parser(argparse.ArgumentParser):
    """A parser that reports mistakes in one line, and that knows which command was meant."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the arguments; a mistake ends the process, with a message that names the command's own help."""
        words = sys.argv[1:] if args is None else args
        found, unknown = self.parse_known_args(_with_values(words), namespace)
        if unknown:
            hint = f"; a text that begins with a dash comes after --: {found.prog} -- TEXT" if "prompt" in found else ""
            found.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found

    def error(self, message: str) -> NoReturn:
        """Print the mistake and where to find help, and exit."""
        self.exit(USAGE, f"santacoder: {_one_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None, make: Callable[[], argparse.ArgumentParser] | None = None) -> int:
    """Run the command line, or another one whose parser `make` makes.

    Args:
        argv: the arguments after the program's name; None takes the process's own.
        make: makes the parser; its `run` is called with the arguments.

    Returns:
        The exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C, 141 for a closed pipe.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if make is None:
        words = _as_options(words)
    args = argparse.Namespace()
    try:
        _check_streams()
        try:
            (make_parser(words) if make is None else make()).parse_args(words, args)
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                args.run(args)
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        sys.stdout.flush()
        for note in getattr(args, "notes", ()) if status == 0 else ():
            print(f"santacoder: {note}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        return PIPE_CLOSED
    except Exception as error:
        _abandon_output()
        wrong_usage = isinstance(error, options.UsageError)
        see = f" (see {args.prog} --help)" if wrong_usage and "prog" in args else ""
        print(f"santacoder: {describe(error)}{see}", file=sys.stderr)
        return USAGE if wrong_usage else FAILURE
    return status


def make_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Make the parser of the command that `argv` starts with, or else of all; `args.run` will be its function."""
    parser = Parser(prog="santacoder", description="Run the SantaCoder code model on a CPU.", epilog=EPILOG)
    parser.add_argument(
        "-V", "--version", action="version", version=f"santacoder {__version__}", help="show the version and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        module = importlib.import_module(f"santacoder.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
        options.remember_parser(command)
    return parser


def _as_options(words: Sequence[str]) -> list[str]:
    """Return the words with `--help` in place of `help` or of nothing."""
    given = list(words)
    if given[:1] == ["help"]:
        return [*given[1:], "--help"]
    return given or ["--help"]


def _with_values(words: Sequence[str]) -> list[str]:
    """Return the words, with each of TEXT_OPTIONS and a value that begins with a dash joined to one word."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*joined, word, *rest]
        value = next(rest, None) if word in TEXT_OPTIONS else None
        joined += [word] if value is None else [f"{word}={options.DASHES if value == '--' else value}"]
    return joined


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
