"""Lexemes of a text, and the grams that stand for it: calls of csrc/attribution with buffers of the right size."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder._util.validation import check_integer


class Winnowing(NamedTuple):
    """How grams are chosen: see `sc_winnowing` in csrc/attribution/attribution.h."""

    gram: int
    window: int
    least: int

    @property
    def guarantee(self) -> int:
        """Lexemes of the shortest run that always holds a chosen gram, if its grams have `least` different lexemes."""
        return self.gram + self.window - 1

    def check(self) -> None:
        """Check that C may be given these numbers.

        Raises:
            InvalidRequestError: one is out of range.
        """
        check_integer("gram", self.gram, 1, lib.SC_MAX_GRAM)
        check_integer("window", self.window, 1, lib.SC_MAX_WINDOW)
        check_integer("least", self.least, 0, lib.SC_MAX_GRAM)


#: Largest text in bytes, of a file or of what is checked: each lexeme has 20 bytes of working memory.
MAX_TEXT: Final = 4 << 20


@dataclass(frozen=True)
class Lexemes:
    """The lexemes of a text.

    Attributes:
        text: UTF-8, or what a file holds.
        starts: (n) the first byte of each.
        hashes: (n) equal for equal lexemes; with `renamed`, also for any two names, and any two numbers.
    """

    text: bytes
    starts: NDArray[np.uint32]
    hashes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.starts)

    def end(self, index: int) -> int:
        """Return the byte after a lexeme."""
        return lib.sc_lexeme_end(ffi.from_buffer("uint8_t *", self.text), len(self.text), int(self.starts[index]))

    def part(self, first: int, last: int) -> bytes:
        """Return the text of the lexemes first..last-1, with what is between them."""
        return self.text[int(self.starts[first]) : self.end(last - 1)]

    def words(self, first: int, end: int) -> list[bytes]:
        """Return the text of each of the lexemes first..end-1."""
        starts = self.starts[first : end + 1].tolist()
        if end >= len(self):
            starts.append(len(self.text))
        return [self.text[start:after].rstrip() for start, after in pairwise(starts)]

    def shared_run(self, at: int, other: Lexemes, other_at: int) -> tuple[int, int]:
        """Return first and end of the longest run around lexeme `at` that equals that around `other_at` of another."""
        before = ffi.new("size_t *")
        length = lib.sc_shared_run(
            ffi.from_buffer("uint64_t *", self.hashes), len(self),
            ffi.from_buffer("uint64_t *", other.hashes), len(other), at, other_at, before,
        )  # fmt: skip
        return at - before[0], at - before[0] + length


class Follower:
    """Winnows a text while it is written: pauses where a window chooses a gram.

    Attributes:
        state: an `sc_follower`; its `paused` says whether `read` returned before the end.
    """

    def __init__(self, how: Winnowing) -> None:
        self.state = ffi.new("sc_follower *")
        lib.sc_begin_following(self.state, ffi.new("sc_winnowing *", how))

    def read(self, text: bytes, at: int, ended: bool = False) -> int:
        """Go on from a byte of a part of the text, whose words before were read; the last one may go on until it ends.

        Return the end of the lexeme with which a gram is chosen or `wait` is over; if there is none, where the text
        ends that was read, white space included.
        """
        return lib.sc_follow(self.state, text, len(text), at, ended)

    def wait(self, lexemes: int) -> None:
        """Pause after so many lexemes, too; 0 takes back what was said before."""
        self.state.due = lexemes

    @property
    def is_due(self) -> bool:
        """Whether it paused since `wait` is over."""
        return bool(self.state.is_due)

    @property
    def start(self) -> int:
        """The first byte, in the part, of the lexeme after which it paused."""
        return self.state.start

    @property
    def key(self) -> int | None:
        """That of the gram for which it paused; None if it paused for another reason."""
        return self.state.key if self.state.chosen else None


class _Scratch(threading.local):
    """Buffers of this thread, for texts of up to `size` bytes."""

    size = -1

    def hold(self, size: int) -> None:
        if size > self.size:
            size = max(size, 1 << 16)
            self.starts, self.keys, self.firsts = (np.empty(size, np.uint32) for _ in range(3))
            self.hashes = np.empty(size, np.uint64)
            self.size = size


_scratch = _Scratch()


def split(text: bytes, *, renamed: bool = False) -> Lexemes:
    """Return the lexemes of a text of at most MAX_TEXT bytes."""
    count = _split(text, renamed)
    return Lexemes(text, _scratch.starts[:count].copy(), _scratch.hashes[:count].copy())


def winnow(hashes: NDArray[np.uint64], how: Winnowing) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the key of each chosen gram, and the index of its first lexeme, rising."""
    _scratch.hold(len(hashes))
    return _winnow(hashes, len(hashes), how)


class Fingerprints(NamedTuple):
    """What is stored of texts.

    Attributes:
        lexemes: (texts) how many each has.
        counts: (texts) how many grams of each are stored.
        keys: (grams) of these, one text after another.
        firsts: (grams) the index of the first lexeme of each, rising in each text.
    """

    lexemes: NDArray[np.uint32]
    counts: NDArray[np.uint32]
    keys: NDArray[np.uint32]
    firsts: NDArray[np.uint32]


def fingerprints(texts: Sequence[bytes], how: Winnowing, *, renamed: bool) -> Fingerprints:
    """Return what is stored of texts of at most MAX_TEXT bytes, by one call of C: other threads go on meanwhile."""
    sizes = [len(text) for text in texts]
    ends = np.cumsum(sizes, dtype=np.uint32)
    longest = max(sizes, default=0)
    assert longest <= MAX_TEXT
    _scratch.hold(longest)
    keys, firsts = (np.empty(sum(sizes), np.uint32) for _ in range(2))
    lexemes, counts = (np.empty(len(texts), np.uint32) for _ in range(2))
    starts, *others = (
        ffi.from_buffer("uint32_t *", each) for each in (_scratch.starts, lexemes, counts, keys, firsts)
    )  # fmt: skip
    found = lib.sc_fingerprints(
        b"".join(texts), ffi.from_buffer("uint32_t *", ends), len(texts), renamed, ffi.new("sc_winnowing *", how),
        starts, ffi.from_buffer("uint64_t *", _scratch.hashes), *others,
    )  # fmt: skip
    return Fingerprints(lexemes, counts, keys[:found].copy(), firsts[:found].copy())


def _split(text: bytes, renamed: bool) -> int:
    assert len(text) <= MAX_TEXT
    _scratch.hold(len(text))
    return lib.sc_lexemes(
        ffi.from_buffer("uint8_t *", text), len(text), renamed,
        ffi.from_buffer("uint32_t *", _scratch.starts), ffi.from_buffer("uint64_t *", _scratch.hashes),
    )  # fmt: skip


def _winnow(hashes: NDArray[np.uint64], count: int, how: Winnowing) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    chosen = lib.sc_winnow(
        ffi.from_buffer("uint64_t *", hashes), count, ffi.new("sc_winnowing *", how),
        ffi.from_buffer("uint32_t *", _scratch.keys), ffi.from_buffer("uint32_t *", _scratch.firsts),
    )  # fmt: skip
    return _scratch.keys[:chosen].copy(), _scratch.firsts[:chosen].copy()
