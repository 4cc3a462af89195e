"""Rows of contents and files, each with a CRC: a damaged row must never name a wrong source."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple

from santacoder.attribution.lexemes import MAX_TEXT
from santacoder.attribution.origins import Origin
from santacoder.errors import AttributionIndexError

TEXT_LEVEL: Final = 2  # of zlib; 1 makes texts 4% larger, and 3 takes 15% longer
BLOCK_BYTES: Final = 32 << 10  # of text that is compressed together; a longer text is a block of its own
MAX_BLOCK: Final = BLOCK_BYTES + MAX_TEXT


class Content(NamedTuple):
    """What one or more files hold.

    Attributes:
        id: the upper 32 bits say the lot, the lower ones how many lexemes of it come before.
        sha256: of the text.
        size: of the text in bytes.
        lexemes: of the text.
        files: how many files hold it.
        block: the id of the block that holds the text; -1 if the index has no texts.
        start: of the text in its block.
    """

    id: int
    sha256: bytes
    size: int
    lexemes: int
    files: int
    block: int = -1
    start: int = 0

    @property
    def crc(self) -> int:
        """What the row must state."""
        return zlib.crc32(repr(tuple(self)).encode())


class Place(NamedTuple):
    """A file: where it is, and which content it holds."""

    origin: Origin
    path: str
    content: int

    @property
    def crc(self) -> int:
        """What the row must state."""
        words = (*(getattr(self.origin, name) for name in Origin.__slots__), self.path, str(self.content))
        return zlib.crc32("\0".join(words).encode())


_COLUMNS: Final = ", ".join(Content._fields)


def checked_content(row: Any) -> Content:
    """Return the content in a row of _COLUMNS and crc.

    Raises:
        AttributionIndexError: it is damaged.
    """
    content = Content(*row[:-1])
    if content.crc != row[-1] or not isinstance(content.sha256, bytes):
        raise AttributionIndexError(f"content {content.id} is damaged")
    return content


def content_at(connection: sqlite3.Connection, position: int) -> Content | None:
    """Return the content that lexeme `position` (the id of a content plus an index in it) may belong to, or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, crc FROM content WHERE id <= ? ORDER BY id DESC LIMIT 1", (position,)
    ).fetchone()
    return None if row is None else checked_content(row)


def content_of(connection: sqlite3.Connection, sha256: bytes) -> Content | None:
    """Return the content with this digest, or None."""
    row = connection.execute(f"SELECT {_COLUMNS}, crc FROM content WHERE sha256 = ?", (sha256,)).fetchone()
    return None if row is None else checked_content(row)


def all_contents(connection: sqlite3.Connection) -> Iterable[Content]:
    """Return all contents by their ids."""
    return map(checked_content, connection.execute(f"SELECT {_COLUMNS}, crc FROM content ORDER BY id"))


def known_digests(connection: sqlite3.Connection, digests: Collection[bytes]) -> set[bytes]:
    """Return which of some digests, up to 10,000, are of contents that are there."""
    marks = ", ".join("?" * len(digests))
    rows = connection.execute(f"SELECT sha256 FROM content WHERE sha256 IN ({marks})", (*digests,))
    return {digest for (digest,) in rows}


def add_contents(connection: sqlite3.Connection, contents: Iterable[Content]) -> None:
    """Add contents."""
    rows = ((*content, content.crc) for content in contents)
    connection.executemany("INSERT INTO content VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def add_blocks(connection: sqlite3.Connection, first: int, blocks: Iterable[bytes]) -> None:
    """Add compressed texts, by rising numbers."""
    connection.executemany("INSERT INTO block VALUES (?, ?)", enumerate(blocks, first))


def replace_content(connection: sqlite3.Connection, content: Content) -> None:
    """Write a content whose number of files has changed."""
    connection.execute("UPDATE content SET files = ?, crc = ? WHERE id = ?", (content.files, content.crc, content.id))


def compress(texts: bytes) -> bytes:
    """Return a block as it is stored."""
    coder = zlib.compressobj(TEXT_LEVEL, zlib.DEFLATED, -15)
    return coder.compress(texts) + coder.flush()


def _decompress(connection: sqlite3.Connection, content: Content, most: int) -> bytes:
    """Return the first `most` bytes of the block of a content; nothing if it is damaged."""
    (stored,) = connection.execute("SELECT data FROM block WHERE id = ?", (content.block,)).fetchone() or (None,)
    if isinstance(stored, bytes) and 0 < most <= MAX_BLOCK:
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(-15).decompress(stored, most)
    return b""


def read_text(connection: sqlite3.Connection, content: Content) -> bytes:
    """Return the stored text of a content.

    Raises:
        AttributionIndexError: it is damaged.
    """
    text = _decompress(connection, content, content.start + content.size)[content.start :]
    if sha256(text).digest() != content.sha256:
        raise AttributionIndexError(f"the text of content {content.id} is damaged")
    return text


def erase_text(connection: sqlite3.Connection, content: Content) -> None:
    """Overwrite the stored text of a content with blanks."""
    block = _decompress(connection, content, MAX_BLOCK)
    erased = block[: content.start] + b" " * content.size + block[content.start + content.size :]
    connection.execute("UPDATE block SET data = ? WHERE id = ?", (compress(erased), content.block))


def places_of(connection: sqlite3.Connection, content: Content) -> list[Place]:
    """Return the files that hold a content.

    Raises:
        AttributionIndexError: one is damaged or missing.
    """
    rows = connection.execute(
        "SELECT name, revision, licence, licence_source, path, content, crc FROM file "
        "LEFT JOIN origin ON origin.id = file.origin LEFT JOIN repository ON repository.id = file.repository "
        "AND repository.id = origin.repository WHERE content = ?",
        (content.id,),
    ).fetchall()
    places = [checked_place(row) for row in rows]
    if len(places) != content.files or not places:
        raise AttributionIndexError(f"content {content.id} has {content.files} files, but {len(places)} are there")
    return places


def checked_place(row: Any) -> Place:
    """Return the file in a row: the parts of its origin, path, content and crc.

    Raises:
        AttributionIndexError: it is damaged.
    """
    *words, path, content, crc = row
    if all(isinstance(word, str) for word in (*words, path)):
        place = Place(Origin(*words), path, content)
        if place.crc == crc:
            return place
    raise AttributionIndexError(f"a file of content {content} is damaged")
