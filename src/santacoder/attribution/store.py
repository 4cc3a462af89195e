"""The SQLite file of an index: its tables, opened so that a damaged or hostile file can only be refused."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from santacoder._util.validation import printable, why_bad_path
from santacoder.attribution.state import State, decode_state
from santacoder.errors import AttributionIndexError, InvalidRequestError

APPLICATION: Final = 0x53434958  # "SCIX"
FORMAT: Final = 1
WAIT_SECONDS: Final = 60.0  # for another process to finish what must not be seen halfway
PAGE_BYTES: Final = 4096  # larger ones leave more of themselves unused

SCHEMA: Final = {
    "state": "CREATE TABLE state(id INTEGER PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL)",
    "repository": "CREATE TABLE repository(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "origin": "CREATE TABLE origin(id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, revision TEXT NOT NULL, "
    "licence TEXT NOT NULL, licence_source TEXT NOT NULL, UNIQUE(repository, revision, licence, licence_source))",
    "content": "CREATE TABLE content(id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, "
    "lexemes INTEGER NOT NULL, files INTEGER NOT NULL, block INTEGER NOT NULL, start INTEGER NOT NULL, "
    "crc INTEGER NOT NULL)",
    "block": "CREATE TABLE block(id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "file": "CREATE TABLE file(id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, path TEXT NOT NULL, "
    "content INTEGER NOT NULL, origin INTEGER NOT NULL, crc INTEGER NOT NULL, UNIQUE(repository, path))",
    "file_content": "CREATE INDEX file_content ON file(content)",
    "posting": "CREATE TABLE posting(id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
}


@contextlib.contextmanager
def index_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in errors of an index, and turn SQLite's own into ours.

    Raises:
        AttributionIndexError: the file is damaged, or not an index.
        InvalidRequestError: another process is writing it.
        OSError: it cannot be read or written.
    """
    name = printable(os.fspath(path))
    try:
        yield
    except AttributionIndexError as error:
        said = str(error)
        raise (error if said.startswith(name) else AttributionIndexError(f"{name}: {said}")) from None
    except sqlite3.Error as error:
        said = str(error)
        if "locked" in said:
            raise InvalidRequestError(f"another process is writing the index {name}") from None
        for part, number in (("full", errno.ENOSPC), ("unable to open", errno.EACCES), ("readonly", errno.EROFS)):
            if part in said:
                raise OSError(number, os.strerror(number), os.fspath(path)) from None
        raise AttributionIndexError(f"{name}: the index is damaged ({said})") from None
    except (UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise AttributionIndexError(f"{name}: the index is damaged ({error or 'a value is too large'})") from None


def check_regular(path: str | os.PathLike[str]) -> None:
    """Check that a path leads to a regular file, without opening it.

    Raises:
        InvalidRequestError: it does not.
        OSError: there is nothing, or it cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError:
        raise InvalidRequestError(f"{os.fspath(path)!r} {why_bad_path(Path(path))}") from None
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such index", os.fspath(path)) from None
    if not stat.S_ISREG(mode):
        raise InvalidRequestError(f"{printable(os.fspath(path))} is not a file, so it is not an index")


def connect(path: str | os.PathLike[str], mode: str) -> sqlite3.Connection:
    """Open a file with SQLite, in autocommit mode: "ro" or "rw". Threads may use the connection one at a time."""
    uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
    if mode == "ro" and not os.access(Path(path).absolute().parent, os.W_OK):
        uri += "&immutable=1"  # nobody can write it, and SQLite could not make the files that it shares with writers
    connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:  # the file is not a database
        connection.close()
        raise
    return connection


def check_format(connection: sqlite3.Connection) -> None:
    """Check that the file is an index of this format.

    Raises:
        AttributionIndexError: it is not.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise AttributionIndexError("this SQLite file is not an attribution index")
    if version != FORMAT:
        raise AttributionIndexError(f"the index has format {version}, but this version reads format {FORMAT}")
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if found != SCHEMA:
        raise AttributionIndexError("its tables are not those of an index")


def open_index(path: str | os.PathLike[str], mode: str = "ro") -> sqlite3.Connection:
    """Open an index that exists: "ro" to read it, "rw" to write it.

    Raises:
        AttributionIndexError, InvalidRequestError, OSError: see `index_errors` and `check_regular`.
    """
    check_regular(path)
    with index_errors(path):
        try:
            return _checked(connect(path, mode))
        except sqlite3.OperationalError as error:
            if mode != "ro" or "readonly" not in str(error):
                raise
        connection = _checked(connect(path, "rw"))  # a writer was killed: SQLite must tidy up after it
        connection.execute("PRAGMA query_only=ON")
        return connection


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the connection if it is one to an index; else close it."""
    try:
        check_format(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection, state: State) -> None:
    """Make an empty index of an empty file, in the transaction that is open."""
    for statement in SCHEMA.values():
        connection.execute(statement)
    connection.execute("INSERT INTO state VALUES (1, '', 0)")
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    write_state(connection, state)


def read_state(connection: sqlite3.Connection) -> State:
    """Return what the index says of itself.

    Raises:
        AttributionIndexError: that is damaged.
    """
    return decode_state(*(connection.execute("SELECT value, crc FROM state WHERE id = 1").fetchone() or (None, None)))


def write_state(connection: sqlite3.Connection, state: State) -> None:
    """Replace what the index says of itself."""
    connection.execute("UPDATE state SET value = ?, crc = ? WHERE id = 1", state.encode())
