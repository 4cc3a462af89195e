"""Finds a checkpoint: a folder, or a revision of a repository on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from santacoder._util.json_file import read_object
from santacoder.conversion.end_tokens import TOKENIZER_CONFIG
from santacoder.conversion.generation_config import GENERATION_CONFIG
from santacoder.conversion.hf_config import CheckpointConfig, parse_config
from santacoder.conversion.weights import check_reader, is_weights_file, weights_files
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.sources.hub import Listing, download_files, list_files
from santacoder.sources.model_name import DEFAULT_BRANCH, ModelName, or_path, parse_name, with_revision

#: Files besides the weights that a conversion reads if they exist.
_SMALL_FILES: Final = (
    "config.json", GENERATION_CONFIG, "tokenizer.json", TOKENIZER_CONFIG, "vocab.json", "merges.txt",
    "added_tokens.json", "README.md",
)  # fmt: skip
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
#: A repository's folder in the hub's cache.
_CACHED: Final = re.compile(r"models--([\w.-]+?)--([\w.-]+)")
#: The branch of the checkpoint that was not trained to fill in the middle; nothing but its name says so.
NO_FIM: Final = "no-fim"


@dataclass(frozen=True)
class Source:
    """A checkpoint's folder and its provenance, as far as it is known.

    Attributes:
        folder: the folder of its files.
        repo: "owner/name" on the hub, or None for a local folder.
        revision: the branch, tag or commit that was asked for, if any.
        commit: the commit's hash, or None for a local folder.
        branches: branches and tags at this commit, as far as the local cache knows.
    """

    folder: Path
    repo: str | None = None
    revision: str | None = None
    commit: str | None = None
    branches: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The source as an error names it."""
        if self.repo is None:
            return str(self.folder)
        return self.repo if self.revision is None else f"{self.repo} at {self.revision!r}"

    @property
    def name(self) -> str:
        """A name for the model: the folder's or the repository's, with the branch unless it is the default one."""
        if self.repo is None:
            return self.folder.resolve().name.encode("utf-8", "replace").decode()  # a path need not be text
        name = self.repo.rpartition("/")[2]
        if self.revision in (None, DEFAULT_BRANCH) or _COMMIT.fullmatch(self.revision or ""):
            return name
        return f"{name}-{self.revision}"

    @property
    def is_no_fim(self) -> bool:
        """Whether a name says that the checkpoint was not trained to fill in the middle; nothing else tells."""
        return any(name.endswith(NO_FIM) for name in (self.revision or "", self.name, *self.branches))


def locate(source: str | Path, revision: str | None = None, **access: Any) -> Source:
    """Return a checkpoint's folder; the files of a repository that a conversion needs are downloaded to the cache.

    Args:
        source: a folder, or a repository's name if there is no such folder: see `parse_name`.
        revision: a branch, tag or commit of the repository; None is the default branch.
        access: keywords of `hub.list_files`.

    Raises:
        InvalidRequestError: there is no such folder, or `revision` is given for a folder.
        ModelFormatError: the repository has no weights, or its config.json asks for what cannot run.
        MissingPackageError: the package that reads its weights is not installed.
        HubError: the repository cannot be fetched.
    """
    name = with_revision(parse_name(str(source)), revision)
    if name.is_path and Path(source).is_dir():
        return source_of_folder(Path(source))
    if name.is_path and Path(source).exists():
        raise InvalidRequestError(f"{source} is a file: name the folder that has the checkpoint")
    if name.repo is None or name.file is not None:
        raise InvalidRequestError(f"{source} is neither a folder nor OWNER/NAME on the hub")
    with or_path(name):
        listed = list_files(name.repo, name.revision, what="a checkpoint", **access)
        return fetch(source_in_repository(name, listed), listed.names, **access)


def source_in_repository(name: ModelName, listed: Listing) -> Source:
    """Return the source of a checkpoint in a repository, whose folder may lack files: see `fetch`."""
    return Source(listed.folder, name.repo, name.revision, listed.commit, _branches(listed.folder))


def fetch(source: Source, names: list[str], weights: bool = True, **access: Any) -> Source:
    """Download what a conversion needs of a repository's files; without `weights`, only what its tokenizer needs.

    What cannot run is refused before its weights are downloaded.

    Args:
        source: as `source_in_repository` returns it.
        names: all files of the repository.
        weights: whether the weights are needed.
        access: keywords of `hub.download_files`.

    Raises:
        ModelFormatError: there are no weights, or config.json asks for what cannot run.
        MissingPackageError: the package that reads the weights is not installed.
        HubError: a file cannot be fetched.
    """
    repo = str(source.repo)
    large = weights_files(source.place, names) if weights else []
    if large:
        check_reader(large[0])
    small = [name for name in _SMALL_FILES if name in names]
    folder = download_files(repo, small, source.revision, **access)
    if large:
        read_config(Source(folder, repo, source.revision))
        folder = download_files(repo, [*large, *small], source.revision, **access)
    return Source(folder, repo, source.revision, folder.name, _branches(folder))


def read_config(source: Source) -> tuple[dict[str, object], CheckpointConfig]:
    """Return the values of config.json, and what they mean.

    Raises:
        ModelFormatError: it is missing or damaged, or asks for what cannot run; the key is named.
    """
    path = source.folder / "config.json"
    if not path.is_file():
        raise ModelFormatError(f"{source.place} has no config.json")
    values = read_object(path)
    return values, parse_config(values)


def is_checkpoint(names: list[str]) -> bool:
    """Return whether a folder with these files has weights that can be converted."""
    return any(map(is_weights_file, names))


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the files of a folder that a conversion may read; weights of every kind, of which it reads only the best.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if path.name in _SMALL_FILES or is_weights_file(path.name))


def source_of_folder(folder: Path) -> Source:
    """Return the source of a folder; a snapshot in the hub's cache, as `hf download` prints it, has a repository."""
    path = folder.absolute()
    cached = _CACHED.fullmatch(path.parent.parent.name)
    if cached is None or path.parent.name != "snapshots" or not _COMMIT.fullmatch(path.name):
        return Source(folder)
    branches = _branches(path)
    revision = branches[0] if len(branches) == 1 else path.name
    return Source(folder, "/".join(cached.groups()), revision, path.name, branches)


def _branches(snapshot: Path) -> tuple[str, ...]:
    """Return the names in the cache's refs that are at the snapshot's commit."""
    refs = snapshot.parent.parent / "refs"
    names = (path.relative_to(refs).as_posix() for path in refs.rglob("*") if path.is_file())
    return tuple(sorted(name for name in names if (refs / name).read_text(errors="replace").strip() == snapshot.name))
