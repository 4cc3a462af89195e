"""What of a generated text stands in an index, and a filter that ends a text before it would be a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from santacoder.attribution.index import AttributionIndex
from santacoder.attribution.lexemes import Follower, Lexemes, split
from santacoder.attribution.matches import Match
from santacoder.attribution.state import EXACT
from santacoder.errors import AttributionIndexError

AROUND: Final = 64  # lexemes of the text before and after that are looked at
LEAST_GENERATED: Final = 16  # lexemes of a match that are generated: else it is the caller's own text
UTF8: Final = "utf-8", "surrogatepass"
MIN_LENGTH: Final = EXACT.guarantee
MOST_CHARACTERS: Final = 10_000  # at the end of a generated text in which a match is looked for while it grows


class EnclosingText:
    """The text around a generated one, as far as it is looked at."""

    def __init__(self, before: str = "", after: str = "") -> None:
        """Keep the end of the text before, and the beginning of the text after."""
        self.before = _last_lexemes(before)
        self.after = _first_lexemes(after)
        self._clear: set[str] = set()

    def note_clear(self, text: str) -> None:
        """Note that each match of the guaranteed length with this generated text would hold a gram, and none is stored.

        Then `matches` need not search. A filter has looked up these grams while the text was generated.
        """
        self._clear.add(text)

    def matches(self, index: AttributionIndex, text: str, min_length: int = MIN_LENGTH) -> list[Match]:
        """Return the matches of a generated text with what is around it, of which enough is generated.

        Positions and lines are those of `text`: a match that begins before it has a negative start.

        Raises:
            AttributionIndexError, InvalidRequestError: see `AttributionIndex.find`.
        """
        if text in self._clear and min_length >= index.guarantee:
            return []
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
    return split(text.encode(*UTF8))


def _last_lexemes(text: str) -> str:
    """Return the end of a text with at most AROUND lexemes, and the white space after them."""
    part = text[-100 * AROUND :]
    if len(part) <= AROUND:
        return part  # a lexeme has a character, at least
    lexemes = _lexemes(part)
    if len(lexemes) <= AROUND:
        return part
    return lexemes.text[int(lexemes.starts[-AROUND]) :].decode(*UTF8)


def _first_lexemes(text: str) -> str:
    """Return the beginning of a text with at most AROUND lexemes."""
    part = text[: 100 * AROUND]
    if len(part) <= AROUND:
        return part
    lexemes = _lexemes(part)
    if len(lexemes) <= AROUND:
        return part
    return lexemes.text[: lexemes.end(AROUND - 1)].decode(*UTF8)


class MatchFilter:
    """A text filter that ends the text before a span becomes a verbatim match: before the lexeme that completes it.

    A span that is long enough for a match holds a window, whose chosen gram is stored. So the text is winnowed as the
    index was, and only chosen grams are looked up. Where one is stored, a search says how many lexemes must come, at
    least, before there may be a match. Only an unfinished word is held back.
    """

    reason: Final = "attribution"

    def __init__(self, index: AttributionIndex, enclosing: EnclosingText, min_length: int = MIN_LENGTH) -> None:
        self.stopped = False
        self._index = index
        self._enclosing = enclosing
        self._before = enclosing.before
        self._min_length = min_length
        self._passed: list[str] = []  # of the generated text
        self._follower = Follower(index.winnowing)
        self._held = self._before.encode(*UTF8)  # not read yet, or not passed on
        self._keys: list[int] = []  # of grams that are not looked up yet
        self._copies = False  # whether a search found what may become a match
        self._clear = index.is_verbatim and not enclosing.after  # whether all that matches would hold is not stored
        self._fresh = True  # whether the index is to be seen as it is now
        at = self._follower.read(self._held, 0)
        while self._follower.key is not None:
            self._keys.append(self._follower.key)
            at = self._follower.read(self._held, at)
        self._held = self._held[at:]  # a word that the generated text may go on with
        self._foreign = len(self._held)  # bytes of it that are not generated
        self._follower.wait(1 if self._keys else 0)

    def feed(self, text: str) -> str:
        """See `TextFilter.feed`."""
        data = self._held + text.encode(*UTF8)
        at = self._follower.read(data, 0)
        if self._follower.state.paused or self._foreign:
            return self._pass(data, at, ended=False)
        self._held = data[at:]  # most tokens end here: each call less is a microsecond
        out = data[:at].decode(*UTF8)
        self._passed.append(out)
        return out

    def flush(self, cut_off: bool = False) -> str:
        """See `TextFilter.flush`."""
        data = self._held
        out = self._pass(data, self._follower.read(data, 0, True), ended=True)
        if self._clear and not self._keys:
            self._enclosing.note_clear("".join(self._passed))
        return out

    def _pass(self, data: bytes, at: int, *, ended: bool) -> str:
        """Return what passes of `data`, which the follower has read up to `at`."""
        follower, foreign = self._follower, self._foreign
        while follower.state.paused:
            if self._completes_match(data[foreign:at]):
                self.stopped = True
                at = follower.start
                break
            at = follower.read(data, at, ended)
        self._held = data[at:]
        if foreign:
            self._foreign = max(foreign - at, 0)
        out = data[foreign:at].decode(*UTF8)
        self._passed.append(out)
        return out

    def _completes_match(self, last: bytes) -> bool:
        """Return whether the lexeme for which the follower paused makes a match; the text ends with `last`."""
        follower = self._follower
        keys, self._keys = self._keys, []
        if follower.key is not None:
            keys.append(follower.key)
        try:
            if not (follower.is_due and self._copies):
                fresh, self._fresh = self._fresh, False
                if not self._index.holds(keys, fresh=fresh):
                    return False
                self._clear = False
            return self._search("".join(self._passed) + last.decode(*UTF8))
        except OSError as error:
            raise AttributionIndexError(f"the index cannot be read: {error}") from None

    def _search(self, text: str) -> bool:
        """Return whether the text ends with a match; if not, note when to look again."""
        part = text[-MOST_CHARACTERS:]
        before = self._before if part == text else ""
        matches = self._index.find(before + part, self._index.winnowing.gram, renamed=False)
        waits = []
        for match in matches:
            if match.end == len(before) + len(part):
                generated = generated_lexemes(part, replace(match, start=match.start - len(before), end=len(part)))
                waits.append(self._wait(match, generated))
        self._copies = bool(waits)
        self._follower.wait(max(min(waits), 1) if waits else 0)
        return any(wait <= 0 for wait in waits)

    def _wait(self, match: Match, generated: int) -> int:
        """Return how many lexemes must come, at least, before a span is a match that is not common; 0 if it is one."""
        wait = max(self._min_length - match.lexemes, LEAST_GENERATED - generated)
        half = match.lexemes - 2 * match.own
        if half > 0:
            return max(wait, min(self._min_length - match.own, half))
        return max(wait, 1) if match.common else wait  # it has hardly any variety so far
