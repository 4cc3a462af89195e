"""The sampling options as flags of the commands that generate text, one flag for each declared option."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, Final

from santacoder.cli.options import UsageError, add_note, escaped, plain_text
from santacoder.decoding.option import Option
from santacoder.decoding.options import OPTIONS
from santacoder.gguf.sampling_defaults import SAMPLING_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from santacoder.decoding.results import Completion, Piece
    from santacoder.model import SantaCoder

#: Useful only in programs.
_NO_FLAG: Final = frozenset({"any_token", "lookup", "logits_processor", "prompt_logprobs", "stopping"})

#: argparse's type of each kind of number, and its name in the help.
_NUMBERS: Final[dict[str, tuple[type, str]]] = {"int": (int, "N"), "float": (float, "X")}


def _bias(text: str) -> tuple[int, float]:
    token, _, bias = text.partition("=")
    try:
        return int(token), float(bias)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=X") from None


_ESCAPES: Final = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}


def _unescaped(text: str) -> str:
    return re.sub(r"\\[nrt\\]", lambda found: _ESCAPES[found[0]], plain_text(text))


#: Options with several values take one at a time: its type for argparse, and its name in the help.
_REPEATED: Final[dict[str, dict[str, Any]]] = {
    "logit_bias": {"type": _bias, "metavar": "ID=X"},
    "stop": {"type": _unescaped, "metavar": "TEXT"},
    "stop_tokens": {"type": int, "metavar": "ID"},
}


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add all sampling options; those not given stay out of the namespace."""
    group = parser.add_argument_group("sampling")
    for option in OPTIONS.values():
        if option.name not in _NO_FLAG:
            group.add_argument(*flags(option), dest=option.name, default=argparse.SUPPRESS, **_behaviour(option))


def flags(option: Option) -> list[str]:
    """Return the names of an option's flag, the short one first; [] if it has no flag."""
    if option.name in _NO_FLAG:
        return []
    name = "stop_token" if option.name == "stop_tokens" else option.name  # repeatable, with one token each
    short = ["-n"] if option.name == "max_tokens" else []
    return [*short, f"--{name.replace('_', '-')}"]


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling options that were given, as keywords of `complete`; open the index of --attribution.

    Raises:
        UsageError: --logprobs without --json, which would not print them.
        SantaCoderError, OSError: the index cannot be used.
    """
    given = {name: value for name, value in vars(args).items() if name in OPTIONS}
    if "logprobs" in given and not args.json:
        raise UsageError("--logprobs needs --json: only JSON has a place for them")
    if "logit_bias" in given:
        given["logit_bias"] = dict(given["logit_bias"])
    if "attribution" in given:
        from santacoder.attribution.index import AttributionIndex

        given["attribution"] = AttributionIndex.open(given["attribution"])
    return given


def with_defaults(model: SantaCoder, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that were given, and those that the model's file recommends for the others."""
    return {**model.config.sampling_defaults, **given}


def note_attribution(args: argparse.Namespace, completion: Completion | Piece, name: str = "completion") -> None:
    """Have the matches of a finished text that are not common printed to standard error, after its output."""
    if completion.attribution is None:
        return
    from santacoder.attribution.report import as_text

    if completion.finish_reason == "attribution":
        subject = "the text" if name == "completion" else name
        add_note(args, f"{subject} ends here because it would have become a copy of a file in the index")
    for line in as_text(name, [match for match in completion.attribution if not match.common]).splitlines():
        add_note(args, escaped(line))


def _behaviour(option: Option) -> dict[str, Any]:
    """Return the keywords of `add_argument` for the type, name and help of a flag's value."""
    if option.type == "bool | None":
        return {"action": argparse.BooleanOptionalAction, "help": f"{option.help} (default: {option.unset})"}
    if option.kind == "bool":
        return {"action": "store_true", "help": option.help}
    if option.name in _REPEATED:
        limits = f" ({option.range})" if option.range else ""
        escapes = r"; \n, \r, \t and \\ are escapes" if option.name == "stop" else ""
        return {"action": "append", "help": f"{option.help}{escapes}; repeatable{limits}", **_REPEATED[option.name]}
    if option.name == "truncate":
        return {"choices": ["left"], "help": f"{option.help} (default: {option.unset})"}
    if option.name == "attribution":
        return {"metavar": "INDEX", "help": f"{option.help}: see santacoder attribute (default: {option.unset})"}
    if option.name == "on_match":
        return {"choices": ["report", "stop"], "help": f"{option.help} (default: {option.default})"}
    kind, metavar = _NUMBERS[option.kind]
    condition = "with --json: " if option.name == "logprobs" else ""
    default = f"the model file's, else {option.default}" if option.name in SAMPLING_KEYS else option.default
    limits = f"({option.range}, default: {option.unset or default})"
    return {"type": kind, "metavar": metavar, "help": f"{condition}{option.help} {limits}"}
