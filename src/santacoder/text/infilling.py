"""Fill-in-the-middle prompts (Bavarian et al. 2022, "FIM"), and how much of a long context they keep.

docs/reference/infilling.md explains the rules to authors of editors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from santacoder._util.validation import invalid_argument
from santacoder.errors import ContextOverflowError, InvalidRequestError
from santacoder.text.healing import take_back
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import FimMode, Tokenizer

Mode = Literal["auto"] | FimMode

MARKERS: Final = 3  # fill-in-the-middle tokens of a prompt
CUT: Final = 256  # tokens: the prefix is cut by multiples of this, or of less where there is little room
LEAST: Final = 256  # tokens that are read whatever it costs


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a prompt may cost.

    Attributes:
        most: how many tokens that no cache holds may be read.
        uncached: counts these in a prompt (T,) int32.
    """

    most: int
    uncached: Callable[[TokenIds], int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """How much is read beside the nearest text.

    Attributes:
        extra: texts that come before the prefix, the most useful one last.
        extra_tokens: most tokens of these.
        reading: a limit; None if there is none.
    """

    extra: Sequence[str] = ()
    extra_tokens: int = 0
    reading: Reading | None = None


class InfillPrompt(NamedTuple):
    """A prompt to infill: its tokens (T,) int32; how many were taken back, and their bytes; how many were cut."""

    token_ids: TokenIds
    taken: int
    owed: bytes
    dropped: int


def infill_prompt(
    tokenizer: Tokenizer, prefix: str, suffix: str, mode: Mode, room: int, *, typing: bool = False
) -> list[int]:
    """Return the ids of `healed_infill_prompt` with nothing taken back."""
    prompt = healed_infill_prompt(tokenizer, prefix, suffix, mode, room, typing=typing, heal=False)
    tokens: list[int] = prompt.token_ids.tolist()
    return tokens


def healed_infill_prompt(
    tokenizer: Tokenizer,
    prefix: str,
    suffix: str,
    mode: Mode,
    room: int,
    *,
    typing: bool,
    heal: bool | None,
    around: Surroundings = Surroundings(),
) -> InfillPrompt:
    """Return the ids that ask for the text between `prefix` and `suffix`; what does not fit is cut as `fit` says.

    Both texts are plain text, even where they spell special tokens. They are tokenized whole and then cut
    between tokens, so a cut does not change the tokens that are kept. When the prefix grows at its end, only
    its last tokens can change.

    Args:
        tokenizer: the model's tokenizer.
        prefix: the text before the gap.
        suffix: the text after it.
        mode: "psm" is [PREFIX] prefix [SUFFIX] suffix [MIDDLE]. "spm" is [PREFIX] [SUFFIX] suffix [MIDDLE] prefix;
            SantaCoder was trained on it as much. Its prompts end with what is typed, so a cache stays valid. "auto"
            is "spm" with `typing`, else the order that the model's file says is best, or "psm".
        room: positions for the prompt, its 3 markers included.
        typing: whether more prompts will follow, with small changes at the end of the prefix.
        heal: whether to take back the last piece of the prefix: the middle then has to begin with it. None is the
            default by measurement: not in "psm" after a line break, where models fill in best as they are.
        around: what else to read, and how much of it.

    Returns:
        3 to `room` tokens. Those that were cut are counted without the markers and the extra texts.

    Raises:
        InvalidRequestError: `mode` is unknown, the model has no fill-in-the-middle tokens, or as in `Tokenizer.encode`.
        ContextOverflowError: there is no room for the markers.
    """
    if not isinstance(mode, str) or mode not in ("auto", "psm", "spm"):
        raise invalid_argument("mode", mode, "'auto', 'psm' or 'spm'")
    before, after, middle = tokenizer.fim_prefix_id, tokenizer.fim_suffix_id, tokenizer.fim_middle_id
    if before is None or after is None or middle is None:
        raise InvalidRequestError(
            "this model has no fill-in-the-middle tokens, so it cannot infill: all of SantaCoder's "
            "checkpoints but no-fim have them"
        )
    if room < MARKERS:
        raise ContextOverflowError(
            f"max_tokens leaves {room} positions of the context, but a prompt to infill has {MARKERS} or more"
        )
    head, piece = tokenizer.encode_to_cut(prefix, special=False)
    tail = tokenizer.encode(suffix, special=False)
    if mode == "auto":
        mode = "spm" if typing else tokenizer.fim_mode
    if heal is None:
        heal = mode == "spm" or not prefix.endswith("\n")

    def cut(dropped: int, kept: int, extra: list[int]) -> InfillPrompt:
        first = head[dropped:]
        taken, owed = take_back(tokenizer, first[max(len(first) - piece, 0) :] if heal else ())
        first = [*extra, *first[: len(first) - taken]]
        tokens = [before, *first, after, *tail[:kept], middle]
        if mode == "spm":
            tokens = [before, after, *tail[:kept], middle, *first]
        return InfillPrompt(np.array(tokens, dtype=np.int32), taken, owed, dropped + len(tail) - kept)

    room -= MARKERS
    extra = encode_extra(tokenizer, around, room, room - len(head) - len(tail))
    whole = cut(*fit(len(head), len(tail), room), extra)
    reading = around.reading
    if reading is None or reading.uncached(whole.token_ids) <= reading.most:
        return whole
    uncached = lambda dropped, kept: reading.uncached(cut(dropped, kept, []).token_ids)  # noqa: E731
    return cut(*fit_reading(len(head), len(tail), room, uncached, reading.most), [])


def encode_extra(tokenizer: Tokenizer, around: Surroundings, room: int, left: int) -> list[int]:
    """Return the last tokens of the extra texts, each of which ends with a line break.

    They take a quarter of the room at most, and only what prefix and suffix leave of it: `left`. They lose whole cuts,
    as `fit` says, so they stay as they are while the prefix grows.
    """
    quarter = room // 4
    most = min(around.extra_tokens, quarter)
    if left < most:
        step = _cut(room)
        most = max(left, 0) // step * step
    tokens: list[int] = []
    for text in reversed(around.extra):
        if len(tokens) >= most:
            break
        tokens[:0] = tokenizer.encode(text if text.endswith("\n") else f"{text}\n", special=False)
    return tokens[max(len(tokens) - most, 0) :]


def fit(prefix: int, suffix: int, room: int) -> tuple[int, int]:
    """Compute how many tokens of prefix and suffix fit into `room`: the prefix keeps its end, the suffix its start.

    If both fit, both stay whole. Otherwise the prefix counts as its length rounded up to whole cuts, where a
    cut is 256 tokens or a quarter of the room, whichever is less. The suffix gets what that leaves, but never
    less than a quarter of the room (if it has that many tokens). The prefix gets the rest, and loses whole cuts
    from its beginning until it fits. So while the prefix grows, both limits stay where they are for most of a
    cut, and a prefix that is cut still has more than half of the room.

    For example, with room for 2000: a prefix of 3000 tokens before a suffix of 900 keeps its last 1464 (six
    cuts are dropped), the suffix its first 500; a prefix of 300 keeps all, and the suffix its first 1488.

    Returns:
        How many tokens the prefix loses at its beginning, and how many the suffix keeps there.
    """
    if prefix + suffix <= room:
        return 0, suffix
    cut = _cut(room)
    kept = min(suffix, max(room // 4, room - _round_up(prefix, cut)))
    return _round_up(max(0, prefix - (room - kept)), cut), kept


def fit_reading(prefix: int, suffix: int, room: int, uncached: Callable[[int, int], int], most: int) -> tuple[int, int]:
    """Cut as `fit` does, and then further until few enough tokens have to be read.

    If what `fit` leaves costs too much, the suffix keeps 64 tokens, or 128, 256, ... as far as that is a quarter of
    what may be read, or is needed to keep 256 tokens in all. And the prefix loses cuts of 64 tokens, counted from its
    beginning, but keeps 192, until at most `most` tokens are `uncached(dropped, kept)`. So while a text grows at the
    end of the prefix, its context begins where it began, in the cache, and grows with it.

    Returns:
        As in `fit`.
    """
    first, whole = fit(prefix, suffix, room)
    if uncached(first, whole) <= most:
        return first, whole
    cut = LEAST // 4
    kept = cut << (max(LEAST, most) // LEAST).bit_length() - 1
    while kept < whole and prefix - first + kept < LEAST:
        kept *= 2
    kept = min(kept, whole)
    starts = range(_round_up(first, cut), prefix + min(kept, cut) - LEAST + 1, cut)
    affordable = (start for start in starts if uncached(start, kept) <= most)
    return next(affordable, starts[-1] if starts else first), kept


def _cut(room: int) -> int:
    return max(1, min(CUT, room // 4))


def _round_up(count: int, cut: int) -> int:
    return -(-count // cut) * cut
