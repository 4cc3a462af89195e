"""Fill-in-the-middle prompts (Bavarian et al. 2022, "FIM"), and how much of a long context they keep.

docs/reference/infilling.md explains the rules to authors of editors.
"""

from __future__ import annotations

from typing import Final, Literal

from santacoder._util.validation import invalid_argument
from santacoder.errors import ContextOverflowError, InvalidRequestError
from santacoder.text.healing import take_back
from santacoder.text.tokenizer import FimMode, Tokenizer

Mode = Literal["auto"] | FimMode

MARKERS: Final = 3  # fill-in-the-middle tokens of a prompt
CUT: Final = 256  # tokens: the prefix is cut by multiples of this, or of less where there is little room


def infill_prompt(
    tokenizer: Tokenizer, prefix: str, suffix: str, mode: Mode, room: int, *, typing: bool = False
) -> list[int]:
    """Return the ids of `healed_infill_prompt` with nothing taken back."""
    return healed_infill_prompt(tokenizer, prefix, suffix, mode, room, typing=typing, heal=False)[0]


def healed_infill_prompt(
    tokenizer: Tokenizer, prefix: str, suffix: str, mode: Mode, room: int, *, typing: bool, heal: bool | None
) -> tuple[list[int], int, bytes]:
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

    Returns:
        T ids, 3 <= T <= room; how many tokens were taken back; their bytes.

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
    dropped, kept = fit(len(head), len(tail), room - MARKERS)
    head, tail = head[dropped:], tail[:kept]
    if mode == "auto":
        mode = "spm" if typing else tokenizer.fim_mode
    if heal is None:
        heal = mode == "spm" or not prefix.endswith("\n")
    taken, owed = take_back(tokenizer, head[max(len(head) - piece, 0) :] if heal else ())
    head = head[: len(head) - taken]
    if mode == "psm":
        return [before, *head, after, *tail, middle], taken, owed
    return [before, after, *tail, middle, *head], taken, owed


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
    quarter = room // 4
    cut = max(1, min(CUT, quarter))
    kept = min(suffix, max(quarter, room - _round_up(prefix, cut)))
    return _round_up(max(0, prefix - (room - kept)), cut), kept


def _round_up(count: int, cut: int) -> int:
    return -(-count // cut) * cut
