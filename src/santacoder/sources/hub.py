"""Models from the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder.errors import HubError, InvalidRequestError
from santacoder.gguf.split import part_names

_SHOWN_FILES: Final = 20
_TIMEOUT: Final = 10.0  # seconds
#: The type that is taken where nothing says which, as a compromise of size, speed and quality.
DEFAULT_TYPE: Final = "q4_k_m"


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a revision of a repository.

    Attributes:
        names: of its files; without a network, of those in the local cache.
        commit: the commit's hash.
        folder: where the local cache has, or would have, the files of that commit.
    """

    names: list[str]
    commit: str
    folder: Path


def download(
    repo: str,
    filename: str | None = None,
    revision: str | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    token: str | bool | None = None,
) -> str:
    """Return the path of a GGUF file of a repository, downloaded unless the local cache has it.

    All files of a split model are downloaded; the path is that of the first.
    The hub's environment variables apply: HF_HUB_OFFLINE, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT.

    Args:
        repo: "owner/name".
        filename: the file, or the first part of a split model; None takes the only GGUF file, or the only Q4_K_M one.
        revision: a branch, tag or commit; None is the default branch.
        cache_dir: the folder of the cache; None is the usual one.
        local_files_only: use only the cache.
        force_download: download even what the cache has.
        token: for gated and private repositories; None takes the one of `hf auth login`.

    Raises:
        InvalidRequestError: the repository has no such file, no GGUF file, or several; or the file is a later part of a
            split model.
        HubError: the repository or a file cannot be fetched: no network, no such name, no permission.
    """
    import huggingface_hub

    access: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
    access["local_files_only"] = local_files_only
    with _telling(repo, filename, access):
        name = filename or choose(repo, _files(repo, access))
        first, *others = part_names(name)
        if name != first:
            raise InvalidRequestError(f"{name!r} is a part of a split model: name its first, {first!r}")
        path = Path(huggingface_hub.hf_hub_download(repo, name, force_download=force_download, **access))
    for part in others:  # all from one commit, even if the branch moves meanwhile
        access["revision"] = path.parents[part.count("/")].name
        with _telling(repo, part, access):
            huggingface_hub.hf_hub_download(repo, part, force_download=force_download, **access)
    return str(path)


@contextmanager
def _telling(repo: str, filename: str | None, access: dict[str, Any]) -> Iterator[None]:
    """Turn the hub's errors about a file into ours."""
    try:
        yield
    except InvalidRequestError:
        raise
    except Exception as error:  # the hub's own, its HTTP library's, ValueError for a malformed name
        if _is(error, "EntryNotFoundError") and not _is(error, "LocalEntryNotFoundError"):
            raise InvalidRequestError(f"{repo!r} has no file {filename!r}; {listing(_files(repo, access))}") from error
        at = "" if access["revision"] is None else f" at {access['revision']!r}"
        reason = _reason(error, _cached_files(repo, access))
        raise HubError(f"cannot get {filename or 'a model'} from {repo!r}{at}: {reason}") from error


def list_files(
    repo: str,
    revision: str | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    what: str = "a model",
) -> Listing:
    """Return the files of a repository; errors say that `what` is wanted. The other arguments are those of `download`.

    Raises:
        HubError: the repository cannot be looked up: no network, no such name, no permission.
    """
    access: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
    access["local_files_only"] = local_files_only
    with _telling_of(repo, what, revision):
        return _listing_of(repo, access)


def download_files(
    repo: str,
    names: Sequence[str],
    revision: str | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Return the folder of one commit of a repository in the local cache, with these files.

    The folder's name is the commit's hash. Environment variables apply as in `download`, and so do the arguments.

    Raises:
        HubError: the repository or a file cannot be fetched: no network, no such name, no permission.
    """
    import huggingface_hub

    access: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
    access |= {"local_files_only": local_files_only, "force_download": force_download}
    with _telling_of(repo, "a checkpoint", revision):
        folder = Path(huggingface_hub.snapshot_download(repo, allow_patterns=list(names), **access))
    for name in names:
        if not (folder / name).is_file():
            raise HubError(f"the local cache of {repo!r} lacks {name}, and the hub cannot be reached (offline?)")
    return folder


@contextmanager
def _telling_of(repo: str, what: str, revision: str | None) -> Iterator[None]:
    """Turn the hub's errors about a repository into ours."""
    try:
        yield
    except Exception as error:
        at = "" if revision is None else f" at {revision!r}"
        raise HubError(f"cannot get {what} from {repo!r}{at}: {_reason(error, [])}") from error


def gguf_files(names: Iterable[str]) -> list[str]:
    """Return the GGUF files among `names`, sorted; of a split model, the first part."""
    return sorted(name for name in names if name.lower().endswith(".gguf") and part_names(name)[0] == name)


def of_type(files: Iterable[str], type: str) -> list[str]:
    """Return those of the files that have the name of a type, such as "f16", in theirs."""
    pattern = re.compile(rf"(?<!b){re.escape(type)}", re.IGNORECASE)  # "bf16" is not "f16"
    return [name for name in files if pattern.search(name.rpartition("/")[2])]


def choose(place: str, names: Iterable[str], type: str | None = None) -> str:
    """Return the only GGUF file among `names`, or the only one of a type (Q4_K_M, if that is None).

    Errors call the repository or folder `place`.

    Raises:
        InvalidRequestError: there is no such file.
    """
    names = sorted(names)
    found = gguf_files(names)
    for candidates in (found, of_type(found, type or DEFAULT_TYPE)):
        if len(candidates) == 1:
            return candidates[0]
    if not found:
        raise InvalidRequestError(f"{place!r} has no GGUF file; {listing(names)}")
    raise InvalidRequestError(f"{place!r} has several GGUF files, so one must be named: {', '.join(found)}")


def listing(names: Iterable[str]) -> str:
    """Return the end of a sentence about a missing file: which files there are instead."""
    shown = sorted(names)
    if not shown:
        return "it has no files"
    more = f" and {len(shown) - _SHOWN_FILES} more" if len(shown) > _SHOWN_FILES else ""
    return f"it has {', '.join(shown[:_SHOWN_FILES])}{more}"


def _listing_of(repo: str, access: dict[str, Any]) -> Listing:
    """List the repository; without a network, its local cache; raises any error of `huggingface_hub`."""
    import huggingface_hub
    from huggingface_hub import constants

    try:
        if access["local_files_only"]:
            return _snapshot(repo, access)
        info = huggingface_hub.model_info(repo, revision=access["revision"], token=access["token"], timeout=_TIMEOUT)
        cache = Path(constants.HF_HUB_CACHE if access["cache_dir"] is None else access["cache_dir"])
        folder = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / str(info.sha)
        return Listing([file.rfilename for file in info.siblings or ()], str(info.sha), folder)
    except Exception:
        try:
            cached = _snapshot(repo, access)
        except Exception:
            cached = None
        if cached is None or not cached.names:
            raise
        return cached


def _files(repo: str, access: dict[str, Any]) -> list[str]:
    """Return the repository's files; without a network, those of the local cache."""
    return _listing_of(repo, access).names


def _cached_files(repo: str, access: dict[str, Any]) -> list[str]:
    """Return the repository's files in the local cache; none if it lacks the revision."""
    try:
        return _snapshot(repo, access).names
    except Exception:
        return []


def _snapshot(repo: str, access: dict[str, Any]) -> Listing:
    """Return the files of the cached revision; raises any error of `huggingface_hub` if there is none."""
    import huggingface_hub

    # A snapshot counts as complete when it has all files that match the patterns; without patterns, always.
    options = {**access, "local_files_only": True}
    folder = Path(huggingface_hub.snapshot_download(repo, allow_patterns=[], **options))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return Listing(names, folder.name, folder)


def _is(error: Exception, *names: str) -> bool:
    """Return whether the error's class has one of these names; versions of the hub keep them in different modules."""
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _reason(error: Exception, cached: list[str]) -> str:
    """Return a plain sentence for the usual errors, else the error's first informative line."""
    if _is(error, "GatedRepoError"):
        return "the repository is gated: ask for access on its page and log in with 'hf auth login'"
    if _is(error, "RepositoryNotFoundError"):
        return "there is no such repository, or it is private: log in with 'hf auth login'"
    if _is(error, "RevisionNotFoundError"):
        return "there is no such branch, tag or commit"
    if _is(error, "OfflineModeIsEnabled", "LocalEntryNotFoundError", "IncompleteSnapshotError"):
        found = f" ({listing(cached)})" if cached else ""
        return f"it is not in the local cache{found}, and the hub cannot be reached (offline?)"
    if _is(error, "ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout"):
        return "the hub cannot be reached (offline?), and the local cache does not have it"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Client Error" not in line), lines[0] if lines else type(error).__name__)
