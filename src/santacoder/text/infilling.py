"""Filling in the middle: the prompt, what of a long context it keeps, and where the text ends.

docs/reference/infilling.md explains the rules to authors of editors.
"""

from __future__ import annotations

from typing import Final, Literal

from santacoder._util.validation import invalid_argument
from santacoder.errors import ContextOverflowError, InvalidRequestError
from santacoder.text.tokenizer import FimMode, Tokenizer

Mode = Literal["auto"] | FimMode

MARKERS: Final = 3  # fill-in-the-middle tokens of a prompt
CUT: Final = 256  # tokens: the prefix is cut by multiples of so many, or fewer where there is little room


def infill_prompt(
    tokenizer: Tokenizer, prefix: str, suffix: str, mode: Mode, room: int, *, typing: bool = False
) -> list[int]:
    """The ids that ask for what is between `prefix` and `suffix`; what does not fit is cut as `fit` says.

    Both texts are plain text, even where they spell special tokens. They are tokenised whole and cut between
    tokens, so the kept tokens are the same ones that stood there before the cut. When the prefix grows at its
    end, only its last tokens can change.

    Args:
        tokenizer: the model's.
        prefix: the text before the gap.
        suffix: the text after it.
        mode: "psm" is [PREFIX] prefix [SUFFIX] suffix [MIDDLE]. "spm" is [PREFIX] [SUFFIX] suffix [MIDDLE] prefix,
            which SantaCoder was trained on as much: what is typed comes last, so a cache stays valid. "auto" is
            "spm" for a caller that types, and for any other what the model fills in best with: its file says so,
            or else "psm".
        room: positions for the prompt, its 3 markers included.
        typing: whether prompts will follow whose prefix differs a little at the end.

    Returns:
        (T,) ids, 3 <= T <= room.

    Raises:
        InvalidRequestError: an unknown mode, a model without fill-in-the-middle tokens, or a text that is none.
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
    head = tokenizer.encode(prefix, special=False)
    tail = tokenizer.encode(suffix, special=False)
    dropped, kept = fit(len(head), len(tail), room - MARKERS)
    head, tail = head[dropped:], tail[:kept]
    if mode == "auto":
        mode = "spm" if typing else tokenizer.fim_mode
    if mode == "psm":
        return [before, *head, after, *tail, middle]
    return [before, after, *tail, middle, *head]


def fit(prefix: int, suffix: int, room: int) -> tuple[int, int]:
    """What of a prefix and a suffix of so many tokens goes into `room`: the end of the one, the start of the other.

    If both fit, both stay whole. Otherwise the prefix counts as its length rounded up to whole cuts, where a
    cut is 256 tokens or a quarter of the room, whichever is less. The suffix gets what that leaves, but never
    less than a quarter of the room (if it has as many tokens); the prefix gets the rest, and loses whole cuts
    from its beginning until it fits. So while the prefix grows, both limits stay where they are for most of a
    cut, and a prefix that is cut still has more than half of the room.

    For example, with room for 2000: a prefix of 3000 tokens before a suffix of 900 keeps its last 1464 (six
    cuts are dropped), the suffix its first 500; a prefix of 300 keeps all, and the suffix its first 1488.

    Returns:
        How many tokens the prefix loses at its beginning, and how many the suffix keeps there.
    """
    if prefix + suffix <= room:
        return 0, suffix
    quarter = room // 4
    cut = max(1, min(CUT, quarter))
    kept = min(suffix, max(quarter, room - _round_up(prefix, cut)))
    return _round_up(max(0, prefix - (room - kept)), cut), kept


def _round_up(count: int, cut: int) -> int:
    return -(-count // cut) * cut
