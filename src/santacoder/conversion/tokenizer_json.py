"""Reads a checkpoint's tokenizer files, and checks that they describe byte-level BPE with single digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder._util.json_file import parse_object, read_bytes, read_object
from santacoder._util.text_file import decode_text
from santacoder._util.validation import format_value, printable
from santacoder.errors import ModelFormatError

_FILE: Final = "tokenizer.json"
_VOCABULARY, _MERGES, _ADDED = "vocab.json", "merges.txt", "added_tokens.json"
#: Settings of the BPE model that change its tokens -> the values that each may have, if present.
_PLAIN_MODEL: Final[dict[str, tuple[object, ...]]] = {
    "dropout": (None, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
    "ignore_merges": (None, False),
}
#: Settings of an added token with which it also matches neighbouring characters.
_GREEDY: Final = ("lstrip", "rstrip", "single_word")
_JOINED_DIGITS: Final = re.compile(r"\d.|.\d", re.DOTALL)


@dataclass(frozen=True)
class AddedToken:
    """A token outside the BPE model.

    Attributes:
        id: its id.
        content: its spelling.
        special: whether it is a special token.
        normalized: whether it is matched after all tokens that are not; without a normalizer this is the only effect.
    """

    id: int
    content: str
    special: bool
    normalized: bool = False


@dataclass(frozen=True)
class TokenizerFiles:
    """The contents of the tokenizer's files.

    Attributes:
        vocabulary: token -> id, of the BPE model.
        merges: pairs of tokens joined by a space, in order of priority.
        added: the other tokens.
        json: the text of tokenizer.json, or None if there are only the older files.
    """

    vocabulary: Mapping[str, int]
    merges: list[str]
    added: list[AddedToken]
    json: str | None


def read_tokenizer(folder: Path, place: str) -> TokenizerFiles:
    """Read tokenizer.json or, if it is missing, vocab.json and merges.txt.

    The older files do not say how text is split, so they are accepted only if the vocabulary itself shows that digits
    were single tokens in training.

    Raises:
        ModelFormatError: there is none, or it is another kind of tokenizer; the difference is named.
    """
    if (folder / _FILE).is_file():
        data = read_bytes(folder / _FILE)
        return _texts(_parse(parse_object(data, _FILE), decode_text(data, _FILE, ModelFormatError)))
    if not (folder / _VOCABULARY).is_file() or not (folder / _MERGES).is_file():
        raise ModelFormatError(f"{place} has no tokenizer: neither {_FILE} nor {_VOCABULARY} with {_MERGES}")
    vocabulary = _vocabulary(read_object(folder / _VOCABULARY), _VOCABULARY)
    added = _vocabulary(read_object(folder / _ADDED), _ADDED) if (folder / _ADDED).is_file() else {}
    for token in vocabulary:
        if _JOINED_DIGITS.search(token):
            raise ModelFormatError(
                f"{_VOCABULARY} has the token {format_value(token)}, so digits are not split, but without {_FILE} only "
                "tokenizers with single digits are known"
            )
    lines = decode_text(read_bytes(folder / _MERGES), _MERGES, ModelFormatError).split("\n")
    merges = [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]
    return _texts(TokenizerFiles(vocabulary, merges, [AddedToken(i, text, True) for text, i in added.items()], None))


def _texts(files: TokenizerFiles) -> TokenizerFiles:
    """Return the files after checking that tokens are valid text: JSON allows lone surrogates, a GGUF file does not."""
    for token in (*files.vocabulary, *files.merges, *(token.content for token in files.added)):
        try:
            token.encode()
        except UnicodeEncodeError:
            raise ModelFormatError(
                f"the tokenizer's {format_value(token)} holds a lone surrogate, which is not valid Unicode"
            ) from None
    return files


def _error(problem: str) -> ModelFormatError:
    return ModelFormatError(f"{_FILE}: {problem}")


def _parse(values: Mapping[str, Any], text: str) -> TokenizerFiles:
    model = _object(values, "model")
    if model.get("type") != "BPE":
        raise _error(f"model.type is {format_value(model.get('type'))}, but only 'BPE' runs here")
    for key, allowed in _PLAIN_MODEL.items():
        if model.get(key) not in allowed:
            raise _error(f"model.{key} is {format_value(model[key])}, but only {allowed[-1]!r} runs here")
    if values.get("normalizer") is not None:
        raise _error("normalizer is there, but text must be taken as it is")
    _check_pre_tokenizer(values.get("pre_tokenizer"))
    _check_post_processor(values.get("post_processor"))
    decoder = values.get("decoder")
    if decoder is not None and not (isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"):
        raise _error(f"decoder is {_kind(decoder)}, but only ByteLevel, or none, runs here")
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise _error("model.merges is missing, or not a list")
    vocabulary = _vocabulary(model.get("vocab"), f"{_FILE}: model.vocab")
    return TokenizerFiles(vocabulary, [_merge(merge) for merge in merges], _added(values), text)


def _check_pre_tokenizer(value: object) -> None:
    """Require single digits, then byte level with GPT-2's pattern; absent options have the defaults of `tokenizers`."""
    parts = value.get("pretokenizers") if isinstance(value, dict) and value.get("type") == "Sequence" else None
    if isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, dict) for part in parts):
        digits, bytes_ = parts
        if (
            digits.get("type") == "Digits"
            and digits.get("individual_digits") is True
            and bytes_.get("type") == "ByteLevel"
            and bytes_.get("add_prefix_space") is False
            and bytes_.get("use_regex", True) is True
        ):
            return
    raise _error(
        f"pre_tokenizer is {_kind(value)}, but it must be Sequence of Digits with individual_digits and ByteLevel "
        "with use_regex and without add_prefix_space"
    )


def _check_post_processor(value: object) -> None:
    """Refuse a post-processor that adds tokens to a text: we add none."""
    waiting = [] if value is None else [value]
    while waiting:
        part = waiting.pop()
        values = part if isinstance(part, dict) else {}
        kind, inner = values.get("type"), values.get("processors")
        if kind == "Sequence" and isinstance(inner, list):
            waiting += inner
        elif kind == "TemplateProcessing":
            _check_template(values)
        elif kind != "ByteLevel":  # which only moves offsets
            raise _error(f"post_processor is {_kind(part)}, but only one that adds no tokens runs here")


def _check_template(values: Mapping[str, Any]) -> None:
    """Refuse a template that holds anything but the text, or both texts of a pair: it would add tokens."""
    single, pair = _pieces(values.get("single")), _pieces(values.get("pair"))
    for kind, name in (*single, *pair):
        if kind != "Sequence":
            raise _error(
                f"post_processor is TemplateProcessing with {format_value(name)}, but no token may be added to a text"
            )
    if single != [("Sequence", "A")]:
        raise _error(f"post_processor is {_kind(values)}, but its template for a single text must be only that text")


def _pieces(template: object) -> list[tuple[object, object]]:
    """Return the kind ("Sequence", "SpecialToken") and name of each piece of a template."""
    found: list[tuple[object, object]] = []
    for piece in template if isinstance(template, list) else []:
        kind, value = next(iter(piece.items()), (None, None)) if isinstance(piece, dict) else (None, piece)
        found.append((kind, value.get("id") if isinstance(value, dict) else value))
    return found


def _kind(value: object, depth: int = 2) -> str:
    """Describe a part of the tokenizer in a few words, down to `depth` levels."""
    if isinstance(value, dict) and isinstance(value.get("pretokenizers"), list):
        parts = (_kind(part, depth - 1) if depth else "..." for part in value["pretokenizers"])
        return f"Sequence of {', '.join(parts)}"[:200]
    if isinstance(value, dict):
        options = ", ".join(f"{key}={format_value(option)}" for key, option in value.items() if key != "type")
        return printable(f"{value.get('type')}({options})"[:200])
    return format_value(value, 200)


def _object(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise _error(f"{key} is missing, or not an object")
    return value


def _vocabulary(value: object, name: str) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ModelFormatError(f"{name} is missing, or not an object")
    for token, index in value.items():
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise ModelFormatError(
                f"{name} has the id {format_value(index)} for {format_value(token)}, but ids count from 0"
            )
    return value


def _merge(value: object) -> str:
    """Return a merge as "a b"; since tokenizers 0.20 it may be ["a", "b"]. Tokens spell a space as a symbol."""
    halves = value.split(" ") if isinstance(value, str) else value
    if not isinstance(halves, list) or len(halves) != 2 or not all(isinstance(h, str) and " " not in h for h in halves):
        raise _error(f"model.merges has the entry {format_value(value)}, not two tokens")
    return " ".join(halves)


def _added(values: Mapping[str, Any]) -> list[AddedToken]:
    entries = values.get("added_tokens") or []
    if not isinstance(entries, list):
        raise _error("added_tokens is not a list")
    added = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise _error(f"added_tokens has the entry {format_value(entry)}, not an object")
        index, content = entry.get("id"), entry.get("content")
        if isinstance(index, bool) or not isinstance(index, int) or index < 0 or not isinstance(content, str):
            raise _error(f"added_tokens has the entry {format_value(entry)}, without an id and a content")
        for option in _GREEDY:
            if entry.get(option):
                raise _error(f"added_tokens has {format_value(content)} with {option}, which does not run here")
        special = bool(entry.get("special"))
        added.append(AddedToken(index, content, special, bool(entry.get("normalized", not special))))
    return added
