"""Finds a checkpoint: a folder, or a revision of a repository on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from santacoder.conversion.end_tokens import GENERATION_CONFIG, TOKENIZER_CONFIG
from santacoder.conversion.weights import is_weights_file, weights_files
from santacoder.errors import InvalidRequestError
from santacoder.sources.hub import download_files
from santacoder.sources.model_name import or_path, parse_name

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
#: The branch with the checkpoint that the paper calls "final".
_DEFAULT_BRANCH: Final = "main"


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
        if self.revision in (None, _DEFAULT_BRANCH) or _COMMIT.fullmatch(self.revision or ""):
            return name
        return f"{name}-{self.revision}"

    @property
    def is_no_fim(self) -> bool:
        """Whether a name says that the checkpoint was not trained to fill in the middle; nothing else tells."""
        return any(name.endswith(NO_FIM) for name in (self.revision or "", self.name, *self.branches))


def locate(source: str | Path, revision: str | None = None) -> Source:
    """Return a checkpoint's folder; the files of a repository that a conversion needs are downloaded to the cache.

    Args:
        source: a folder, or "owner/name" on the hub if there is no such folder.
        revision: a branch, tag or commit of the repository; None is the default branch.

    Raises:
        InvalidRequestError: there is no such folder, or `revision` is given for a folder.
        ModelFormatError: the repository has no weights.
        HubError: the repository cannot be fetched.
    """
    name = parse_name(str(source))
    folder, repo = Path(source), name.repo
    if folder.is_dir():
        if revision is not None:
            raise InvalidRequestError(f"{source} is a folder, which has no revision {revision!r}")
        return _of_folder(folder)
    if folder.exists():
        raise InvalidRequestError(f"{source} is a file: name the folder that has the checkpoint")
    if repo is None or name.file is not None:
        raise InvalidRequestError(f"{source} is neither a folder nor OWNER/NAME on the hub")

    def needed(names: Iterable[str]) -> list[str]:
        names = list(names)
        return [*weights_files(repo, names), *(name for name in _SMALL_FILES if name in names)]

    with or_path(name):
        snapshot = download_files(repo, needed, revision)
    return Source(snapshot, repo, revision, snapshot.name, _branches(snapshot))


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the files of a folder that a conversion may read; weights of every kind, of which it reads only the best.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if path.name in _SMALL_FILES or is_weights_file(path.name))


def _of_folder(folder: Path) -> Source:
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
