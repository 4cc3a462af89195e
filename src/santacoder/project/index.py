"""The files of a project as texts to guess from: read in the background, and again when they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from time import monotonic, sleep
from typing import Final, TypeVar

import numpy as np

from santacoder._util.fork import watch_forks
from santacoder._util.regular_file import FileIdentity
from santacoder._util.validation import printable
from santacoder.decoding.guess_store import GuessStore, Match
from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.project.files import Listing, list_files, read_found
from santacoder.text.line_breaks import as_lf
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import Tokenizer

MOST_TOKENS: Final = 1 << 20  # of an index, which take 24 to 37 MB
LEAST_BYTES: Final = 3  # of a token, nearly always: so many files are read that their tokens fit
PAUSE: Final = 2.0  # seconds between two looks at the files, at least
PATIENCE: Final = 50  # times as long as a look takes, at least
_EMPTY: Final = np.empty(0, dtype=np.int32)

T = TypeVar("T")


class ProjectIndex:
    """The texts of a project; made by `SantaCoder.index`. Files are left out if they are large, binary or links.

    A thread of its own reads them, at half of its speed, so that requests go on. With the first request after 2 seconds
    it looks at the files again. Of more than 3 MB those that were changed last are read.
    """

    kind: Final = "project"

    def __init__(self, tokenizer: Tokenizer, paths: Iterable[str | os.PathLike[str]]) -> None:
        """List the files, and begin to read them.

        Raises:
            InvalidRequestError: there are too many files, or a path is neither a text nor a folder.
            OSError: a path cannot be read.
        """
        self._tokenizer = tokenizer
        self._paths = [os.path.realpath(path) for path in _listed(paths)]
        listing = list_files(self._paths)
        self._closed = False
        self._begin_anew()
        watch_forks(self)
        self._start(listing)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()  # of the store
        self._store = GuessStore(self.kind, MOST_TOKENS)
        self._held: dict[str, FileIdentity] = {}
        self._left_out: list[str] = []  # when the files were listed
        self._unread: dict[str, str] = {}  # when they were read: why not, by path
        self._thread: threading.Thread | None = None
        self._next_look = 0.0

    def after_fork(self) -> None:
        """Begin anew in a child: the thread is gone, and may have left the store half changed."""
        self._begin_anew()

    @property
    def files(self) -> int:
        """How many files are held."""
        return len(self._held) - len(self._unread)

    @property
    def tokens(self) -> int:
        """How many tokens are held."""
        return len(self._store)

    @property
    def n_bytes(self) -> int:
        """Bytes of memory."""
        return self._store.n_bytes

    @property
    def left_out(self) -> list[str]:
        """A line for each file or folder that was left out, and why."""
        return [*self._left_out, *self._unread.values()]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the files are read, at most so many seconds; return whether they are."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def close(self) -> None:
        """Read no more."""
        self._closed = True

    def look(self) -> None:
        """Have the files looked at again, unless that was done just now; this takes microseconds."""
        if monotonic() >= self._next_look and not self._closed:
            self._unless_changing(self._look, None)

    def _look(self) -> None:
        thread = self._thread
        if monotonic() >= self._next_look and (thread is None or not thread.is_alive()):
            self._start(None)

    def find(self, token_ids: TokenIds) -> Match | None:
        """See `GuessStore.find`; None while a file is being added."""
        return self._unless_changing(lambda: self._store.find(token_ids), None)

    def copy(self, match: Match, most: int) -> TokenIds:
        """See `GuessStore.copy`; nothing while a file is being added."""
        return self._unless_changing(lambda: self._store.copy(match, most), _EMPTY)

    def _unless_changing(self, work: Callable[[], T], otherwise: T) -> T:
        """Return what `work` does with the store; the other value, at once, if a file is being added to it."""
        lock, taken = self._lock, False
        try:
            taken = lock.acquire(blocking=False)
            return work() if taken else otherwise
        finally:
            if taken:
                lock.release()

    def _start(self, listing: Listing | None) -> None:
        self._next_look = monotonic() + PAUSE
        thread = threading.Thread(target=self._read, args=(listing,), name="santacoder-index", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had: later
            self._thread = None

    def _read(self, listing: Listing | None) -> None:
        """Read the files that have changed, those last that were changed last."""
        begin = monotonic()
        try:
            files, left_out = listing or list_files(self._paths)
        except (SantaCoderError, OSError) as error:
            self._left_out = [str(error)]
            return
        pause = max(PAUSE, PATIENCE * (monotonic() - begin))
        for held in (self._held, self._unread):
            for path in held.keys() - files.keys():
                del held[path]
        room, chosen = MOST_TOKENS * LEAST_BYTES, dict[str, FileIdentity]()
        for path, state in sorted(files.items(), key=lambda item: item[1].modified, reverse=True):
            if state.size > room:
                left_out.append(f"{len(files) - len(chosen)} files that were not changed of late: no room")
                break
            room -= state.size
            chosen[path] = state
        changed = [path for path, state in chosen.items() if self._held.get(path) != state]
        if len(self._store) + sum(chosen[path].size for path in changed) // LEAST_BYTES > MOST_TOKENS:
            with self._lock:
                self._store, self._held = GuessStore(self.kind, MOST_TOKENS), {}
            self._unread = {}
            changed = [*chosen]
        for path in reversed(changed):
            if self._closed:
                return
            begin = monotonic()
            self._add(path, chosen[path])
            sleep(monotonic() - begin)
        self._left_out = left_out
        self._next_look = monotonic() + pause

    def _add(self, path: str, state: FileIdentity) -> None:
        self._unread.pop(path, None)
        try:
            text = as_lf(read_found(path))
        except OSError as error:
            self._unread[path] = f"{printable(path)}: {error.strerror}"
        except SantaCoderError as error:
            self._unread[path] = str(error)
        else:
            token_ids = np.array(self._tokenizer.encode(text, special=False), dtype=np.int32)
            with self._lock:
                self._store.add(token_ids)
                self._store.end_text()
        self._held[path] = state


def _listed(paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> list[str]:
    """Return the paths.

    Raises:
        InvalidRequestError: they are something else.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(several, Iterable) or isinstance(several, bytes):
        raise InvalidRequestError(f"paths is a {type(paths).__name__}, but it must be a list of files and folders")
    listed = []
    for path in several:
        if not isinstance(path, str | os.PathLike):
            raise InvalidRequestError(f"a path is a {type(path).__name__}, but it must be a str or a Path")
        listed.append(os.fspath(path))
    return listed
