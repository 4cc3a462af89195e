"""An index that is open for searching."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from santacoder._util.fork import watch_forks
from santacoder._util.validation import check_integer
from santacoder.attribution.lexemes import MAX_TEXT, Winnowing
from santacoder.attribution.matches import Match
from santacoder.attribution.search import Memory, Search
from santacoder.attribution.state import EXACT, State
from santacoder.attribution.store import index_errors, open_index, read_state
from santacoder.errors import AttributionIndexError, InvalidRequestError


class AttributionIndex:
    """An attribution index, open for searching. Threads may share it; it is also a context manager.

    Another process may write the index meanwhile: each search sees it as it was before or after a transaction.
    """

    def __init__(self, path: str | os.PathLike[str], connection: sqlite3.Connection, state: State) -> None:
        """Use `open` instead."""
        self._path = os.fspath(path)
        self._connection: sqlite3.Connection | None = connection
        self._finalizer = self._close_when_gone(connection)
        self._state = state
        self._version: Any = None  # of the file, as this connection has seen it
        self._memory = Memory()
        self._lock = threading.Lock()
        watch_forks(self)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> AttributionIndex:
        """Open an index to search it.

        Raises:
            AttributionIndexError: the file is damaged, or not an index of this format.
            InvalidRequestError: the path is not one of a file.
            OSError: it cannot be read.
        """
        connection = open_index(path)
        with index_errors(path):
            try:
                return cls(path, connection, read_state(connection))
            except BaseException:
                connection.close()
                raise

    @property
    def guarantee(self) -> int:
        """Lexemes of the shortest span that is always found, unless it has hardly any variety."""
        return self._state.exact.guarantee

    @property
    def winnowing(self) -> Winnowing:
        """How the grams of lexemes were chosen."""
        return self._state.exact

    @property
    def is_verbatim(self) -> bool:
        """Whether each match of the guaranteed length holds a gram that is stored: nothing else is looked for."""
        return self._state.texts and self._state.renamed is None

    def holds(self, keys: Sequence[int], *, fresh: bool = True) -> bool:
        """Return whether a gram with one of these keys is stored: then a search will say where.

        Args:
            keys: of the grams.
            fresh: whether what was written since the last call counts; a call without that takes half the time.

        Raises:
            InvalidRequestError: the index is closed.
            AttributionIndexError: the index is damaged, or cannot be read.
        """
        with self._lock, index_errors(self._path):
            if not fresh and self._connection is not None:
                with suppress(AttributionIndexError):  # unless a writer has replaced a shard, buckets never change
                    return any(self._memory.grams.holds(self._connection, self._state, key) for key in keys)
            with self._transaction() as connection:
                return any(self._memory.grams.holds(connection, self._state, key) for key in keys)

    def find(self, text: str, min_length: int = EXACT.guarantee, *, renamed: bool = True) -> list[Match]:
        """Return the spans of a text that stand in the corpus, by their start; also common ones, marked as such.

        Args:
            text: of at most 4 MiB in UTF-8.
            min_length: of a span in lexemes, from the length of a gram on (16). Below `guarantee`, spans may be missed.
            renamed: whether to look for copies with other names, if the index was made for it.

        Raises:
            InvalidRequestError: an argument is not what it must be, or the index is closed.
            AttributionIndexError: the index is damaged.
        """
        if not isinstance(text, str):
            raise InvalidRequestError(f"the text is a {type(text).__name__}, but it must be a str")
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > MAX_TEXT:
            raise InvalidRequestError(f"the text has {len(data)} bytes, but at most {MAX_TEXT} can be checked")
        with self._lock, index_errors(self._path), self._transaction() as connection:
            check_integer("min_length", min_length, self._state.exact.gram, None)
            return Search(connection, self._state, self._memory, data).matches(min_length, renamed=renamed)

    def state(self) -> State:
        """Return what the index says of itself."""
        with self._lock, index_errors(self._path), self._transaction():
            return self._state

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Read everything as it is now, also if another process goes on writing."""
        if self._connection is None:
            raise InvalidRequestError(f"the index {self._path} is closed")
        connection = self._connection
        connection.execute("BEGIN")
        try:
            version = connection.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._state = read_state(connection)
                self._memory.clear()
                self._version = version
            yield connection
        finally:
            connection.execute("ROLLBACK")

    def after_fork(self) -> None:
        """Open the file anew: SQLite forbids to use a connection in a child process."""
        self._lock = threading.Lock()
        if self._connection is not None:
            self._finalizer.detach()
            # To close the parent's connection here would release its locks, and so would its end: it gets none.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = open_index(self._path)
            self._finalizer = self._close_when_gone(self._connection)
            self._version = None

    def _close_when_gone(self, connection: sqlite3.Connection) -> weakref.finalize[[], AttributionIndex]:
        # From Python 3.13 on SQLite warns of a connection that ends open. In a ring of objects that nobody has any
        # more, it may end before a __del__ of ours is called, but never before this.
        return weakref.finalize(self, connection.close)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            if self._connection is not None:
                self._finalizer()
                self._connection = None

    def __enter__(self) -> AttributionIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
