"""The tokens of a model, one for each row of the embedding: missing special tokens are added, padding is marked.

A tokenizer does not reliably say whether a checkpoint was trained to fill in the middle: early revisions lack the
tokens for every checkpoint, and a tokenizer may have them for a model that never saw them. So the caller decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gguf import TokenType

from santacoder._util.validation import format_value
from santacoder.conversion.end_tokens import NamedEnd
from santacoder.conversion.tokenizer_json import TokenizerFiles
from santacoder.errors import InvalidRequestError, ModelFormatError

END_OF_TEXT: Final = "<|endoftext|>"
#: SantaCoder's special tokens in the order of their ids, which follow those of the BPE vocabulary.
SPECIAL_TOKENS: Final = (END_OF_TEXT, "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
#: Role -> spellings: SantaCoder's and StarCoder's.
FIM_TOKENS: Final = {role: (f"<fim-{role}>", f"<fim_{role}>") for role in ("prefix", "middle", "suffix", "pad")}
_NEEDED: Final = ("prefix", "middle", "suffix")
#: GPT-2's end of text, the default of configurations: early revisions of SantaCoder name it but have no such token.
_DEFAULT_END: Final = 50256
#: Most rows of padding: training rounds a vocabulary up to a multiple of 128 for each of a few parallel parts.
_MAX_PADDING: Final = 1024


@dataclass(frozen=True)
class Vocabulary:
    """A token for each row of the embedding.

    Attributes:
        tokens: spellings, (V,); padding is "[PADn]".
        types: GGUF's token types, (V,).
        start: the id of <|endoftext|>.
        ends: the ids that end a text; the first is not one of the BPE model's.
        unknown: ends that the checkpoint names but that are not among its tokens.
        swapped: added tokens matched out of their type's order, in which control tokens come first: control tokens
            matched after user-defined ones, and user-defined tokens matched before control ones.
        fim: role -> id of the fill-in-the-middle tokens; empty for a checkpoint without them.
    """

    tokens: list[str]
    types: list[int]
    start: int
    ends: list[int]
    unknown: list[NamedEnd]
    swapped: list[int]
    fim: dict[str, int]


def build_vocabulary(files: TokenizerFiles, rows: int, named: Sequence[NamedEnd], fim: bool | None) -> Vocabulary:
    """Place every token at its id.

    Args:
        files: the tokenizer.
        rows: rows of the embedding.
        named: the ends of text that the checkpoint names; if none of them is a token, <|endoftext|> is the end.
        fim: whether the checkpoint was trained to fill in the middle; None is yes if the tokenizer has the tokens, or
            has none of them while there is room for SantaCoder's.

    Raises:
        ModelFormatError: tokens do not fit the embedding, or share an id.
        InvalidRequestError: `fim` is True, and there is no room for the tokens.
    """
    placed = _placed(files, rows)
    special = {token.id for token in files.added if token.special}
    _force_special(placed, special, _first_special(files, placed), rows, fim)
    by_name = {token: i for i, token in placed.items()}
    found = _find_fim(by_name)
    if fim is False:
        for names in FIM_TOKENS.values():
            for index in (by_name[name] for name in names if name in by_name):
                del placed[index]  # the row becomes padding, so that nothing looks like a marker
        found = {}
    special |= {by_name[END_OF_TEXT], *found.values()}
    ends, unknown = _find_ends(named, placed, {token.id for token in files.added} | special, by_name[END_OF_TEXT])
    padding = rows - len(placed)
    if padding > _MAX_PADDING:
        raise ModelFormatError(
            f"wte.weight has {rows} rows, but the tokenizer has {len(placed)} tokens: more than {_MAX_PADDING} rows "
            "without a token cannot be padding"
        )
    user_defined = {token.id for token in files.added} - special
    return Vocabulary(
        tokens=[placed.get(i, f"[PAD{i}]") for i in range(rows)],
        types=[int(_type(i, placed, special, user_defined)) for i in range(rows)],
        start=by_name[END_OF_TEXT],
        ends=ends,
        unknown=unknown,
        swapped=sorted({t.id for t in files.added if t.id in placed and t.normalized != (t.id in user_defined)}),
        fim=found,
    )


def _placed(files: TokenizerFiles, rows: int) -> dict[int, str]:
    """Return the token of each id."""
    placed: dict[int, str] = {}
    entries = [*((i, token) for token, i in files.vocabulary.items()), *((t.id, t.content) for t in files.added)]
    for index, token in entries:
        if index >= rows:
            raise ModelFormatError(
                f"the tokenizer's {format_value(token)} has the id {index}, but wte.weight has {rows} rows"
            )
        if placed.setdefault(index, token) != token:
            raise ModelFormatError(
                f"the tokenizer's {format_value(placed[index])} and {format_value(token)} share the id {index}"
            )
    spelled: dict[str, int] = {}
    for index, token in placed.items():
        if spelled.setdefault(token, index) != index:
            raise ModelFormatError(f"the tokenizer's {format_value(token)} has two ids, {spelled[token]} and {index}")
    return placed


def _first_special(files: TokenizerFiles, placed: dict[int, str]) -> int:
    """Return the id after the last ordinary token of the BPE model."""
    named = {*SPECIAL_TOKENS, *(name for names in FIM_TOKENS.values() for name in names)}
    named |= {token.content for token in files.added}
    first = 1 + max((i for token, i in files.vocabulary.items() if token not in named), default=-1)
    for index in range(first):
        if index not in placed:
            raise ModelFormatError(f"the tokenizer has no token with the id {index}, but one with the id {first - 1}")
    return first


def _force_special(placed: dict[int, str], special: set[int], first: int, rows: int, fim: bool | None) -> None:
    """Add the special tokens that the tokenizer lacks, from the id `first` in SantaCoder's order."""
    present = set(placed.values())
    lacks_fim = not any(name in present for names in FIM_TOKENS.values() for name in names)
    wanted = list(enumerate(SPECIAL_TOKENS, first))
    room = first + len(SPECIAL_TOKENS) <= rows
    if fim is True and lacks_fim and not room:
        raise InvalidRequestError(
            f"there is no room for fill-in-the-middle tokens: ids {first}..{first + len(SPECIAL_TOKENS) - 1} are "
            f"needed, but wte.weight has {rows} rows"
        )
    if not lacks_fim or fim is False or not room:
        wanted = wanted[:1]
    for index, token in wanted:
        if token in present:
            continue
        if index >= rows or index in placed:
            taken = (
                f"that id belongs to {format_value(placed[index])}"
                if index in placed
                else f"wte.weight has {rows} rows"
            )
            raise ModelFormatError(f"the tokenizer lacks {token}, which has the id {index}, but {taken}")
        placed[index] = token
        special.add(index)


def _find_fim(by_name: dict[str, int]) -> dict[str, int]:
    found = {}
    for role, names in FIM_TOKENS.items():
        ids = [by_name[name] for name in names if name in by_name]
        if ids:
            found[role] = ids[0]
    missing = [role for role in _NEEDED if role not in found]
    if found and missing:
        raise ModelFormatError(f"the tokenizer has fill-in-the-middle tokens, but lacks that for the {missing[0]}")
    return found


def _find_ends(
    named: Sequence[NamedEnd], placed: dict[int, str], added: set[int], default: int
) -> tuple[list[int], list[NamedEnd]]:
    """Return the named ids, each once, those in `added` first, or else `default`; and the names that are not tokens."""
    by_name = {token: i for i, token in placed.items()}
    ends: dict[int, None] = {}
    unknown = []
    for end in named:
        index = by_name.get(end.token) if isinstance(end.token, str) else end.token
        if index == _DEFAULT_END and index not in added:
            continue
        if isinstance(index, int) and not isinstance(index, bool) and index in placed:
            ends[index] = None
        else:
            unknown.append(end)
    first = [index for index in ends if index in added] or [default]
    return [*first, *(index for index in ends if index not in added)], unknown


def _type(index: int, placed: dict[int, str], special: set[int], user_defined: set[int]) -> TokenType:
    if index not in placed:
        return TokenType.UNUSED
    if index in special:
        return TokenType.CONTROL
    return TokenType.USER_DEFINED if index in user_defined else TokenType.NORMAL
