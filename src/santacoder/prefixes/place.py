"""Where the prefix cache of a model is, as its caller and the environment say, and how it is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from santacoder._util.private_folder import missing_feature, private_folder, remove, write_private
from santacoder._util.validation import check_integer, format_value, invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.prefixes.model_notes import fingerprint_of, note_name, note_of
from santacoder.sources.converted import cache_folder

if TYPE_CHECKING:
    from santacoder.engine.transformer import Transformer
    from santacoder.prefixes.store import StoredPrefixes

VARIABLE: Final = "SANTACODER_PREFIX_CACHE"
DEFAULT_BYTES: Final = 2 << 30
#: Values of the variable that are no folder.
OFF, ON = "0", "1"
_FOLDER: Final = "prefixes"
_PROBE: Final = "probe"

#: What callers say: whether there is one, or where.
PrefixCacheOption = bool | str | os.PathLike[str] | None


def prefix_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the usual folder, which need not exist; with `cache_dir`, the hub's cache, the one within that."""
    named = os.environ.get(VARIABLE, "")
    if cache_dir is None and named not in ("", OFF, ON):
        return Path(named)
    return cache_folder(cache_dir) / _FOLDER


@dataclass(frozen=True, slots=True)
class PrefixPlace:
    """A folder that can hold a prefix cache, and the most bytes in it."""

    folder: Path
    limit: int

    def of_model(self, path: str) -> ModelPrefixes:
        """Return where the blocks of a file's model are, before it is loaded."""
        return ModelPrefixes(self, path, note_of(path))


@dataclass(frozen=True, slots=True)
class ModelPrefixes:
    """The part of a prefix cache that belongs to a model; `note` is what `note_of` said of its file before."""

    place: PrefixPlace
    path: str
    note: str | None

    def open(self, transformer: Transformer) -> StoredPrefixes:
        """Open it for the model that was loaded.

        Raises:
            InvalidRequestError: not even one block fits in the cache.
        """
        from santacoder.prefixes.store import StoredPrefixes

        folder, limit = self.place.folder, self.place.limit
        fingerprint = fingerprint_of(folder, self.path, self.note, lambda: transformer.fingerprint)
        store = StoredPrefixes(folder, limit, fingerprint, transformer.block_bytes)
        note_name(store.folder, Path(self.path).name)
        return store


def find_place(
    option: PrefixCacheOption = None, limit: int | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> PrefixPlace | None:
    """Return where the prefix cache is to be, and make its folder; None if there is to be none.

    Args:
        option: True is the usual folder, None what the environment says.
        limit: the most bytes; None is `DEFAULT_BYTES`.
        cache_dir: as in `prefix_folder`.

    Raises:
        InvalidRequestError: an argument is of a wrong type or out of range, the folder cannot be used, or this system
            lacks what it takes.
    """
    if not (option is None or isinstance(option, bool | str | os.PathLike)) or option == "":
        raise invalid_argument("prefix_cache", option, "True, False, None or the path of a folder")
    most = DEFAULT_BYTES if limit is None else check_integer("prefix_cache_bytes", limit, 1, None)
    if option is None:
        named = os.environ.get(VARIABLE, "")
        if named in ("", OFF):
            return None
        folder, what = None if named == ON else Path(named), f"{VARIABLE} is {named!r}"
    elif option is False:
        return None
    elif option is True:
        folder, what = None, "prefix_cache is True"
    else:
        folder, what = Path(option), f"prefix_cache is {format_value(os.fspath(option))}"
    if folder is None:
        try:
            folder = prefix_folder(cache_dir)
        except RuntimeError:
            raise InvalidRequestError(f"{what}, but this user has no home folder: name a folder") from None
        what += f", in {str(folder)!r}"
    return PrefixPlace(_checked(folder, what), most)


def _checked(folder: Path, what: str) -> Path:
    """Make a folder and write to it; return its absolute path.

    Raises:
        InvalidRequestError: this cannot be done; the message begins with `what`.
    """
    if (lacking := missing_feature()) is not None:
        raise InvalidRequestError(f"{what}, but a prefix cache needs {lacking}, which this system lacks")
    try:
        folder = folder.absolute()
        with private_folder(folder, make=True) as descriptor:
            name = f"{_PROBE}-{os.getpid()}"
            write_private(descriptor, name, [b""])
            remove(descriptor, name)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{what}, but {error}") from None
    except ValueError:
        raise InvalidRequestError(f"{what}, but no path is like that") from None
    except OSError as error:
        raise InvalidRequestError(f"{what}, but this user cannot write there: {error.strerror}") from None
    return folder
