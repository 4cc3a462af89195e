"""What a search finds: spans of a text, and the files of the corpus in which they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from santacoder.attribution.origins import UNKNOWN

#: "exact": the same bytes. "whitespace": the same lexemes. "renamed": the same with other names or numbers.
#: "unverified": the index has no texts, only hashes, and they agree.
Kind = Literal["exact", "whitespace", "renamed", "unverified"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file in which a span of a text stands.

    Attributes:
        repository: a URL, a package URL such as "pkg:pypi/requests", or a folder.
        path: of the file in it.
        revision: a commit or a version, or "".
        licence: an SPDX expression, or what the source says instead; "NOASSERTION" if it says nothing. A hint.
        licence_source: where that was read: "file", a name of a file of metadata, "dataset", "given", or "".
        start_line: of the span in the file, from 1; 0 if the match is unverified.
        end_line: the line of its last character.
        kind: how it is the same.
    """

    repository: str
    path: str
    revision: str = ""
    licence: str = UNKNOWN
    licence_source: str = ""
    start_line: int = 0
    end_line: int = 0
    kind: Kind = "exact"


@dataclass(frozen=True, slots=True)
class Match:
    """A span of a text that stands in the corpus.

    Attributes:
        start: its first character in the text.
        end: the character after it.
        start_line: the line of its first character, from 1.
        end_line: the line of its last character.
        lexemes: how many it has.
        kind: how it is the same as in the first source; others may be less alike.
        own: how many of these are not common: not what many files share, nor in a comment that a file begins with.
        common: whether these are few, or the span has hardly any variety.
        files: how many files hold it; of common ones, at least so many.
        sources: up to MAX_SOURCES of these, the most alike first.
    """

    start: int
    end: int
    start_line: int
    end_line: int
    lexemes: int
    own: int
    kind: Kind
    common: bool
    files: int
    sources: tuple[Source, ...]

    @property
    def characters(self) -> int:
        """The length of the span with its white space, in characters."""
        return self.end - self.start


MAX_SOURCES = 10
