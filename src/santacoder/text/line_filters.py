"""Filters that end a text at a line break: before a line that is indented too little, or once its time is over."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic
from typing import Final

from santacoder.text.filters import TextFilter

#: Makes filters that act on lines; new ones at each call.
MakeLineFilters = Callable[[], list[TextFilter]]

_LINE_WITH_TEXT: Final = re.compile(r"\r*\n([ \t]*)[^\S\n]*(?=\S)")
_BEGUN_LINE: Final = re.compile(r"(?:\r*\n[^\S\n]*|\r+)\Z")  # with its line break, and no text yet
_LAST_LINE: Final = re.compile(r"(?:\r*\n[^\n]*|\r+)\Z")


def line_filters(min_indent: int, line_deadline: float | None) -> list[TextFilter]:
    """Make the filters of one text for these options; none where they are off."""
    filters: list[TextFilter] = []
    if min_indent:
        filters.append(MinIndent(min_indent))
    if line_deadline is not None:
        filters.append(LineDeadline(line_deadline))
    return filters


class MinIndent:
    """Ends the text before a line that has text and begins with fewer than `least` blanks and tabs.

    That line and the line break before it are not part of the text. The first line is what follows the prompt on its
    line, so it may have any indentation.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._held = ""  # a line that has no text yet, and its line break
        self.stopped = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        text = self._held + text
        for line in _LINE_WITH_TEXT.finditer(text):
            if len(line[1]) < self._least:
                self.stopped = True
                return text[: line.start()]
        passed, self._held = _split(text, _BEGUN_LINE)
        return passed

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        held, self._held = self._held, ""
        return held


class LineDeadline:
    """Ends the text before its last line break once its time is over, or before the first one that comes then.

    So the first line is whole, and passes on at once; the others pass on as whole lines. The time counts from the first
    text that is fed, if it is only "".
    """

    reason: Final = "deadline"

    def __init__(self, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._begin: float | None = None
        self._held = ""  # the last line, if it is not the first, and its line break
        self.stopped = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`; other than there, the output depends on when the text comes."""
        now = self._clock()
        self._begin = now if self._begin is None else self._begin
        if not text:
            return ""  # it may be the end, where nothing is cut
        passed, self._held = _split(self._held + text, _LAST_LINE)
        self.stopped = now - self._begin >= self._seconds and "\n" in self._held
        return passed

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        held, self._held = self._held, ""
        return held


def _split(text: str, end: re.Pattern[str]) -> tuple[str, str]:
    found = end.search(text)
    at = len(text) if found is None else found.start()
    return text[:at], text[at:]
