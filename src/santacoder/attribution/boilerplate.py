"""Which lexemes of a text are common: they say nothing of where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder.attribution.lexemes import Lexemes
from santacoder.attribution.rows import Content, Place

COMMON_REPOSITORIES: Final = 5
COMMON_FILES: Final = 20
LEAST_VARIETY: Final = 12  # different lexemes of a match that is not common

#: Blank lines and comments at the start of a file, in the notations of most languages.
_LEADING_COMMENT = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s+|(?:#|//|--|;|%)[^\n]*(?:\n|$)|/\*.*?\*/|<!--.*?-->)*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Run:
    """Lexemes first..end-1 of a text that stand in a content.

    Attributes:
        first, end: see above.
        content: where they stand.
        source: the lexemes of its text; None without one.
        shift: lexeme i of the text is lexeme i + shift of the source.
    """

    first: int
    end: int
    content: Content
    source: Lexemes | None
    shift: int

    def covers(self, first: int, end: int) -> bool:
        """Return whether these lexemes are all in the run."""
        return self.first <= first and end <= self.end


def leading_comment(source: Lexemes) -> int:
    """Return how many lexemes the comment has that a file begins with: a licence header, most of the time."""
    found = _LEADING_COMMENT.match(source.text)
    return int(np.searchsorted(source.starts, found.end() if found else 0))


def common_lexemes(count: int, runs: Sequence[Run], places: Mapping[int, Sequence[Place]]) -> NDArray[np.bool_]:
    """Return which of `count` lexemes of a text are common.

    Those are common that stand in COMMON_FILES files or COMMON_REPOSITORIES repositories, or in no file outside of the
    comment that it begins with.

    Args:
        count: of the lexemes of the text.
        runs: all that were found.
        places: the files that hold a content, by its id.
    """
    files = np.zeros(count, np.int64)
    repositories: dict[str, NDArray[np.bool_]] = {}
    outside = np.zeros(count, np.bool_)
    for number, group in _by_content(runs).items():
        held = np.zeros(count, np.bool_)
        for run in group:
            held[run.first : run.end] = True
            leading = leading_comment(run.source) - run.shift if run.source is not None else 0
            outside[max(run.first, min(leading, run.end)) : run.end] = True
        files += held * len(places[number])
        for name in {place.origin.repository for place in places[number]}:
            repositories.setdefault(name, np.zeros(count, np.bool_))
            repositories[name] |= held
    many = sum((each.astype(np.int64) for each in repositories.values()), np.zeros(count, np.int64))
    common: NDArray[np.bool_] = (files >= COMMON_FILES) | (many >= COMMON_REPOSITORIES) | ~outside
    return common


def _by_content(runs: Iterable[Run]) -> dict[int, list[Run]]:
    groups: dict[int, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.content.id, []).append(run)
    return groups


def is_common(text: Lexemes, first: int, end: int, own: int, min_length: int) -> bool:
    """Return whether a span is common, of which `own` lexemes are not: too few for a match, and less than half."""
    varied = len(np.unique(text.hashes[first:end])) >= LEAST_VARIETY
    return not varied or (own < min_length and 2 * own < end - first)
