"""Filters that end an infilled text: at the end of its line, or where it repeats the suffix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from santacoder._util.validation import invalid_argument
from santacoder.text.filters import TextFilter
from santacoder.text.line_breaks import ReadLineBreaks, WriteCRLF, as_lf, uses_crlf
from santacoder.text.line_filters import MakeLineFilters
from santacoder.text.stream import StopFilter

ENOUGH: Final = 4  # letters, digits and underscores; a repeat with so many is not by chance
LONGEST: Final = 200  # most characters of a suffix that are compared

_LINE_BREAK: Final = re.compile(r"[\r\n]")
_BLANK_LINES: Final = re.compile(r"\A\s*[\r\n]")


def infill_filters(
    prefix: str, suffix: str, single_line: bool, stops: Sequence[str], lines: MakeLineFilters = list
) -> list[TextFilter]:
    """Make the filters of one infilled text: stop strings act first, then the single line, the suffix, and `lines`.

    All of them compare texts with LF for every line break. The result has the line breaks of its file.

    Raises:
        InvalidRequestError: `single_line` is not a bool.
    """
    if not isinstance(single_line, bool):
        raise invalid_argument("single_line", single_line, "True or False")
    filters: list[TextFilter] = [ReadLineBreaks(), StopFilter([as_lf(stop) for stop in stops])]
    if single_line:
        filters.append(FirstLine(as_lf(prefix)))
    filters.append(SuffixTrimmer(as_lf(prefix), as_lf(suffix)))
    filters += lines()
    if uses_crlf(prefix, suffix):
        filters.append(WriteCRLF())
    return filters


class FirstLine:
    r"""Ends the text before its first line break, `\n` or `\r`.

    One exception: where the prefix ends at the start of a line, leading blank lines are dropped, and the first
    line that is not blank counts. Anywhere else a leading line break means that nothing belongs on this line,
    and the text is empty.
    """

    def __init__(self, prefix: str) -> None:
        self._skipping = not prefix or prefix[-1] in "\r\n"
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        if self._skipping:
            self._held = _BLANK_LINES.sub("", self._held + text)
            if not self._held.strip():
                return ""
            self._skipping = False
            text, self._held = self._held, ""
        end = _LINE_BREAK.search(text)
        if end is None:
            return text
        self.stopped = True
        return text[: end.start()]

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        held, self._held = self._held, ""
        return held


def split_suffix(suffix: str) -> tuple[str, str]:
    r"""Split off the blank text at the start of a suffix, and the lead: the part after it that shows a repeat.

    The lead begins with the first line that is not blank, with the line break before it if there is one. It
    ends with a line: the first by whose end it has 4 letters, digits or underscores. The line break is included
    (one is added where the suffix has none). The lead has at most 200 characters. `"\n\n    return x\n"`
    gives `("\n", "\n    return x\n")`, and `")\n    return x"` gives `("", ")\n    return x\n")`.

    Returns:
        Blank text and lead; the lead is "" if all the suffix is blank.
    """
    content = len(suffix) - len(suffix.lstrip())
    start = max(0, suffix.rfind("\n", 0, content))
    if content == len(suffix):
        return suffix, ""
    window = suffix[start : start + LONGEST]
    seen = 0
    for at, character in enumerate(window):
        seen += _is_word(character)
        if character == "\n" and seen >= ENOUGH:
            return suffix[:start], window[: at + 1]
    whole = len(window) == LONGEST or window.endswith("\n")
    return suffix[:start], window if whole else window + "\n"


class SuffixTrimmer:
    r"""Ends the text where it starts to repeat the suffix (`split_suffix` says what its lead is).

    - While text arrives, it ends before the first occurrence of the whole lead, if the lead has 4 letters, digits
      or underscores: a shorter one may occur by chance.
    - When it ends by itself (end of text, a stop string, a single line), a tail that repeats the first line of
      the lead, or more whole lines, is removed, if that is a line with its indentation or has a letter or digit.
    - When a limit cuts it off, a tail that begins the lead is removed, if it has 4 letters, digits or underscores.

    With the suffix `")\n    return x\n"`, `"len(a))\n    return x\n"` becomes `"len(a)"`, and cut off after
    `"return"` it does too. `"len(a))"` stays, because it may be right: `print(str(` before it needs that. With
    `"\n}\n"`, `"f();\n}"` becomes `"f();"`, but `"f();\n}\nvoid g() {"` stays.

    Blank lines before a repeat are removed with it, as far as the suffix has them too. Where the prefix ends on a
    blank line, the text may begin with the rest of the lead's first line. A lead that begins with a space counts
    only where no space comes before it: otherwise lines that are indented deeper would match.
    """

    def __init__(self, prefix: str, suffix: str) -> None:
        self._blank, self._lead = split_suffix(suffix)
        self._certain = _words(self._lead) >= ENOUGH
        line = re.split(_LINE_BREAK, prefix[-LONGEST:])[-1]
        on_blank_line = not line.strip() and len(line) < LONGEST
        self._text = "\n" + line if on_blank_line else line  # where a repeat may begin, then all text fed
        self._sent = len(self._text)  # an index into `_text`
        self._search = 0 if on_blank_line and self._lead[:1] == "\n" else self._sent  # no repeat begins before it
        self.stopped = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        self._text += text
        at = self._find()
        if self._certain and self._text.startswith(self._lead, at):
            return self._end(at)
        least = max(self._sent, at - len(self._blank))
        while at > least and self._text[at - 1].isspace():
            at -= 1
        return self._send(at)

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        at = self._find()
        if self._is_repeat(self._text[at:], cut_off):
            return self._end(at)
        return self._send(len(self._text))

    def _is_repeat(self, rest: str, cut_off: bool) -> bool:
        """Return whether `rest`, the end of the text and the beginning of the lead, is a repeat."""
        words = _words(rest)
        if cut_off:
            return words >= ENOUGH
        whole = rest.endswith("\n") or self._lead[len(rest) :].startswith("\n")
        return whole and (words > 0 or (rest[:1] == "\n" and not rest.isspace()))

    def _find(self) -> int:
        """Return where the lead first occurs, or where the text's end first begins it; else the text's length."""
        text, lead = self._text, self._lead
        at = text.find(lead[0], self._search) if lead else -1
        while at >= 0:
            deeper = lead[0] in " \t" and text[at - 1 : at] in (" ", "\t")
            stands = self._certain and text.startswith(lead, at)
            if not deeper and (stands or lead.startswith(text[at : at + len(lead) + 1])):
                return at
            at = text.find(lead[0], at + 1)
        return len(text)

    def _send(self, end: int) -> str:
        part = self._text[self._sent : end]
        if part:
            self._sent = self._search = end
        return part

    def _end(self, at: int) -> str:
        self.stopped = True
        part = self._text[self._sent : at]
        blank = next(end for n in range(len(self._blank) + 1) if part.endswith(end := self._blank[n:]))
        return part[: len(part) - len(blank)]


def _words(text: str) -> int:
    """Count letters, digits and underscores."""
    return sum(map(_is_word, text))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
