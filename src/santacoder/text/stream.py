"""From tokens to text, with whole characters and stop strings."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from santacoder.text.filters import FilterChain, TextFilter
from santacoder.text.line_filters import MakeLineFilters
from santacoder.text.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes token by token; its pieces, `flush` last, join to the text that `Tokenizer.decode` returns."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start an empty stream."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: SupportsIndex) -> str:
        """Return the text that became complete with this token; "" while a character is still unfinished.

        Raises:
            InvalidRequestError: the id is not in the vocabulary.
        """
        return self.feed_bytes(self._tokenizer.token_bytes(token))

    def feed_bytes(self, data: bytes) -> str:
        """Return the text that became complete with these bytes."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """End the stream: U+FFFD if a character was left unfinished, else ""; the decoder is empty again."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def token_texts(tokenizer: Tokenizer, tokens: Iterable[int], owed: int = 0) -> list[str]:
    """Return the text of each token: characters count for the token that completes them.

    The first `owed` bytes of all are left out.
    """
    decoder, texts = StreamDecoder(tokenizer), []
    for token in tokens:
        data = tokenizer.token_bytes(token)
        texts.append(decoder.feed_bytes(data[owed:]))
        owed = max(owed - len(data), 0)
    return texts


class StopFilter:
    """Passes text on until a stop string appears, and holds back what could be the start of one.

    The stop string that is complete first counts (of several, the longest). So the result does not depend on
    how the text was cut into tokens.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._firsts = frozenset(stop[0] for stop in stops)
        self._held = ""
        self.stop_text: str | None = None  # the stop string that ended the text
        self.stopped = False

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        held = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            end, at = min(found)
            self.stopped, self.stop_text = True, held[at:end]
            self._held = ""
            return held[:at]
        cut = next(
            (at for at, first in enumerate(held) if first in self._firsts and self._may_begin(held[at:])), len(held)
        )
        self._held = held[cut:]
        return held[:cut]

    def _may_begin(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stops)

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        held, self._held = self._held, ""
        return held


def stop_filters(stops: Sequence[str], lines: MakeLineFilters = list) -> list[TextFilter]:
    """Make the filters of a text that ends before a stop string and is otherwise as the model writes it."""
    return [StopFilter(stops), *lines()]


class TextStream:
    """Turns tokens into final text: whole characters that have passed the filters."""

    def __init__(self, tokenizer: Tokenizer, filters: Sequence[TextFilter]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._filter = FilterChain(filters)

    @property
    def stopped(self) -> bool:
        """Whether a filter ended the text."""
        return self._filter.stopped

    @property
    def stop_text(self) -> str | None:
        """The stop string that ended the text; None while it goes on, or if it ended otherwise."""
        ending = self._filter.ending
        return ending.stop_text if isinstance(ending, StopFilter) else None

    @property
    def stop_reason(self) -> str:
        """What the filter that ended the text calls its `reason`, if it has one, else "stop"."""
        return getattr(self._filter.ending, "reason", "stop")

    def feed(self, data: bytes) -> str:
        """Return the text that became final with these bytes of a token."""
        return self._filter.feed(self._decoder.feed_bytes(data))

    def finish(self, cut_off: bool = False) -> str:
        """End the text and return the rest of it; `cut_off` as in `TextFilter.flush`."""
        return self._filter.feed(self._decoder.flush()) + self._filter.flush(cut_off)
