"""Parses a model's name: a path, a repository on the hub or one file of it, its page's URL, or the packaged model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from santacoder.errors import HubError, InvalidRequestError

#: The name of the model that ships in the package.
PACKAGED: Final = "packaged"

#: OWNER/NAME, with an optional :FILE; neither OWNER nor NAME looks like a folder of a path.
_REPOSITORY: Final = re.compile(r"((?![.~])[\w.-]+/[\w.-]+(?<!\.gguf))(?::(.+))?", re.IGNORECASE)
_SCHEME: Final = re.compile(r"\w+://")
_PAGE: Final = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^?#]+?)/?(?:[?#].*)?", re.IGNORECASE)
#: Behind the host: OWNER/NAME or OWNER/NAME:FILE, the page of a revision, or that of a file or the file itself.
_PAGES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>.+))?",
        r"(?P<repo>[\w.-]+/[\w.-]+)/tree/(?P<revision>[^/]+)",
        r"(?P<repo>[\w.-]+/[\w.-]+)/(?:blob|resolve|raw)/(?P<revision>[^/]+)/(?P<file>.+)",
    )
)
#: The branch that is meant where nothing names a revision; what is not on the hub has no other.
DEFAULT_BRANCH: Final = "main"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name, parsed.

    Attributes:
        text: the name as it was given; the path, unless it is a repository's or the packaged model's.
        repo: "owner/name" on the hub, or None.
        file: the file of the repository or folder, or None if nothing says.
        revision: the repository's, or None if nothing says.
        is_packaged: whether it is the packaged model's.
        reads_as_path: whether it could be a path as well, at which there is nothing.
    """

    text: str
    repo: str | None = None
    file: str | None = None
    revision: str | None = None
    is_packaged: bool = False
    reads_as_path: bool = field(default=False, compare=False)

    @property
    def is_path(self) -> bool:
        """Whether it is a path, which need not exist."""
        return self.repo is None and not self.is_packaged


def parse_name(name: str | os.PathLike[str] | None) -> ModelName:
    """Parse a name, without asking the hub.

    "packaged", or None, is the packaged model; a file of that name is "./packaged". OWNER/NAME, OWNER/NAME:FILE and the
    URLs of the hub's pages (https://huggingface.co/OWNER/NAME/tree/REVISION) are on the hub, unless something exists at
    that path, OWNER begins with "." or "~", or NAME ends with ".gguf". Everything else is a path, and so is an object
    that is not a str.

    Raises:
        InvalidRequestError: it is a URL, but not that of a model.
    """
    if name is None or (isinstance(name, str) and name == PACKAGED):
        return ModelName(PACKAGED, is_packaged=True)
    text = os.fspath(name)
    found = parse_hub_name(name) if isinstance(name, str) else None
    if found is None or Path(text).exists():
        return ModelName(text)
    return replace(found, reads_as_path=_SCHEME.match(text) is None)


def parse_hub_name(name: str) -> ModelName | None:
    """Parse OWNER/NAME, OWNER/NAME:FILE or a URL, whatever is at that path; return None if it is none of these.

    Raises:
        InvalidRequestError: it is a URL, but not that of a model.
    """
    if page := _PAGE.fullmatch(name):
        found = next(filter(None, (pattern.fullmatch(page[1]) for pattern in _PAGES)), None)
        if found is not None:
            parts = {key: _unquoted(value) for key, value in found.groupdict().items() if value}
            return ModelName(name, parts["repo"], parts.get("file"), parts.get("revision"))
    if _SCHEME.match(name):
        raise InvalidRequestError(
            f"{name!r} is not the URL of a model, of its revision or its file on the hub: "
            "https://huggingface.co/OWNER/NAME, .../tree/REVISION, .../blob/REVISION/FILE"
        )
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


def with_revision(name: ModelName, revision: str | None) -> ModelName:
    """Add the revision that another argument names, if it names one; what is not on the hub has only "main".

    Raises:
        InvalidRequestError: the name has a different revision, or cannot have one.
    """
    if revision is None or (name.repo is None and revision == DEFAULT_BRANCH):
        return name
    if name.repo is None:
        kind = "folder" if name.is_path and Path(name.text).is_dir() else "file"
        raise InvalidRequestError(f"{name.text} is a {kind}, which has no revision {revision!r}")
    if name.revision not in (None, revision):
        raise InvalidRequestError(f"{name.text!r} names the revision {name.revision!r}, but revision is {revision!r}")
    return replace(name, revision=revision)


@contextmanager
def or_path(name: ModelName) -> Iterator[None]:
    """Add to a HubError raised within that there is no file or folder of that name either, if it reads as a path.

    Raises:
        HubError: the one raised within, with the sentence added.
    """
    try:
        yield
    except HubError as error:
        if not name.reads_as_path:
            raise
        raise HubError(f"{error}; nor is there a file or folder {name.text!r}") from error.__cause__


def _unquoted(text: str) -> str:
    """Return a part of a URL without its percent signs."""
    data = re.sub(rb"%([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return data.decode(errors="replace")
