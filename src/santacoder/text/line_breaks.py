"""Line breaks: the model reads and writes LF only; what it writes is given the line breaks of the file.

A line break is LF, or CRLF with any number of CRs: text that was converted twice has several. Any other CR is an
ordinary character.
"""

from __future__ import annotations

from typing import Final


def as_lf(text: str) -> str:
    """Return the text with LF for each of its line breaks."""
    if "\r" not in text:
        return text
    *lines, last = text.split("\n")
    return "\n".join([*(line.rstrip("\r") for line in lines), last])


def uses_crlf(*texts: str) -> bool:
    """Return whether most line breaks of the texts are CRLF: more than half of them, and at least one."""
    return 2 * sum(text.count("\r\n") for text in texts) > sum(text.count("\n") for text in texts)


class ReadLineBreaks:
    """Passes text on as `as_lf` returns it. CRs at the end of a text that was cut off count as a line break."""

    stopped: Final = False

    def __init__(self) -> None:
        self._held = ""  # CRs, which an LF may follow

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        text = self._held + text
        end = len(text.rstrip("\r"))
        self._held = text[end:]
        return as_lf(text[:end])

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        held, self._held = self._held, ""
        return "\n" if held and cut_off else held


class WriteCRLF:
    """Passes text on with CRLF for each LF, never split."""

    stopped: Final = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        return text.replace("\n", "\r\n")

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        return ""
