"""Filters between decoded text and the caller: they hold text back, end it, or remove parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class TextFilter(Protocol):
    """Passes text on as soon as it is final. Its joined output does not depend on how the text was cut up."""

    @property
    def stopped(self) -> bool:
        """Whether the text has ended here: then neither method is called again."""
        ...

    def feed(self, text: str) -> str:
        """Return the part of the text so far that is now known to be final and was not returned before."""
        ...

    def flush(self, cut_off: bool = False) -> str:
        """End the text: return what was held back and stays. `stopped` may become true only now.

        `cut_off` says that the text did not end by itself, but at a limit like max_tokens.
        """
        ...


#: Makes the filters of one text with these stop strings; new ones at each call.
MakeFilters = Callable[[Sequence[str]], Sequence[TextFilter]]


class FilterChain:
    """Several filters in a row, used as one: each sees the text that those before it let through."""

    def __init__(self, filters: Sequence[TextFilter]) -> None:
        self._filters = filters

    @property
    def stopped(self) -> bool:
        """Whether one of them ended the text."""
        return any(each.stopped for each in self._filters)

    @property
    def ending(self) -> TextFilter | None:
        """The filter that ended the text: of several the last, which saw what the others had left."""
        return next((each for each in reversed(self._filters) if each.stopped), None)

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`; where one filter ends the text, those after it return what they hold back."""
        ended = False
        for each in self._filters:
            text = each.feed(text)
            if ended and not each.stopped:
                text += each.flush()
            ended = ended or each.stopped
        return text

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
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
