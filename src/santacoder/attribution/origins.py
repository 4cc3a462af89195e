"""Whose code a file is: repository, revision and licence, each with where that was read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

UNKNOWN: Final = "NOASSERTION"  # SPDX: nobody said
MAX_LETTERS: Final = 200  # of a licence
HEAD_BYTES: Final = 4096  # of a file, in which its own licence is looked for

_SPDX = re.compile(rb"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() :-]{2,150})")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where files come from.

    Attributes:
        repository: a URL, a package URL such as "pkg:pypi/requests", or a folder.
        revision: a commit or a version, or "".
        licence: an SPDX expression or what the source says instead; UNKNOWN if it says nothing.
        licence_source: where the licence was read, or "".
    """

    repository: str
    revision: str = ""
    licence: str = UNKNOWN
    licence_source: str = ""

    def with_licence(self, licence: str, source: str) -> Origin:
        """Return the same origin with a licence, if there is one."""
        licence = normal_licence(licence)
        return replace(self, licence=licence, licence_source=source) if licence else self

    def of_file(self, data: bytes) -> Origin:
        """Return the origin of a file: a licence that the file itself states goes before all others."""
        found = _SPDX.search(data, 0, HEAD_BYTES)
        return self.with_licence(found[1].decode("ascii").rstrip(" -"), "file") if found else self


class SourceFile(NamedTuple):
    """A file to index; `path` is relative to its repository."""

    origin: Origin
    path: str
    data: bytes


def is_unicode(name: str) -> bool:
    """Return whether a name can be stored: names of files may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def normal_licence(text: str) -> str:
    """Return a licence in one line, as an SPDX expression if license-expression is installed and understands it."""
    line = " ".join(text.split())[:MAX_LETTERS]
    licensing = _licensing()
    if licensing is None or not line:
        return line
    try:
        parsed = licensing.parse(line, validate=True)
    except Exception:  # its own errors, and others for some texts
        return line
    return str(parsed) if parsed is not None else line


@cache
def _licensing() -> Any:
    try:
        from license_expression import get_spdx_licensing
    except ImportError:
        return None
    return get_spdx_licensing()
