"""What stands between decoded text and the caller: filters that hold text back, end it, or take from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class TextFilter(Protocol):
    """Passes text on as soon as it is final; all that it returns does not depend on how the text was cut up."""

    @property
    def stopped(self) -> bool:
        """Whether the text has ended here: then neither method is called again."""
        ...

    def feed(self, text: str) -> str:
        """The part of all text so far that is now known to be final and was not returned before."""
        ...

    def flush(self, cut_off: bool = False) -> str:
        """What is still held back and stays: no more text comes, and `stopped` may become true only now.

        `cut_off` says that the text did not come to an end of its own, but to a limit like max_tokens.
        """
        ...


#: Makes the filters of one text that has these stop strings, new ones at each call.
MakeFilters = Callable[[Sequence[str]], Sequence[TextFilter]]


class FilterChain:
    """Filters one behind the other, as one: each sees what those before it let through."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._filters = filters

    @property
    def stopped(self) -> bool:
        """Whether one of them ended the text."""
        return any(each.stopped for each in self._filters)

    def feed(self, text: str) -> str:
        """As `TextFilter.feed`: where one filter ends the text, those behind it give what they hold back."""
        ended = False
        for each in self._filters:
            text = each.feed(text)
            if ended and not each.stopped:
                text += each.flush()
            ended = ended or each.stopped
        return text

    def flush(self, cut_off: bool = False) -> str:
        """As `TextFilter.flush`."""
        if self.stopped:
            return ""
        text = ""
        ended = False
        for each in self._filters:
            text = each.feed(text)
            if not each.stopped:
                text += each.flush(cut_off and not ended)
            ended = ended or each.stopped
        return text
