"""A completion as HTML for notebooks: the less probable a token was, the darker its background."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from santacoder.decoding.logprobs import TokenLogprobs

_COLOR: Final = "255, 99, 71"  # readable below dark and light text
_DARKEST: Final = 0.7


def as_html(text: str, start: int = 0, parts: Sequence[str] = (), logprobs: Iterable[TokenLogprobs] = ()) -> str:
    """Return a text as HTML, with a shade for each token and its log-probability where the mouse points.

    Args:
        text: the text.
        start: where the tokens' texts begin in it.
        parts: the text of each token. Where the text ended within one, or left one out, the rest counts.
        logprobs: one for each token.
    """
    shown, at = [escape(text[:start])], start
    for part, logprob in zip(parts, logprobs, strict=True):
        # The model saw LF, and a text may have the CRLF of its file, or lack the blank lines that it began with.
        spelled = [part, part.replace("\n", "\r\n"), *([part.lstrip()] if at == start else [])]
        piece = max((_agreeing(each, text, at) for each in spelled), key=len)
        if piece:
            shown.append(_span(piece, logprob.logprob))
            at += len(piece)
    shown.append(escape(text[at:]))
    return f'<pre style="white-space: pre-wrap">\n{"".join(shown)}</pre>'  # HTML drops the first line break


def _agreeing(part: str, text: str, at: int) -> str:
    """Return the beginning of `part` that the text has at this position."""
    return part[: next((i for i, letter in enumerate(part) if text[at + i : at + i + 1] != letter), len(part))]


def _span(text: str, logprob: float) -> str:
    probability = math.exp(logprob)
    shade = f"background: rgba({_COLOR}, {_DARKEST * (1 - probability):.2f})"
    return f'<span style="{shade}" title="{probability:.1%}, log-probability {logprob:.2f}">{escape(text)}</span>'
