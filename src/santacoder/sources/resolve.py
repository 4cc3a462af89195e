"""What a model's name means: a path, a repository on the hub (OWNER/NAME), or one file of it (OWNER/NAME:FILE)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from santacoder.errors import HubError, InvalidRequestError
from santacoder.sources.hub import download

#: OWNER/NAME, neither of which looks like a folder of a path, and perhaps :FILE.
_REPOSITORY: Final = re.compile(r"((?![.~])[\w.-]+/[\w.-]+(?<!\.gguf))(?::(.+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that was read.

    Attributes:
        text: the name as it was given; the path, where `repo` is None.
        repo: "owner/name" on the hub, or None.
        file: the file of the repository that is meant, or None where the name says none.
    """

    text: str
    repo: str | None = None
    file: str | None = None

    @property
    def is_path(self) -> bool:
        """Whether it is a path; there need not be anything at it."""
        return self.repo is None


def read_name(name: str | os.PathLike[str]) -> ModelName:
    """Say what a name means; the hub is not asked.

    OWNER/NAME and OWNER/NAME:FILE are of the hub, unless something exists at that path, OWNER begins with "." or "~",
    or NAME ends with ".gguf". All else is a path, and so is an object that is no str.
    """
    text = os.fspath(name)
    found = read_repository(name) if isinstance(name, str) else None
    return ModelName(text) if found is None or Path(text).exists() else found


def read_repository(name: str) -> ModelName | None:
    """Read OWNER/NAME or OWNER/NAME:FILE, whatever is at that path; None where it is neither."""
    found = _REPOSITORY.fullmatch(name)
    return None if found is None else ModelName(name, found[1], found[2])


def with_file(name: ModelName, argument: str, file: str | None) -> ModelName:
    """Add the file of a repository that another argument says, if it does.

    Raises:
        InvalidRequestError: the name says another one.
    """
    if file is None:
        return name
    if name.file not in (None, file):
        raise InvalidRequestError(f"{name.text!r} names the file {name.file!r}, but {argument} is {file!r}")
    return replace(name, file=file)


def local_gguf(name: ModelName, **access: Any) -> str:
    """The path of the GGUF file that a name means, downloaded if it is on the hub and not in the cache.

    Args:
        name: what `read_name` made of it.
        access: the keywords of `hub.download`.

    Raises:
        InvalidRequestError: the repository has no such file, no GGUF file, or several and the name says none.
        HubError: the hub does not give the file.
    """
    if name.repo is None:
        return name.text
    with or_path(name):
        return download(name.repo, name.file, **access)


@contextmanager
def or_path(name: ModelName) -> Iterator[None]:
    """Around what gets the repository that no file or folder is named like: where the hub fails too, say both.

    Raises:
        HubError: the one that comes from within, with that added.
    """
    try:
        yield
    except HubError as error:
        raise HubError(f"{error}; nor is there a file or folder {name.text!r}") from error.__cause__
