"""A prompt of `santacoder complete`: what the model gets, and what becomes of its completion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from santacoder.text.filters import FilterChain
from santacoder.text.line_breaks import ReadLineBreaks, WriteCRLF, as_lf, uses_crlf

if TYPE_CHECKING:
    from santacoder.decoding.results import Completion


class PromptRequest:
    """A prompt whose line breaks the completion gets, while the model sees LF.

    Attributes:
        prompt: as the model gets it.
        options: likewise.
        echo: the prompt as it was given, if it is echoed, or "".
    """

    def __init__(self, prompt: str, given: Mapping[str, Any]) -> None:
        self.prompt = as_lf(prompt)
        self.options = dict(given)
        self.echo = prompt if self.options.pop("echo", False) else ""
        self._crlf = uses_crlf(prompt)
        if self._crlf:
            stops = self.options.get("stop", ())
            stops = [as_lf(stop) for stop in ([stops] if isinstance(stops, str) else stops)]
            self.options["stop"] = [*stops, *map(WriteCRLF().feed, stops)]  # the model may write LF or CRLF

    def filters(self) -> FilterChain:
        """Make what converts the pieces of a completion."""
        return FilterChain([ReadLineBreaks(), WriteCRLF()] if self._crlf else [])

    def finished(self, completion: Completion) -> Completion:
        """Return a completion as the user gets it."""
        breaks = self.filters()
        text = breaks.feed(completion.text) + breaks.flush(completion.finish_reason != "stop")
        return replace(completion, text=self.echo + text)
