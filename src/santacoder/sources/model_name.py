"""Resolves a model's name: a path, a repository on the hub (OWNER/NAME), or one file of it (OWNER/NAME:FILE)."""

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

#: OWNER/NAME, with an optional :FILE; neither OWNER nor NAME looks like a folder of a path.
_REPOSITORY: Final = re.compile(r"((?![.~])[\w.-]+/[\w.-]+(?<!\.gguf))(?::(.+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name, parsed.

    Attributes:
        text: the name as it was given; the path, if `repo` is None.
        repo: "owner/name" on the hub, or None.
        file: the file of the repository, or None if the name does not say.
    """

    text: str
    repo: str | None = None
    file: str | None = None

    @property
    def is_path(self) -> bool:
        """Whether it is a path, which need not exist."""
        return self.repo is None


def parse_name(name: str | os.PathLike[str]) -> ModelName:
    """Parse a name, without asking the hub.

    OWNER/NAME and OWNER/NAME:FILE are on the hub, unless something exists at that path, OWNER begins with "." or "~",
    or NAME ends with ".gguf". Everything else is a path, and so is an object that is not a str.
    """
    text = os.fspath(name)
    found = parse_hub_name(name) if isinstance(name, str) else None
    return ModelName(text) if found is None or Path(text).exists() else found


def parse_hub_name(name: str) -> ModelName | None:
    """Parse OWNER/NAME or OWNER/NAME:FILE, whatever is at that path; return None if it is neither."""
    found = _REPOSITORY.fullmatch(name)
    return None if found is None else ModelName(name, found[1], found[2])


def with_file(name: ModelName, argument: str, file: str | None) -> ModelName:
    """Add the file that another argument names, if it names one.

    Raises:
        InvalidRequestError: the name has a different file.
    """
    if file is None:
        return name
    if name.file not in (None, file):
        raise InvalidRequestError(f"{name.text!r} names the file {name.file!r}, but {argument} is {file!r}")
    return replace(name, file=file)


def local_gguf(name: ModelName, **access: Any) -> str:
    """Return the path of the GGUF file that a name means, downloaded if it is on the hub and not in the cache.

    Args:
        name: as `parse_name` returned it.
        access: keyword arguments of `hub.download`.

    Raises:
        InvalidRequestError: the repository has no such file, no GGUF file, or several while the name has none.
        HubError: the file cannot be downloaded.
    """
    if name.repo is None:
        return name.text
    with or_path(name):
        return download(name.repo, name.file, **access)


@contextmanager
def or_path(name: ModelName) -> Iterator[None]:
    """Add to a HubError raised within that there is no file or folder of that name either.

    Raises:
        HubError: the one raised within, with the sentence added.
    """
    try:
        yield
    except HubError as error:
        raise HubError(f"{error}; nor is there a file or folder {name.text!r}") from error.__cause__
