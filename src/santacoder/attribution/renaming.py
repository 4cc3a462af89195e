"""Whether two runs of lexemes are the same but for their names: whether one mapping of names explains them."""

from __future__ import annotations

from typing import Final

from santacoder.attribution.lexemes import Lexemes

MOST_UNEXPLAINED: Final = 0.05  # of the lexemes
LEAST_EQUAL: Final = 0.30  # of the lexemes, signs and keywords included: else only the shape is alike
LEAST_CONFIRMED: Final = 0.02  # of the lexemes: names that stand for each other once more


class _Mapping:
    """Names of one text and those of the other that stand for them, one to one."""

    def __init__(self) -> None:
        self._there: dict[bytes, bytes] = {}
        self._back: dict[bytes, bytes] = {}

    def explains(self, word: bytes, other: bytes) -> bool:
        """Return whether the two stand for each other; two that are new do from now on."""
        if word not in self._there and other not in self._back:
            self._there[word], self._back[other] = other, word
        return self._there.get(word) == other and self._back.get(other) == word


def renamed_run(
    text: Lexemes, source: Lexemes, shift: int, seed: tuple[int, int], bounds: tuple[int, int]
) -> tuple[int, int] | None:
    """Return first and end of the longest run around a seed that one mapping of names explains, or None.

    Args:
        text: the text.
        source: of which lexeme i + shift has the hash of lexeme i of the text, within the bounds.
        shift: see `source`.
        seed: first and end of what must be in the run.
        bounds: first and end of where it may reach.
    """
    words = text.words(*bounds)
    others = source.words(bounds[0] + shift, bounds[1] + shift)
    mapping = _Mapping()
    first, end = (each - bounds[0] for each in seed)
    unexplained = sum(not mapping.explains(words[at], others[at]) for at in range(first, end))
    for step, limit in ((1, len(words)), (-1, -1)):
        at = end if step > 0 else first - 1
        missed = 0
        while at != limit:
            missed = 0 if mapping.explains(words[at], others[at]) else missed + 1
            unexplained += missed > 0
            if missed > 2 or unexplained > MOST_UNEXPLAINED * (end - first + 1):
                unexplained -= missed
                break
            at += step
            if missed == 0:
                first, end = (first, at) if step > 0 else (at + 1, end)
    length = end - first
    equal = sum(words[at] == others[at] for at in range(first, end))
    changed = [pair for pair in zip(words[first:end], others[first:end], strict=True) if pair[0] != pair[1]]
    again = len(changed) - len(set(changed))
    if unexplained > MOST_UNEXPLAINED * length or equal < LEAST_EQUAL * length or again < LEAST_CONFIRMED * length:
        return None
    return first + bounds[0], end + bounds[0]
