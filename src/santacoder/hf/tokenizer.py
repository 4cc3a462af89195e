"""The tokenizer with the interface of `transformers`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, SupportsIndex

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.checkpoint import open_tokenizer, options_of
from santacoder.hf.encoding import BatchEncoding, as_lists, check_kind, stack
from santacoder.text.tokenizer import Tokenizer

Side = Literal["left", "right"]

_NO_LIMIT: Final = int(1e30)  # transformers' value for a tokenizer without a limit

_PADDINGS: Final[dict[object, str]] = {
    False: "", "do_not_pad": "", True: "longest", "longest": "longest", "max_length": "max_length"
}  # fmt: skip
_TRUNCATIONS: Final[dict[object, bool]] = {
    False: False, "do_not_truncate": False, True: True, "longest_first": True, "only_first": True
}  # fmt: skip


class AutoTokenizer:
    """Loads tokenizers."""

    @staticmethod
    def from_pretrained(
        checkpoint: str | os.PathLike[str],
        *,
        gguf_file: str | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        token: str | bool | None = None,
        trust_remote_code: bool | None = None,
        use_fast: bool = True,
        padding_side: Side = "left",
        truncation_side: Side = "right",
        pad_token: str | None = None,
        model_max_length: int | None = None,
    ) -> CodeTokenizer:
        """Load the tokenizer of a checkpoint; read no weights, and share the tokenizer of a model that is loaded.

        Args:
            checkpoint: a name as `santacoder.load` takes it: a GGUF file, a folder with one or with a checkpoint,
                "owner/name" or "owner/name:file" on the hub.
            gguf_file: the file in the folder or repository; None takes the only one, or the only Q4_K_M one.
            revision: a branch, tag or commit; None is the default branch.
            cache_dir: the folder of the hub's cache, and of converted checkpoints within it; None is the usual ones.
            local_files_only: look nowhere but in the cache.
            force_download: download and convert even what is in the cache.
            token: for gated and private repositories; None takes the one of `hf auth login`.
            trust_remote_code: ignored: code of a repository is never run.
            use_fast: ignored: there is only one tokenizer.
            padding_side: where padding goes.
            truncation_side: where a text that is too long is cut.
            pad_token: pads short rows; None is the end of text.
            model_max_length: the most tokens that truncation keeps; None is the model's context.

        Raises:
            OSError: the file cannot be found or downloaded: FileNotFoundError, HubError.
            ModelFormatError: it is not a model's file.
            InvalidRequestError: there is no GGUF file, or several, or an argument is out of range.
        """
        access = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
        options = options_of(gguf_file, None, {}, force_download=force_download, token=token, **access)
        tokenizer, length = open_tokenizer(checkpoint, options)
        if model_max_length is not None:
            length = check_integer("model_max_length", model_max_length, 1, _NO_LIMIT)
        made = CodeTokenizer(tokenizer, length, os.fspath(checkpoint))
        made.padding_side, made.truncation_side = padding_side, truncation_side
        if pad_token is not None:
            made.pad_token = pad_token
        return made


class CodeTokenizer:
    """A tokenizer. It adds nothing to a text; special tokens that are spelt out in the text become their ids.

    Attributes:
        model_max_length: the most tokens that truncation keeps unless `max_length` is given.
        padding_side, truncation_side: "left" or "right".
        name_or_path: the checkpoint.
        model_input_names: the names that a call returns.
        bos_token, eos_token, unk_token: all three are the end of text; None if the model has none.
        pad_token, pad_token_id: pads rows; may be set to any token of the vocabulary.
    """

    model_input_names: Final = ("input_ids", "attention_mask")

    def __init__(self, tokenizer: Tokenizer, model_max_length: int, name_or_path: str = "") -> None:
        """Wrap a tokenizer; use `AutoTokenizer.from_pretrained`."""
        self._tokenizer = tokenizer
        self.model_max_length = model_max_length
        self.name_or_path = name_or_path
        self.padding_side: Side = "left"
        self.truncation_side: Side = "right"
        self.pad_token_id: int | None = tokenizer.eot_id

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool = True,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
        return_token_type_ids: bool = False,
    ) -> BatchEncoding:
        """Encode one or more texts.

        Args:
            text: one text, or a list of them.
            padding: True or "longest" pads to the longest of the texts, "max_length" to `max_length`.
            truncation: whether to cut to `max_length`; None does if `max_length` is given and `padding` is not.
            max_length: tokens of a row; None is `model_max_length`.
            return_tensors: "pt", "np", or None for lists.
            return_attention_mask: whether to return "attention_mask" too.
            add_special_tokens: ignored: nothing is added.
            split_special_tokens: treat special tokens in the text as plain text.
            return_token_type_ids: must be False.

        Returns:
            "input_ids" and "attention_mask" (1, or 0 for padding): lists (T,) for a text and (B, T) for several,
            or (B, T) int64 arrays or tensors.

        Raises:
            InvalidRequestError: an argument is of a wrong type or out of range, or a tensor is asked for and the
                rows differ in length.
            MissingPackageError: "pt" without PyTorch.
        """
        if return_token_type_ids:
            raise InvalidRequestError("return_token_type_ids is True, but the model has no token types")
        kind = check_kind(return_tensors)
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, Iterable):
            raise invalid_argument("text", text, "a text or a list of texts")
        rows = [self._tokenizer.encode(text, special=not split_special_tokens) for text in texts]
        rows, masks = self._fitted(rows, padding, truncation, max_length)
        named = {"input_ids": rows} | ({"attention_mask": masks} if return_attention_mask else {})
        if kind is not None:
            return BatchEncoding({name: stack(value, kind) for name, value in named.items()})
        if isinstance(text, str):
            return BatchEncoding({name: value[0] for name, value in named.items()})
        return BatchEncoding(named)

    def encode(self, text: str, **options: Any) -> Any:
        """Return the "input_ids" of a call: a list (T,), or with `return_tensors` an array or tensor (1, T)."""
        return self(text, **options)["input_ids"]

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, spelt as in the vocabulary."""
        return [self._tokenizer.vocabulary[token] for token in self._tokenizer.encode(text)]

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """Convert ids to text.

        Args:
            token_ids: one id, or a list, array or tensor (T,) of ids.
            skip_special_tokens: leave special tokens out; otherwise they are spelt out.
            clean_up_tokenization_spaces: must not be True: the text is never altered.

        Raises:
            InvalidRequestError: an id is not in the vocabulary, or `clean_up_tokenization_spaces` is True.
        """
        if clean_up_tokenization_spaces:
            raise InvalidRequestError("clean_up_tokenization_spaces is True, but it would damage code: leave it out")
        ids = as_lists(token_ids)
        if isinstance(ids, SupportsIndex):
            ids = [ids]
        if not isinstance(ids, Iterable):
            raise invalid_argument("token_ids", token_ids, "an id or a list of ids")
        skipped = self._tokenizer.special_ids if skip_special_tokens else frozenset()
        return self._tokenizer.decode(i for i in map(self._tokenizer.check_id, ids) if i not in skipped)

    def batch_decode(self, sequences: Any, **options: Any) -> list[str]:
        """Decode each row of a list of lists, or of a (B, T) array or tensor."""
        return [self.decode(row, **options) for row in as_lists(sequences)]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """Return the id of a token, or the ids of several; that of `unk_token` for anything that is not a token."""
        if not isinstance(tokens, str):
            if not isinstance(tokens, Iterable):
                raise invalid_argument("tokens", tokens, "a token or a list of tokens")
            return [self.convert_tokens_to_ids(token) for token in tokens]
        found = self._tokenizer.token_id(tokens)
        return self.unk_token_id if found is None else found

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Return the token of an id, or the tokens of several, spelt as in the vocabulary."""
        ids = as_lists(ids)
        if isinstance(ids, SupportsIndex):
            return self._tokenizer.vocabulary[self._tokenizer.check_id(ids)]
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise invalid_argument("ids", ids, "an id or a list of ids")
        return [self.convert_ids_to_tokens(i) for i in ids]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Convert tokens to text."""
        return self.decode(self.convert_tokens_to_ids(tokens))

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token."""
        return {token: i for i, token in reversed(list(enumerate(self._tokenizer.vocabulary[: len(self)])))}

    def add_special_tokens(self, special_tokens: Mapping[str, str | Sequence[str]]) -> int:
        """Set the "pad_token" if it is given. Every token must be special already: the vocabulary cannot grow.

        Returns:
            How many tokens were added: 0.

        Raises:
            InvalidRequestError: a token is not in the vocabulary, or not special.
        """
        for name, tokens in special_tokens.items():
            for token in tokens if isinstance(tokens, Iterable) and not isinstance(tokens, str) else [tokens]:
                if self._known(name, token) not in self._tokenizer.special_ids:
                    raise InvalidRequestError(f"{name} has {token!r}, but it is an ordinary token of this vocabulary")
        if isinstance(pad := special_tokens.get("pad_token"), str):
            self.pad_token = pad
        return 0

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included; not counting the padding at the end of the model's embedding."""
        unused = set(self._tokenizer.never_sampled).difference(self._tokenizer.special_ids)
        return max(set(range(self._tokenizer.n_tokens)) - unused, default=-1) + 1

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def eos_token_id(self) -> int | None:
        """The end of text."""
        return self._tokenizer.eot_id

    @property
    def eos_token(self) -> str | None:
        """The spelling of `eos_token_id`."""
        return None if self.eos_token_id is None else self._tokenizer.vocabulary[self.eos_token_id]

    bos_token_id = unk_token_id = eos_token_id
    bos_token = unk_token = eos_token

    @property
    def pad_token(self) -> str | None:
        """The spelling of `pad_token_id`."""
        return None if self.pad_token_id is None else self._tokenizer.vocabulary[self.pad_token_id]

    @pad_token.setter
    def pad_token(self, token: str | None) -> None:
        self.pad_token_id = None if token is None else self._known("pad_token", token)

    @property
    def all_special_ids(self) -> list[int]:
        """The special tokens, ascending."""
        return sorted(self._tokenizer.special_ids)

    @property
    def all_special_tokens(self) -> list[str]:
        """The spellings of `all_special_ids`."""
        return [self._tokenizer.vocabulary[token] for token in self.all_special_ids]

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The named special tokens that the model has."""
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        return {name: token for name in names if (token := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        return f"<CodeTokenizer {self.name_or_path!r}: {len(self)} tokens, padding on the {self.padding_side}>"

    def _known(self, name: str, token: str) -> int:
        if not isinstance(token, str):
            raise invalid_argument(name, token, "a token")
        found = self._tokenizer.token_id(token)
        if found is None:
            raise InvalidRequestError(f"{name} has {token!r}, but the vocabulary has no such token and cannot grow")
        return found

    def _fitted(
        self, rows: list[list[int]], padding: bool | str, truncation: bool | str | None, max_length: int | None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Cut and pad rows as asked; return them and their masks."""
        limit = self.model_max_length if max_length is None else check_integer("max_length", max_length, 1, None)
        pad = _option("padding", padding, _PADDINGS)
        if truncation is None:
            truncation = max_length is not None and not pad
        if _option("truncation", truncation, _TRUNCATIONS):
            rows = [row[:limit] if self._on_right("truncation_side") else row[-limit:] for row in rows]
        masks = [[1] * len(row) for row in rows]
        if not pad:
            return rows, masks
        if self.pad_token_id is None:
            raise InvalidRequestError("padding needs a pad_token, and the model has no end of text: set pad_token")
        length = limit if pad == "max_length" else max(map(len, rows), default=0)
        return self._padded(rows, length, self.pad_token_id), self._padded(masks, length, 0)

    def _padded(self, rows: list[list[int]], length: int, fill: int) -> list[list[int]]:
        """Pad rows to `length`; leave longer ones as they are."""
        gaps = [[fill] * (length - len(row)) for row in rows]
        right = self._on_right("padding_side")
        return [row + gap if right else gap + row for row, gap in zip(rows, gaps, strict=True)]

    def _on_right(self, name: str) -> bool:
        side = getattr(self, name)
        if side not in ("left", "right"):
            raise invalid_argument(name, side, "'left' or 'right'")
        return bool(side == "right")


def _option(name: str, value: object, meanings: Mapping[object, Any]) -> Any:
    if not isinstance(value, Hashable) or value not in meanings:
        raise invalid_argument(name, value, f"one of {list(meanings)}")
    return meanings[value]
