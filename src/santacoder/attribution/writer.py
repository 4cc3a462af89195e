"""Writes an index: one process at a time, in transactions that a kill at any moment leaves done or undone."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from santacoder._util.file_lock import check_locks, lock_file
from santacoder._util.validation import printable
from santacoder.attribution.rows import Content, Place, content_at, erase_text, replace_content
from santacoder.attribution.state import State
from santacoder.attribution.store import (
    PAGE_BYTES,
    connect,
    create_tables,
    index_errors,
    open_index,
    read_state,
    write_state,
)
from santacoder.errors import AttributionIndexError, InvalidRequestError

MOST_IDS: Final = 10_000  # of rows that are kept in memory
MOST_FREE: Final = 0.02  # of the pages of an index


@dataclass
class Writer:
    """An index that only this process is writing; a transaction is always open.

    Attributes:
        connection: to its file.
        state: what it says of itself, written by `commit`.
    """

    connection: sqlite3.Connection
    state: State
    _ids: dict[tuple[str | int, ...], int] = field(default_factory=dict)  # of repositories and origins

    def begin(self) -> None:
        """Open a transaction."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make what was written permanent, and open the next transaction."""
        write_state(self.connection, self.state)
        self.connection.execute("COMMIT")
        self.begin()

    def shrink(self) -> None:
        """Commit, and give back to the system what merged shards and removed texts have left free, if it is much."""
        self.commit()
        (free,), (pages,) = (
            self.connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count")
        )
        if free > MOST_FREE * pages:
            self.connection.execute("COMMIT")
            self.connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free only one page
            self.begin()

    def add_place(self, place: Place, *, new: bool = False) -> bool:
        """Add a file, in place of the one that its repository had at this path; return whether anything changed.

        `new` says that the caller adds the content, with its number of files, when all of them are added.
        """
        repository = self._id("repository", ("name",), (place.origin.repository,))
        origin = self._id(
            "origin",
            ("repository", "revision", "licence", "licence_source"),
            (repository, place.origin.revision, place.origin.licence, place.origin.licence_source),
        )
        insert = "INSERT INTO file(repository, path, content, origin, crc) VALUES (?, ?, ?, ?, ?) "
        insert += "ON CONFLICT DO NOTHING"
        row = (repository, place.path, place.content, origin, place.crc)
        old = None
        if self.connection.execute(insert, row).rowcount == 0:
            old = self.connection.execute(
                "SELECT id, content, crc FROM file WHERE repository = ? AND path = ?", row[:2]
            ).fetchone()
            if old is None:
                raise AttributionIndexError("its tables contradict each other")
            if old[1:] == (place.content, place.crc):
                return False
        if not new:
            self._count_file(place.content, 1)
        if old is not None:
            self.remove_file(old[0], old[1])
            self.connection.execute(insert, row)
        self.state.files += 1
        return True

    def remove_file(self, number: int, content: int) -> None:
        """Remove a file, and its content if no other file holds it."""
        self.connection.execute("DELETE FROM file WHERE id = ?", (number,))
        self.state.files -= 1
        self._count_file(content, -1)

    def _count_file(self, number: int, more: int) -> None:
        content = content_at(self.connection, number)
        if content is None or content.id != number:
            raise AttributionIndexError(f"content {number} is missing")
        content = content._replace(files=content.files + more)
        if content.files > 0:
            replace_content(self.connection, content)
        elif more < 0:
            self._remove_content(content)

    def _remove_content(self, content: Content) -> None:
        self.connection.execute("DELETE FROM content WHERE id = ?", (content.id,))
        if content.block >= 0:
            erase_text(self.connection, content)
        self.state.removed.append((content.id, content.lexemes))
        self.state.contents -= 1
        self.state.size -= content.size
        self.state.lexemes -= content.lexemes

    def _id(self, table: str, columns: tuple[str, ...], values: tuple[str | int, ...]) -> int:
        """Return the id of a row, added if need be."""
        known = self._ids.get(values)
        if known is not None:
            return known
        found = self.connection.execute(
            f"SELECT id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}", values
        ).fetchone()
        if found is None:
            marks = ", ".join("?" * len(values))
            insert = f"INSERT INTO {table}({', '.join(columns)}) VALUES ({marks}) RETURNING id"
            found = self.connection.execute(insert, values).fetchone()
        if len(self._ids) >= MOST_IDS:
            self._ids.clear()
        self._ids[values] = int(found[0])
        return self._ids[values]


@contextlib.contextmanager
def open_writer(path: Path, new: State | None = None) -> Iterator[Writer]:
    """Open an index to write it; what is not committed when the block ends is undone.

    Args:
        path: of the index.
        new: what to create if the index is missing; None needs one.

    Raises:
        InvalidRequestError: another process is writing it, or the path is not one of a file.
        AttributionIndexError: the file is damaged, or not an index.
        OSError: it cannot be written.
    """
    with _sole_writer(path), index_errors(path):
        if new is not None and not path.exists():
            _create(path, new)
        connection = open_index(path, "rw")
        try:
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}")
            writer = Writer(connection, State())
            writer.begin()
            writer.state = read_state(connection)
            yield writer
        finally:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                connection.execute("PRAGMA busy_timeout=0")
                connection.execute("PRAGMA journal_mode=DELETE")  # one file again, unless someone is reading
            connection.close()


def _create(path: Path, state: State) -> None:
    """Make an empty index under another name first, so that there is never half of one. Only its owner may read it."""
    temporary = path.with_name(f".{path.name[:40]}-{secrets.token_hex(4)}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        connection = connect(temporary, "rw")
        try:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("BEGIN IMMEDIATE")
            create_tables(connection, state)
            connection.execute("COMMIT")
        finally:
            connection.close()
        os.link(temporary, path)  # unlike a rename this never replaces a file
    finally:
        temporary.unlink()


@contextlib.contextmanager
def _sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock of an index: a file beside it, which disappears with the writer.

    The index itself will not do: closing it here would release the locks that SQLite has on it.

    Raises:
        InvalidRequestError: another process holds it, or the system has no locks on files.
    """
    check_locks(f"writing the index {printable(str(path))}")
    name = path.with_name(f"{path.name}-lock")
    while True:
        descriptor = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not lock_file(descriptor):
            os.close(descriptor)
            raise InvalidRequestError(f"another process is writing the index {printable(str(path))}")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                break
        os.close(descriptor)  # its last holder has removed it meanwhile
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(descriptor)
