"""Check that a text filter gives the same result for every split of its input in two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from santacoder.text.filters import TextFilter


def run(chain: TextFilter, parts: Sequence[str], cut_off: bool = False) -> tuple[str, bool]:
    """All that a filter lets through, and whether it ended the text."""
    out = ""
    for part in parts:
        out += chain.feed(part)
        if chain.stopped:
            return out, True
    out += chain.flush(cut_off)
    return out, chain.stopped


def every_split(make: Callable[[], TextFilter], text: str, cut_off: bool = False) -> tuple[str, bool]:
    """The result of `run`, the same for the whole text, for every split in two and for single characters."""
    whole = run(make(), [text], cut_off)
    assert run(make(), list(text), cut_off) == whole
    for at in range(len(text) + 1):
        assert run(make(), [text[:at], text[at:]], cut_off) == whole
    return whole
