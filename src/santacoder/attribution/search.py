"""Finds the runs of lexemes that a text shares with the contents of an index, and makes matches of them.

The text is winnowed with a small window, which chooses every gram that the large window of the index would choose in
the same run, and more: those near the ends of a changed copy. A gram of the text and a posting of the same key lie on a
diagonal: a content, and the difference of their positions. Each diagonal is verified once, against the stored text.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from santacoder.attribution.boilerplate import COMMON_FILES, COMMON_REPOSITORIES, Run, common_lexemes, is_common
from santacoder.attribution.lexemes import MAX_TEXT, Lexemes, Winnowing, split, winnow
from santacoder.attribution.matches import MAX_SOURCES, Kind, Match, Source
from santacoder.attribution.postings import find_positions
from santacoder.attribution.renaming import renamed_run
from santacoder.attribution.rows import Content, Place, content_at, places_of, read_text
from santacoder.attribution.state import Shard, State
from santacoder.errors import AttributionIndexError

PROBE_WINDOW: Final = 8  # grams, of which a text looks up the least
MOST_POSITIONS: Final = 64  # of a gram that are looked at in a shard
MOST_RENAMED: Final = 8  # diagonals of a gram on which names are compared: code of one shape has very many
MOST_KNOWN: Final = 1 << 14  # grams that are known to be stored or not
CACHE_BYTES: Final = 64 << 20  # of lexemes and texts that are kept, 12 bytes for each lexeme


class _Diagonal(NamedTuple):
    """Where postings and grams of the text agree: a shard, and the position of the text's first lexeme in it."""

    shard: int
    position: int


class _Depth:
    """In how many files and repositories each lexeme of a text was found."""

    def __init__(self, count: int) -> None:
        self._files = np.zeros(count, np.int64)
        self._repositories = np.zeros(count, np.int64)
        self._seen: dict[str, NDArray[np.bool_]] = {}
        self._common = bytes(count)  # 1 for lexemes that are common: so they can be asked in no time

    def add(self, first: int, end: int, places: Sequence[Place]) -> None:
        """Count files in which lexemes first..end-1 stand."""
        self._files[first:end] += len(places)
        for name in {place.origin.repository for place in places}:
            seen = self._seen.setdefault(name, np.zeros(len(self._files), np.bool_))
            self._repositories[first:end] += ~seen[first:end]
            seen[first:end] = True
        common = (self._files >= COMMON_FILES) | (self._repositories >= COMMON_REPOSITORIES)
        self._common = common.tobytes()

    def is_common(self, first: int, end: int) -> bool:
        """Return whether all of the lexemes first..end-1 are known to be common."""
        return self._common.find(0, first, end) < 0


class ContentCache:
    """Lexemes of the contents that were read last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bool], Lexemes] = OrderedDict()
        self._bytes = 0

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = 0

    def lexemes(self, connection: sqlite3.Connection, content: Content, renamed: bool) -> Lexemes:
        """Return the lexemes of a content.

        Raises:
            AttributionIndexError: its text is damaged.
        """
        key = content.id, renamed
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = split(read_text(connection, content), renamed=renamed)
        if len(found) != content.lexemes:
            raise AttributionIndexError(f"content {content.id} has {len(found)} lexemes, not {content.lexemes}")
        self._kept[key] = found
        self._bytes += _weight(found)
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            self._bytes -= _weight(self._kept.popitem(last=False)[1])
        return found


def _weight(lexemes: Lexemes) -> int:
    return len(lexemes.text) + lexemes.starts.nbytes + lexemes.hashes.nbytes


class StoredGrams:
    """Whether an index holds the grams that were looked up last, by their keys."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def holds(self, connection: sqlite3.Connection, state: State, key: int) -> bool:
        """Return whether the index holds a gram of this key.

        Raises:
            AttributionIndexError, sqlite3.Error: the index is damaged.
        """
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = any(_positions(connection, shard, key) for shard in state.of_kind(False))
            self._known[key] = known
        return known


def _positions(connection: sqlite3.Connection, shard: Shard, key: int) -> list[int]:
    """Return the first positions of a key in a shard."""
    bucket = (shard.number << 32) + (key >> (32 - shard.bits))
    (data,) = connection.execute("SELECT data FROM posting WHERE id = ?", (bucket,)).fetchone() or (None,)
    return find_positions(data, shard.bits, key, MOST_POSITIONS)


@dataclass
class Memory:
    """What is kept from one search to the next.

    Attributes:
        grams: what was looked up.
        contents: what was read.
    """

    grams: StoredGrams = field(default_factory=StoredGrams)
    contents: ContentCache = field(default_factory=ContentCache)

    def clear(self) -> None:
        """Forget what may have changed."""
        self.grams.clear()
        self.contents.clear()


class Search:
    """Searches for one text, in one transaction of the reader."""

    def __init__(self, connection: sqlite3.Connection, state: State, memory: Memory, text: bytes) -> None:
        assert len(text) <= MAX_TEXT
        self._connection, self._state, self._memory = connection, state, memory
        self._text = text
        self._removed = dict(state.removed)
        self._places: dict[int, list[Place]] = {}

    def matches(self, min_length: int, *, renamed: bool = True) -> list[Match]:
        """Return the spans of at least `min_length` lexemes that stand in the index, by their start.

        Raises:
            AttributionIndexError, sqlite3.Error: the index is damaged.
        """
        text = split(self._text)
        found = []
        if self._may_match(text, min_length):
            found = self._spans(text, self._runs(text, False), min_length)
        if renamed and self._state.renamed is not None:
            text = split(self._text, renamed=True)
            runs = self._runs(text, True)
            found += self._spans(text, runs, min_length, [(first, end) for _, first, end in found])
        return [match for match, *_ in sorted(found, key=lambda each: (each[1], -each[2]))]

    def _may_match(self, text: Lexemes, min_length: int) -> bool:
        """Return False if there is no verbatim match: none of the grams is stored that each would have to share."""
        how = self._state.exact
        if min_length < how.guarantee or not self._state.texts:
            return True
        keys = winnow(text.hashes, how)[0].tolist()
        return any(self._memory.grams.holds(self._connection, self._state, key) for key in keys)

    def _runs(self, text: Lexemes, renamed: bool) -> list[Run]:
        """Return the runs of a kind, of a gram or more."""
        how = self._state.winnowing(renamed)
        shards = self._state.of_kind(renamed)
        hits = self._hits(text, shards, how)
        depth = _Depth(len(text))
        tries: Counter[int] = Counter()
        runs: dict[tuple[int, int], Run] = {}
        held: dict[int, list[Run]] = {}
        for diagonal in sorted(hits, key=lambda each: (-len(hits[each]), each)):
            first, last = hits[diagonal][0], hits[diagonal][-1] + how.gram
            if depth.is_common(first, last):
                continue  # more sources would only make it more common
            reached = 0
            for at in hits[diagonal]:
                tries[at] += 1
                if at < reached or (renamed and tries[at] > MOST_RENAMED):
                    continue
                run = self._verified(text, shards[diagonal.shard], diagonal.position, at, last, how, renamed)
                if run is None or (run.content.id, run.first + run.shift) in runs:
                    continue
                runs[run.content.id, run.first + run.shift] = run
                others = held.setdefault(run.content.id, [])
                if not any(other.covers(run.first, run.end) for other in others):
                    depth.add(run.first, run.end, self._places_of(run.content))
                others.append(run)
                reached = run.end - how.gram + 1
        return list(runs.values())

    def _places_of(self, content: Content) -> list[Place]:
        if content.id not in self._places:
            self._places[content.id] = places_of(self._connection, content)
        return self._places[content.id]

    def _hits(self, text: Lexemes, shards: Sequence[Shard], how: Winnowing) -> dict[_Diagonal, list[int]]:
        """Return the chosen grams of the text that agree with postings, by diagonal; each is its first lexeme."""
        keys, firsts = winnow(text.hashes, how._replace(window=min(PROBE_WINDOW, how.window)))
        hits: dict[_Diagonal, list[int]] = {}
        for number, shard in enumerate(shards):
            for key, first in zip(keys.tolist(), firsts.tolist(), strict=True):
                for position in _positions(self._connection, shard, key):
                    hits.setdefault(_Diagonal(number, position - first), []).append(first)
        return hits

    def _verified(
        self, text: Lexemes, shard: Shard, position: int, at: int, last: int, how: Winnowing, renamed: bool
    ) -> Run | None:
        """Return the run around gram `at` on a diagonal, which is known to reach `last`; None if there is none."""
        place = shard.content_position(position + at)
        content = content_at(self._connection, place)
        if content is None or place - content.id >= content.lexemes:
            if any(start <= place < start + count for start, count in self._removed.items()):
                return None
            raise AttributionIndexError(f"the content of position {place} is missing")
        shift = place - content.id - at
        if not self._state.texts:
            return Run(at, last, content, None, shift) if last - at > how.gram else None
        source = self._memory.contents.lexemes(self._connection, content, renamed)
        first, end = text.shared_run(at, source, at + shift)
        if end - at < how.gram:
            return None  # only the keys were the same
        if renamed:
            found = renamed_run(text, source, shift, (at, at + how.gram), (first, end))
            if found is None:
                return None
            first, end = found
        return Run(first, end, content, source, shift)

    def _spans(
        self, text: Lexemes, runs: list[Run], min_length: int, verbatim: Sequence[tuple[int, int]] | None = None
    ) -> list[tuple[Match, int, int]]:
        """Return matches, each with its first and end lexeme: the longest runs, none within another.

        The runs are of renamed lexemes if there are spans of `verbatim` matches, which are not to be repeated.
        """
        common = common_lexemes(len(text), runs, self._places)
        found: list[tuple[Match, int, int]] = []
        for run in sorted(runs, key=lambda run: (run.first - run.end, run.first)):
            first, end = run.first, run.end
            if end - first < min_length:
                break
            if any(m <= first and end <= n for _, m, n in found):
                continue
            if 2 * sum(max(0, min(end, n) - max(first, m)) for m, n in verbatim or ()) > end - first:
                continue
            sources = [each for each in runs if each.covers(first, end)]
            own = int((~common[first:end]).sum())
            start, stop = int(text.starts[first]), text.end(end - 1)
            named = self._sources(text.text[start:stop], first, end, sources, renamed=verbatim is not None)
            match = Match(
                start=characters(text.text, start),
                end=characters(text.text, stop),
                start_line=line_of(text.text, start),
                end_line=line_of(text.text, stop - 1),
                lexemes=end - first,
                own=own,
                kind=named[0].kind,
                common=is_common(text, first, end, own, min_length),
                files=len(named),
                sources=tuple(named[:MAX_SOURCES]),
            )
            found.append((match, first, end))
        return found

    def _sources(self, span: bytes, first: int, end: int, runs: Sequence[Run], *, renamed: bool) -> list[Source]:
        """Return the files in which lexemes first..end-1 stand, whose text is `span`: exact copies first."""
        contents: dict[int, tuple[Kind, tuple[int, int]]] = {}
        for run in runs:
            kind: Kind = "unverified"
            lines = (0, 0)
            if run.source is not None:
                begin = int(run.source.starts[first + run.shift])
                after = run.source.end(end - 1 + run.shift)
                same = run.source.text[begin:after] == span
                kind = "exact" if same else "renamed" if renamed else "whitespace"
                lines = line_of(run.source.text, begin), line_of(run.source.text, after - 1)
            if run.content.id not in contents or kind == "exact":
                contents[run.content.id] = kind, lines
        sources = [
            Source(
                place.origin.repository, place.path, place.origin.revision, place.origin.licence,
                place.origin.licence_source, *lines, kind,
            )
            for number, (kind, lines) in contents.items()
            for place in self._places[number]
        ]  # fmt: skip
        sources.sort(key=lambda source: (source.kind != "exact", source.repository, source.path))
        return sources


def characters(text: bytes, end: int) -> int:
    """Return how many characters the first `end` bytes hold."""
    part = text[:end]
    return len(part) if part.isascii() else len(part.decode("utf-8", "replace"))


def line_of(text: bytes, at: int) -> int:
    """Return the line of a byte, from 1."""
    return text.count(b"\n", 0, at) + 1
