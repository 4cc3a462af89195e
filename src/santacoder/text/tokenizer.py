"""The tokenizer: byte-level BPE built from the tokens and merges that the GGUF file itself carries.

Digits are split one by one, the rest as in GPT-2, and every byte has a printable character as its symbol.
Where the file does not say which tokens are special, they are recognized by name.
"""

from __future__ import annotations

import operator
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, Literal, Protocol, SupportsIndex, get_args

import numpy as np
from tokenizers import AddedToken, Encoding, models, pre_tokenizers
from tokenizers import Tokenizer as HFTokenizer

from santacoder._util.validation import check_text, format_value, invalid_argument
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.gguf.metadata import Metadata, MetadataValue, type_word
from santacoder.text.token_table import TokenTable

#: Orders of an infilling prompt: prefix, suffix, middle; suffix, prefix, middle.
FimMode = Literal["psm", "spm"]
FIM_MODES: Final[tuple[FimMode, ...]] = get_args(FimMode)
FIM_MODE_KEY: Final = "santacoder.fim_mode"
#: Keys of our own, both arrays of ids: tokens that end a text, beside those that other keys name; and tokens that are
#: matched in the other pass than the rest of their type (control tokens come first, user-defined ones second).
END_IDS_KEY: Final = "santacoder.end_token_ids"
SWAPPED_KEY: Final = "santacoder.swapped_token_ids"

_TOKENS: Final = "tokenizer.ggml.tokens"
_MERGES: Final = "tokenizer.ggml.merges"
_MISSING: Final = "is missing: the file has no tokenizer"
#: Of tokens that are matched in a text literally: tokenizers takes 90 bytes of memory for each.
_MAX_LITERAL_BYTES: Final = 1 << 18
_TYPES: Final = "tokenizer.ggml.token_type"
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # values of the token_type array

#: Names of llama.cpp's pre-tokenizers that split as this one does; older files have "default" or no name.
_PRE_TOKENIZERS: Final = frozenset({"default", "starcoder", "refact", "command-r", "smollm", "codeshell"})

_END_OF_TEXT: Final = "<|endoftext|>"
#: Keys of the tokens that end a turn or a message, beside `eos_token_id`; llama.cpp ends a text there too.
_END_KEYS: Final = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
#: Names by which llama.cpp recognizes the end of a turn without a key.
_TURN_ENDS: Final = (
    "<|im_end|>", "<|end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end_of_turn|>", "<|end_of_text|>", "<EOT>"
)  # fmt: skip
_FIM_PARTS: Final = ("prefix", "suffix", "middle", "pad")
_FIM_SPELLINGS: Final = ("<fim-{}>", "<fim_{}>")  # SantaCoder's, StarCoder's
_OTHER_FIM_SPELLINGS: Final = ("<|fim_{}|>",)  # of models that do not run here
_FIM_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "prefix": ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    "suffix": ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    "middle": ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
    "pad": ("tokenizer.ggml.fim_pad_token_id",),
}
#: Characters of a long text that are tokenized at a time: tokenizers holds the GIL meanwhile, for 3 ms.
PART: Final = 4096
#: Characters of a part that is worth the detour.
LONG: Final = 2 * PART
#: The variable that lets the package tokenizers start threads, or not.
PARALLELISM: Final = "TOKENIZERS_PARALLELISM"
#: Where a text may be cut, before the blank, and keep its tokens: no word or other run of characters goes on there.
_CUT: Final = re.compile(r"(?<=[!-~])[\n ]")
_Types = np.ndarray[tuple[int], np.dtype[np.int64]]
_PADDING_NAME: Final = re.compile(r"\[PAD\d*\]")


def _byte_symbols() -> dict[int, int]:
    """Return GPT-2's map of each byte to a printable character: itself where printable, else from U+0100 upward."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: byte for byte in printable} | {byte: 0x100 + i for i, byte in enumerate(hidden)}


_SYMBOL_OF_BYTE: Final = _byte_symbols()
# Latin-1 has one character for each byte, so translating symbols and encoding as Latin-1 gives the bytes.
# Bytes whose symbol is another character must not pass for themselves: they map outside Latin-1.
_BYTE_OF_SYMBOL: Final = dict.fromkeys(range(256), 0xFFFF) | {s: b for b, s in _SYMBOL_OF_BYTE.items()}
# Bytes that occur in UTF-8 at all; the others need no token.
_UTF8_BYTES: Final = bytes({*range(0xC0), *range(0xC2, 0xF5)})


def _encode_part(encoder: HFTokenizer, part: str) -> Encoding:
    """Encode a part of a text; one that is long, of a word without an end, does not hold the GIL if that is possible.

    `encode_batch` releases it. But unless the environment forbids that, it starts threads, after which a fork may hang.
    """
    if len(part) > LONG and os.environ.get(PARALLELISM, "").lower() in ("false", "0"):
        [encoding] = encoder.encode_batch([part], add_special_tokens=False)
        return encoding
    return encoder.encode(part, add_special_tokens=False)


class HasMetadata(Protocol):
    """An open file, like `GGUFFile`."""

    @property
    def metadata(self) -> Metadata: ...


class Tokenizer:
    """Turns text into token ids and back.

    Attributes:
        vocab_size: rows of the embedding, and so the number of tokens.
        n_tokens: the same number: padding has tokens too, and like llama.cpp we refuse a file without them.
        eot_id: the end of text, or None.
        fim_prefix_id, fim_suffix_id, fim_middle_id, fim_pad_id: the fill-in-the-middle tokens, or None.
        fim_mode: the order of an infilling prompt that the file says is best for its model, "psm" or "spm"; "psm" where
            it says nothing.
        stated_end_ids: the tokens that the file says end a text or a turn, and `<|endoftext|>`.
        end_ids: the tokens that end a completion: those, and <fim-pad>.
        longest: bytes of the longest token, and so the most characters that a token can stand for.
        special_ids: the end of text, the fill-in-the-middle tokens and all others that the file calls control tokens.
        never_sampled: ascending ids that a model must not produce: unused tokens, padding rows, and the markers of an
            infilling prompt, which mean nothing in a text.
    """

    def __init__(self, metadata: Metadata, vocab_size: int) -> None:
        """Build from checked metadata; use `from_gguf`."""
        self._tokens = _tokens(metadata, vocab_size)
        self.vocab_size: int = vocab_size
        self.n_tokens: int = len(self._tokens)
        self._ids = dict(zip(self._tokens, range(self.n_tokens), strict=True))
        if len(self._ids) < self.n_tokens:  # real files repeat tokens: the first id wins
            self._ids = {token: i for i, token in reversed(list(enumerate(self._tokens)))}
        types = _types(metadata, self.n_tokens)
        self._find_special_ids(metadata)
        fim = (self.fim_prefix_id, self.fim_suffix_id, self.fim_middle_id, self.fim_pad_id)
        named = {i for i in (*fim, self._ids.get(_END_OF_TEXT)) if i is not None}
        if self.eot_id is not None and self.eot_id not in named and self._stands_apart(self.eot_id, metadata, types):
            named.add(self.eot_id)
        brackets = [(i, token) for i, token in enumerate(self._tokens) if token.startswith("[PAD")]
        padding = {i for i, token in brackets if _PADDING_NAME.fullmatch(token) and types[i] != _CONTROL}
        # Fine-tunes add tokens of such names; early converters declared padding like them, with its own id in the name.
        padding -= {i for i, token in brackets if types[i] == _USER_DEFINED and token != f"[PAD{i}]"}
        unused = (padding | set(np.flatnonzero(types == _UNUSED).tolist())) - named - self.end_ids
        markers = {i for i in fim[:3] if i is not None}
        self.never_sampled: tuple[int, ...] = tuple(sorted(unused | markers))
        special = named | (set(np.flatnonzero(types == _CONTROL).tolist()) - unused)
        user_defined = set(np.flatnonzero(types == _USER_DEFINED).tolist()) - unused - special
        self._literal = frozenset(unused | special | user_defined)
        self._can_be_cut = not any(_CUT.search(self._tokens[i]) for i in self._literal)  # never within one of them
        self.longest: int = max(
            len(token.encode()) if i in self._literal else len(token) for i, token in enumerate(self._tokens)
        )
        self._foreign_markers = self._find_foreign_markers()
        self.special_ids: frozenset[int] = frozenset(special)
        self._warn_of_turn_ends(metadata, types)
        self._build(metadata, sorted(special), sorted(user_defined))

    @classmethod
    def from_gguf(cls, source: HasMetadata | Mapping[str, MetadataValue], vocab_size: int) -> Tokenizer:
        """Build the tokenizer that a file (or its metadata) describes; vocab_size is the number of embedding rows.

        Raises:
            ModelFormatError: the tokenizer is missing, of another kind, or does not fit together.
        """
        metadata = source if isinstance(source, Mapping) else source.metadata
        return cls(metadata if isinstance(metadata, Metadata) else Metadata(metadata), vocab_size)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the ids of `text`; nothing is added at either end.

        Args:
            text: any text that UTF-8 can carry.
            special: special tokens written out in the text become their ids; otherwise they are plain text. All three
                markers of an infilling prompt in another model's spelling are plain text in any case, with a warning.

        Raises:
            InvalidRequestError: the text is not a str, holds a lone surrogate, or holds a character that the
                vocabulary has no byte token for (StarCoder's has none for U+40000 to U+7FFFF).
        """
        return self.encode_to_cut(text, special)[0]

    def encode_to_cut(self, text: str, special: bool = True) -> tuple[list[int], int]:
        """Encode a text that may go on: return its ids, and how many at the end might be others then.

        These are the tokens of the last piece that is tokenised by itself: a word, a number's last digit, a run of
        punctuation or of blanks. They are none behind a special token.

        Raises:
            InvalidRequestError: as in `encode`.
        """
        data = check_text(text)
        if self._missing and len(data.translate(None, self._missing)) < len(data):
            bad = next(c for c in text if not set(c.encode()).isdisjoint(self._missing))
            raise InvalidRequestError(
                f"the text holds U+{ord(bad):04X}, which the vocabulary cannot spell: it lacks a byte token"
            )
        if special:
            self._warn_of_foreign_markers(text)
        encoder = self._encoder if special else self._plain_encoder
        ids: list[int] = []
        for part in self._parts(text):
            encoding = _encode_part(encoder, part)
            ids += encoding.ids
        if not ids or ids[-1] in self._literal:
            return ids, 0
        pieces = encoding.word_ids
        return ids, len(pieces) - pieces.index(pieces[-1])

    def _parts(self, text: str) -> Iterator[str]:
        """Yield the text in parts that together have its tokens, so that other threads run in between."""
        start = 0
        while self._can_be_cut and start + PART < len(text) and (cut := _CUT.search(text, start + PART)):
            yield text[start : cut.start()]
            start = cut.start()
        yield text[start:]

    def decode(self, tokens: Iterable[SupportsIndex]) -> str:
        """Return the text of `tokens`, special tokens written out; bytes that are not UTF-8 become U+FFFD.

        Raises:
            InvalidRequestError: an id is not in 0..n_tokens-1.
        """
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    @cached_property
    def table(self) -> TokenTable:
        """Finds ordinary tokens by their bytes: none that is special, added or unused."""
        ids = [token for token in range(self.n_tokens) if token not in self._literal]
        names = [self._tokens[token] for token in ids]
        try:  # all at once: one by one takes most of the time that the table takes
            data = "".join(names).translate(_BYTE_OF_SYMBOL).encode("latin-1")
        except UnicodeEncodeError:
            return TokenTable(ids, [self.token_bytes(token) for token in ids], self.vocab_size)
        ends = [*accumulate(map(len, names), initial=0)]
        return TokenTable(ids, [data[start:stop] for start, stop in pairwise(ends)], self.vocab_size)

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """Return the bytes of one token, perhaps a part of a character; for a special token its spelling.

        Raises:
            InvalidRequestError: the id is not in 0..n_tokens-1.
        """
        index = self.check_id(token)
        text = self._tokens[index]
        if index not in self._literal:
            try:
                return text.translate(_BYTE_OF_SYMBOL).encode("latin-1")
            except UnicodeEncodeError:
                pass  # a character is not a byte's symbol: the token is plain text
        return text.encode()

    @property
    def vocabulary(self) -> Sequence[str]:
        """The spelling of each token, (n_tokens,); ordinary ones are spelled with one printable character per byte."""
        return self._tokens

    def token_id(self, spelling: str) -> int | None:
        """Return the id of the token that `vocabulary` spells like this, or None."""
        return self._ids.get(spelling)

    def check_id(self, token: SupportsIndex) -> int:
        """Return the token id as an int.

        Raises:
            InvalidRequestError: it is not an integer, or not in 0..n_tokens-1.
        """
        try:
            index = operator.index(token)
        except TypeError:
            raise invalid_argument("a token id", token, "an integer") from None
        if not 0 <= index < self.n_tokens:
            raise InvalidRequestError(f"token id {format_value(index)} is not in 0..{self.n_tokens - 1}")
        return index

    def _find_special_ids(self, metadata: Metadata) -> None:
        last = self.n_tokens - 1
        metadata.integer("tokenizer.ggml.bos_token_id", 0, last)  # not used (nothing is prepended), but checked
        eos = metadata.integer("tokenizer.ggml.eos_token_id", 0, last)
        self.eot_id: int | None = self._ids.get(_END_OF_TEXT) if eos is None else eos
        fim: dict[str, int | None] = {}
        for part in _FIM_PARTS:
            by_key = [metadata.integer(key, 0, last) for key in _FIM_KEYS[part]]
            by_name = [self._ids.get(spelling.format(part)) for spelling in _FIM_SPELLINGS]
            fim[part] = next((i for i in by_key + by_name if i is not None), None)
        self.fim_prefix_id: int | None = fim["prefix"]
        self.fim_suffix_id: int | None = fim["suffix"]
        self.fim_middle_id: int | None = fim["middle"]
        self.fim_pad_id: int | None = fim["pad"]
        self.fim_mode: FimMode = _fim_mode(metadata)
        ends = (self.eot_id, self._ids.get(_END_OF_TEXT))
        by_key = [metadata.integer(key, 0, last) for key in _END_KEYS]
        ours = _id_array(metadata, END_IDS_KEY, self.n_tokens)
        self.stated_end_ids: frozenset[int] = frozenset(i for i in (*ends, *by_key, *ours) if i is not None)
        self.end_ids: frozenset[int] = self.stated_end_ids | {i for i in (self.fim_pad_id,) if i is not None}

    def _stands_apart(self, index: int, metadata: Metadata, types: _Types) -> bool:
        """Return whether an end of text is a special token: not if its type says otherwise, or BPE itself makes it."""
        if types[index] != _NORMAL:
            return bool(types[index] != _USER_DEFINED)
        token = self._tokens[index]
        return len(token) > 1 and all(merge.replace(" ", "") != token for merge in _strings(metadata, _MERGES))

    def _warn_of_turn_ends(self, metadata: Metadata, types: _Types) -> None:
        """Warn of a control token that is named like the end of a turn, where nothing in the file calls it an end."""
        for name in _TURN_ENDS:
            index = self._ids.get(name)
            if index is not None and types[index] == _CONTROL and index not in self.end_ids:
                path = f"{metadata.path}: " if metadata.path else ""
                warnings.warn(
                    f"{path}the token {name} has the name of a turn's end, but no key calls it one: it ends no text "
                    f"unless it is one of stop_tokens ({index})",
                    stacklevel=4,
                )

    def _find_foreign_markers(self) -> list[tuple[str, ...]]:
        """Return other models' infilling markers, (prefix, suffix, middle), that are plain text to this one."""
        spellings = (*_FIM_SPELLINGS, *_OTHER_FIM_SPELLINGS)
        markers = [tuple(spelling.format(part) for part in _FIM_PARTS[:3]) for spelling in spellings]
        return [three for three in markers if all(self._ids.get(marker) not in self._literal for marker in three)]

    def _warn_of_foreign_markers(self, text: str) -> None:
        markers = next((three for three in self._foreign_markers if all(marker in text for marker in three)), None)
        if markers is None:
            return
        own = (self.fim_prefix_id, self.fim_suffix_id, self.fim_middle_id)
        spellings = [self._tokens[token] for token in own if token is not None]
        told = f"it spells them {_listed(spellings)}" if len(spellings) == len(own) else "it cannot infill"
        warnings.warn(f"{_listed(markers)} are plain text to this model: {told}", stacklevel=3)

    def _build(self, metadata: Metadata, special: Sequence[int], user_defined: Sequence[int]) -> None:
        """Make the two encoders, which share one BPE model: with and without special tokens in the text."""
        self._missing = bytes(b for b in _UTF8_BYTES if chr(_SYMBOL_OF_BYTE[b]) not in self._ids)
        swapped = set(_id_array(metadata, SWAPPED_KEY, self.n_tokens))
        literal = sum(len(self._tokens[i].encode()) for i in {*special, *user_defined})
        if literal > _MAX_LITERAL_BYTES:
            raise metadata.error(
                _TOKENS, f"has {literal} bytes of special tokens, but at most {_MAX_LITERAL_BYTES} are read"
            )
        bpe = _bpe(metadata, self._ids)
        always = [AddedToken(self._tokens[i], normalized=i not in swapped) for i in user_defined]
        asked = [AddedToken(self._tokens[i], normalized=i in swapped, special=True) for i in special]
        self._plain_encoder = _encoder(bpe, always, [])
        self._encoder = _encoder(bpe, always, asked)


def _listed(words: Sequence[str]) -> str:
    *first, last = map(format_value, words)
    return f"{', '.join(first)} and {last}"


def _fim_mode(metadata: Metadata) -> FimMode:
    text = metadata.string(FIM_MODE_KEY, "psm")
    for mode in FIM_MODES:
        if mode == text:
            return mode
    raise metadata.error(FIM_MODE_KEY, f"is {format_value(text)}, but it must be 'psm' or 'spm'")


def _tokens(metadata: Metadata, vocab_size: int) -> list[str]:
    if "tokenizer.ggml.model" not in metadata:
        raise metadata.error("tokenizer.ggml.model", _MISSING)
    kind = metadata.string("tokenizer.ggml.model", "")
    if kind != "gpt2":
        raise metadata.error("tokenizer.ggml.model", f"is {format_value(kind)}, but only 'gpt2' runs here")
    pre = metadata.string("tokenizer.ggml.pre", "default")
    if pre not in _PRE_TOKENIZERS:
        raise metadata.error("tokenizer.ggml.pre", f"is {format_value(pre)}, not one of {sorted(_PRE_TOKENIZERS)}")
    tokens = _strings(metadata, _TOKENS)
    if len(tokens) != vocab_size:
        raise metadata.error(_TOKENS, f"holds {len(tokens)} tokens, but token_embd.weight has {vocab_size} rows")
    scores = metadata.get("tokenizer.ggml.scores")
    if isinstance(scores, np.ndarray) and scores.size != len(tokens):
        raise metadata.error("tokenizer.ggml.scores", f"holds {scores.size} scores for {len(tokens)} tokens")
    return tokens


def _strings(metadata: Metadata, key: str) -> list[str]:
    if key not in metadata:
        raise metadata.error(key, _MISSING)
    value = metadata[key]
    if isinstance(value, np.ndarray) and not value.size:
        return []  # a writer that does not know the type of an empty array
    if not isinstance(value, list):
        raise metadata.error(key, f"is {type_word(value)}, but it must be an array of strings")
    return value


def _types(metadata: Metadata, n_tokens: int) -> _Types:
    """Return the type of each token, (n_tokens,); all normal where the file does not say."""
    if _TYPES not in metadata:
        return np.ones(n_tokens, dtype=np.int64)
    value = metadata[_TYPES]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise metadata.error(_TYPES, f"is {type_word(value)}, but it must be an array of integers")
    if value.size != n_tokens:
        raise metadata.error(_TYPES, f"holds {value.size} types for {n_tokens} tokens")
    return value.astype(np.int64)


def _id_array(metadata: Metadata, key: str, n_tokens: int) -> list[int]:
    """Return the token ids under a key of ours; none where it is absent."""
    if key not in metadata:
        return []
    value = metadata[key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise metadata.error(key, f"is {type_word(value)}, but it must be an array of integers")
    outside = value[(value < 0) | (value >= n_tokens)]
    if outside.size:
        raise metadata.error(key, f"holds {outside[0]}, but token ids are in 0..{n_tokens - 1}")
    return [int(index) for index in value]


def _bpe(metadata: Metadata, ids: dict[str, int]) -> models.BPE:
    merges = _strings(metadata, _MERGES)
    pairs = [tuple(merge.split(" ")) for merge in dict.fromkeys(merges)]
    # An empty token would make the halves of " x" known; no text contains it, so the model need not have it.
    vocabulary = {token: i for token, i in ids.items() if token} if "" in ids else ids
    results = (merge.replace(" ", "") for merge in merges)
    if not all(map(vocabulary.__contains__, results)):  # tokenizers panics where a result is longer than every token
        raise _bad_merge(metadata, merges, vocabulary)
    try:
        return models.BPE(vocabulary, pairs)  # type: ignore[arg-type]
    except Exception as error:
        raise _bad_merge(metadata, merges, vocabulary) from error


def _bad_merge(metadata: Metadata, merges: Sequence[str], vocabulary: Mapping[str, int]) -> ModelFormatError:
    """Make the error that names the first invalid merge."""
    for i, merge in enumerate(merges):
        halves = merge.split(" ")
        if len(halves) != 2:
            return metadata.error(_MERGES, f"has the entry [{i}] {format_value(merge)}, not two tokens")
        for token in (*halves, "".join(halves)):
            if token not in vocabulary:
                return metadata.error(
                    _MERGES, f"has the entry [{i}] {format_value(merge)}, but {format_value(token)} is not a token"
                )
    return metadata.error(_MERGES, "cannot be used")


def _encoder(bpe: models.BPE, user_defined: list[AddedToken], special: list[AddedToken]) -> HFTokenizer:
    encoder = HFTokenizer(bpe)
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    # Those without `normalized` are found first, where they overlap with others: usually the special ones.
    encoder.add_tokens(user_defined)
    encoder.add_special_tokens(special)
    return encoder
