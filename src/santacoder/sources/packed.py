"""The cache of packed weights: where those of a GGUF file are, which there are, and how to remove them.

A file is named by the SHA-256 of its GGUF file and by the number of the panels' layout. Notes, named by the identity of
a GGUF file (device, inode, size and time), have its SHA-256, so that it is not read at each start.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from santacoder._util.atomic_file import atomic_file
from santacoder._util.regular_file import CAN_TRUST, check_trusted, open_trusted
from santacoder._util.validation import invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.sources.converted import VARIABLE, ConvertedModel, cache_folder, short_version

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Of all files, whatever the user's mask: nobody may write to them.
MODE: Final = 0o444
TYPE: Final = "packed"  # in lists of the cache, where converted checkpoints have the type of their matrices

_FOLDER, _LOCK, _PACKED, _NOTE = "packed", ".lock", ".panels", ".json"
_SUM: Final = re.compile("[0-9a-f]{64}")
_MAX_NOTE_BYTES: Final = 1 << 16
#: Device, inode, size and time of each part of a model.
Identities = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class PackedCache:
    """The folder of packed weights, which need not exist."""

    folder: Path

    @classmethod
    def within(cls, cache_dir: str | os.PathLike[str] | None = None) -> PackedCache:
        """Return the one within the cache's folder; `cache_dir` is that of the hub's cache.

        Raises:
            InvalidRequestError: this system lacks what packed weights need, or there is no place for a cache.
        """
        if not CAN_TRUST:
            problem = "packed weights need mmap, O_NOFOLLOW and owners of files, which this system lacks"
            raise InvalidRequestError(problem)
        try:
            return cls(cache_folder(cache_dir) / _FOLDER)
        except RuntimeError:
            problem = f"packed weights need a cache, but this user has no home folder: set {VARIABLE}"
            raise InvalidRequestError(problem) from None

    def path(self, checksum: str, layout: int) -> Path:
        """Return the path of the packed weights of the GGUF file with this SHA-256, which need not exist."""
        return self.folder / f"{checksum}-{layout}{_PACKED}"

    def lock(self) -> BaseFileLock:
        """Return the lock of whoever changes the folder, which the system takes away from a process that ends."""
        from filelock import FileLock

        return FileLock(self.folder / _LOCK)

    def prepare(self) -> None:
        """Make the folder, and check that no other user can write to it.

        Raises:
            OSError: that is not possible, or another user can.
        """
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_trusted(self.folder.stat(), self.folder)

    def known_sha256(self, identities: Identities) -> str | None:
        """Return the SHA-256 that was noted of a file with this identity, or None."""
        note = _read_note(self._note(identities))
        return note[0] if note else None

    def remember(self, identities: Identities, checksum: str, source: str) -> None:
        """Note the SHA-256 of the file `source` with this identity, if that can be written."""
        with suppress(OSError):
            path = self._note(identities)
            path.unlink(missing_ok=True)  # a link would be followed
            with atomic_file(path) as file:
                file.write(json.dumps({"sha256": checksum, "source": str(Path(source).absolute())}).encode())
                os.fchmod(file.fileno(), MODE)

    def _note(self, identities: Identities) -> Path:
        name = sha256(json.dumps(identities).encode()).hexdigest()
        return self.folder / f"{name[:32]}{_NOTE}"

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of processes that were killed; the caller has the lock."""
        for path in self.folder.glob(".*-*"):
            path.unlink(missing_ok=True)

    def files(self) -> Iterator[ConvertedModel]:
        """Yield the files of packed weights by name, each with a file that it was made from."""
        sources = dict(filter(None, map(_read_note, sorted(self.folder.glob(f"*{_NOTE}")))))
        for path in sorted(self.folder.glob(f"*{_PACKED}")):
            checksum = path.name.partition("-")[0]
            source = sources.get(checksum, "a file that is not known")
            yield ConvertedModel(str(path), source, short_version(checksum), TYPE, path.stat().st_size)

    def clear(self) -> list[ConvertedModel]:
        """Remove all files of packed weights, and return them; processes that have mapped one keep it.

        Raises:
            OSError: a file cannot be removed.
        """
        if not self.folder.is_dir():
            return []
        with self.lock():
            removed = [*self.files()]
            self.remove_leftovers()
            for path in (*self.folder.glob(f"*{_PACKED}"), *self.folder.glob(f"*{_NOTE}")):
                path.unlink(missing_ok=True)
        return removed


def can_pack(cache_dir: str | os.PathLike[str] | None = None) -> bool:
    """Return whether packed weights may be asked for: whether `PackedCache.within` gives a place."""
    try:
        PackedCache.within(cache_dir)
    except InvalidRequestError:
        return False
    return True


def packed_cache(packed: bool | None, cache_dir: str | os.PathLike[str] | None = None) -> PackedCache | None:
    """Return where packed weights are kept if the argument `packed` asks for them, or None.

    Raises:
        InvalidRequestError: it is something else than a bool, or as in `PackedCache.within`.
    """
    if packed is not None and not isinstance(packed, bool):
        raise invalid_argument("packed", packed, "True or False")
    return PackedCache.within(cache_dir) if packed else None


def _read_note(path: Path) -> tuple[str, str] | None:
    """Return the SHA-256 and the source that a note has, or None where there is none that can be trusted."""
    try:
        with os.fdopen(open_trusted(path), "rb") as file:
            note = json.loads(file.read(_MAX_NOTE_BYTES))
        checksum, source = str(note["sha256"]), str(note["source"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return (checksum, source) if _SUM.fullmatch(checksum) else None
