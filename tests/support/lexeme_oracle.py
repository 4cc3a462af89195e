"""Lexemes, their hashes and the choice of grams, written from their definition in csrc/attribution/attribution.h."""

from __future__ import annotations

import keyword
import re

_LEXEME = re.compile(rb"[A-Za-z0-9_$\x80-\xff]+|[^ \t\n\v\f\r]")
_MASK = 2**64 - 1
_NAME, _NUMBER = 0x1D8E4E27C47D124F, 0xEB44ACCAB455D165

_JAVA_AND_JAVASCRIPT = (
    "abstract assert boolean break byte case catch char class const continue debugger default delete do double "
    "else enum export extends false final finally float for function global if implements import in instanceof "
    "int interface lambda let long native new null package private protected public raise return short static "
    "strictfp super switch synchronized this throw throws transient true try typeof undefined var void "
    "volatile while with yield get set"
)
#: What `renamed` keeps; Python's soft keywords are names.
KEYWORDS = frozenset(word.encode() for word in (*keyword.kwlist, *_JAVA_AND_JAVASCRIPT.split()))


def lexemes(text: bytes) -> list[tuple[int, bytes]]:
    """Start and bytes of each lexeme."""
    return [(found.start(), found[0]) for found in _LEXEME.finditer(text)]


def lexeme_hash(lexeme: bytes) -> int:
    value = len(lexeme) * 0x9E3779B97F4A7C15 & _MASK
    for at in range(0, len(lexeme), 8):
        value = (value ^ int.from_bytes(lexeme[at : at + 8], "little")) * 0xD6E8FEB86659FD93 & _MASK
        value ^= value >> 32
    return value


def renamed_hash(lexeme: bytes) -> int:
    if not re.fullmatch(rb"[A-Za-z0-9_$\x80-\xff]+", lexeme) or lexeme in KEYWORDS:
        return lexeme_hash(lexeme)
    return _NUMBER if lexeme[:1].isdigit() else _NAME


def _mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def _gram_hash(gram: list[int], least: int) -> int:
    """The hash that windows compare; the largest if the gram has too few different lexemes (by 12 bits of each)."""
    value = 0
    for each in gram:
        value = (value * 0x5851F42D4C957F2D + each) & _MASK
    return _MASK if len({each >> 52 for each in gram}) < least else _mix(value)


def winnow(hashes: list[int], gram: int, window: int, least: int) -> list[tuple[int, int]]:
    """Key and first lexeme of each chosen gram."""
    values = [_gram_hash(hashes[at : at + gram], least) for at in range(len(hashes) - gram + 1)]
    chosen = set()
    for at in range(max(len(values) - window, 0) + 1 if values else 0):
        part = values[at : at + window]
        if min(part) != _MASK:
            chosen.add(at + max(place for place, value in enumerate(part) if value == min(part)))
    return [(_mix(values[at]) >> 32, at) for at in sorted(chosen)]
