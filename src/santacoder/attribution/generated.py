"""What of a generated text stands in an index, and a filter that ends a text before it would be a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import Lexemes, split
from santacoder.attribution.matches import Match
from santacoder.attribution.state import EXACT
from santacoder.errors import AttributionIndexError

AROUND: Final = 64  # lexemes of the text before and after that are looked at
LEAST_GENERATED: Final = 16  # lexemes of a match that are generated: else it is the caller's own text
MIN_LENGTH: Final = EXACT.guarantee
MOST_CHARACTERS: Final = 10_000  # at the end of a generated text in which a match is looked for while it grows


class EnclosingText:
    """The text around a generated one, as far as it is looked at."""

    def __init__(self, before: str = "", after: str = "") -> None:
        """Keep the end of the text before, and the beginning of the text after."""
        self.before = _last_lexemes(before)
        self.after = _first_lexemes(after)

    def matches(self, index: AttributionIndex, text: str, min_length: int = MIN_LENGTH) -> list[Match]:
        """Return the matches of a generated text with what is around it, of which enough is generated.

        Positions and lines are those of `text`: a match that begins before it has a negative start.

        Raises:
            AttributionIndexError, InvalidRequestError: see `AttributionIndex.find`.
        """
        shift, lines = len(self.before), self.before.count("\n")
        moved = [
            replace(
                match,
                start=match.start - shift,
                end=match.end - shift,
                start_line=match.start_line - lines,
                end_line=match.end_line - lines,
            )
            for match in index.find(self.before + text + self.after, min_length)
        ]
        return [match for match in moved if generated_lexemes(text, match) >= LEAST_GENERATED]


def generated_lexemes(text: str, match: Match) -> int:
    """Return how many lexemes of a match are of the generated text."""
    return len(_lexemes(text[max(match.start, 0) : max(match.end, 0)]))


def _lexemes(text: str) -> Lexemes:
    return split(text.encode("utf-8", "surrogatepass"))


def _last_lexemes(text: str) -> str:
    """Return the end of a text with at most AROUND lexemes, and the white space after them."""
    part = text[-100 * AROUND :]
    lexemes = _lexemes(part)
    if len(lexemes) <= AROUND:
        return part
    return lexemes.text[int(lexemes.starts[-AROUND]) :].decode("utf-8", "surrogatepass")


def _first_lexemes(text: str) -> str:
    """Return the beginning of a text with at most AROUND lexemes."""
    part = text[: 100 * AROUND]
    lexemes = _lexemes(part)
    if len(lexemes) <= AROUND:
        return part
    return lexemes.text[: lexemes.end(AROUND - 1)].decode("utf-8", "surrogatepass")


class MatchFilter:
    """A text filter that ends the text before a span becomes a verbatim match: before the lexeme that completes it.

    Each lexeme that has ended is the last of a gram, which is looked up. A span that is long enough for a match holds a
    stored gram, so nothing else needs to be searched; from then on it is known how many lexemes must come before it may
    be a match. Only an unfinished word is held back.
    """

    reason: Final = "attribution"

    def __init__(self, index: AttributionIndex, before: str, min_length: int = MIN_LENGTH) -> None:
        self.stopped = False
        self._index = index
        self._min_length = min_length
        self._before = EnclosingText(before).before
        self._text = ""  # generated so far, also what is held back
        self._passed = 0  # characters of it that are out
        self._checked = 0  # characters of it whose lexemes complete no match
        self._due: int | None = 1  # lexemes until a span may be a match; the first one may go on with the prompt's
        self._recent = _lexemes(self._before).hashes.tolist()

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        return self._advance(text, ended=False)

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        return self._advance("", ended=True)

    def _advance(self, text: str, *, ended: bool) -> str:
        self._text += text
        begin = self._checked
        lexemes = _lexemes(self._text[begin:])
        count = len(lexemes)
        if count and not ended and lexemes.end(count - 1) == len(lexemes.text) and _is_word(self._text[-1]):
            count -= 1  # it may go on
        starts = [begin + _characters(lexemes, int(place)) for place in lexemes.starts]
        for number in range(count):
            end = begin + _characters(lexemes, lexemes.end(number))
            if self._completes_match(int(lexemes.hashes[number]), end):
                self.stopped = True
                return self._pass(starts[number])
            self._checked = end
        return self._pass(starts[count] if count < len(lexemes) else len(self._text))

    def _pass(self, end: int) -> str:
        out = self._text[self._passed : end]
        self._passed = max(self._passed, end)
        return out

    def _completes_match(self, lexeme: int, end: int) -> bool:
        """Return whether the lexeme of this hash, which ends at a character, makes a match."""
        gram = self._index.gram
        self._recent = [*self._recent[1 - gram :], lexeme]
        self._due = None if self._due is None else self._due - 1
        if self._due != 0 and not self._index.has_gram(self._recent):
            return False
        part = self._text[max(end - MOST_CHARACTERS, 0) : end]
        before = self._before if len(part) == end else ""
        try:
            matches = self._index.find(before + part, gram, renamed=False)
        except OSError as error:
            raise AttributionIndexError(f"the index cannot be read: {error}") from None
        waits = []
        for match in matches:
            if match.end == len(before) + len(part):
                generated = generated_lexemes(part, replace(match, start=match.start - len(before), end=len(part)))
                waits.append(self._wait(match, generated))
        self._due = max(min(waits), 1) if waits else None
        return any(wait <= 0 for wait in waits)

    def _wait(self, match: Match, generated: int) -> int:
        """Return how many lexemes must come, at least, before a span is a match that is not common; 0 if it is one."""
        wait = max(self._min_length - match.lexemes, LEAST_GENERATED - generated)
        half = match.lexemes - 2 * match.own
        if half > 0:
            return max(wait, min(self._min_length - match.own, half))
        return max(wait, 1) if match.common else wait  # it has hardly any variety so far


def _characters(lexemes: Lexemes, place: int) -> int:
    """Return how many characters come before a byte of a text."""
    return len(lexemes.text[:place].decode("utf-8", "surrogatepass"))


def _is_word(character: str) -> bool:
    return character in "_$" or not character.isascii() or character.isalnum()
