"""The tokenizer with the interface of `transformers`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, SupportsIndex, cast

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.checkpoint import open_tokenizer, options_of
from santacoder.hf.encoding import BatchEncoding, as_lists, check_kind, collect, encoding
from santacoder.hf.off_values import LOADING, TOKENIZING, UNUSED_BY_LOADING, UNUSED_BY_TOKENIZING, refuse
from santacoder.hf.offsets import offsets
from santacoder.hf.padding import Columns, Padding, Side, cut
from santacoder.text.tokenizer import Tokenizer

_NO_LIMIT: Final = int(1e30)  # transformers' value for a tokenizer without a limit


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
        **off: Any,
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
            off: other arguments of `transformers`, at values that change nothing.

        Raises:
            OSError: the file cannot be found or downloaded: FileNotFoundError, HubError.
            ModelFormatError: it is not a model's file.
            InvalidRequestError: there is no GGUF file, or several, or an argument is out of range.
        """
        refuse("from_pretrained", off, LOADING, UNUSED_BY_LOADING)
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
        is_fast: True: tokens have offsets.
        chat_template: None: there is none.
    """

    is_fast: Final = True
    chat_template: Final = None
    clean_up_tokenization_spaces: Final = False
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
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = True,
        return_token_type_ids: bool | None = False,
        return_offsets_mapping: bool = False,
        split_special_tokens: bool = False,
        **off: Any,
    ) -> BatchEncoding:
        """Encode one or more texts.

        Args:
            text: one text, or a list of them.
            padding: True or "longest" pads to the longest of the texts, "max_length" to `max_length`.
            truncation: whether to cut to `max_length`; None does if `max_length` is given and `padding` is not.
            max_length: tokens of a row; None is `model_max_length`.
            pad_to_multiple_of: pad to a multiple of it; None is off.
            padding_side: "left" or "right"; None is that of the tokenizer.
            return_tensors: "pt", "np", or None for lists.
            return_attention_mask: whether to return "attention_mask" too; None does.
            return_token_type_ids: must not be True.
            return_offsets_mapping: whether to return "offset_mapping" too.
            split_special_tokens: treat special tokens in the text as plain text.
            off: other arguments of `transformers`, at values that change nothing, such as `add_special_tokens`: nothing
                is ever added.

        Returns:
            "input_ids" and "attention_mask" (1, or 0 for padding): lists (T,) for a text and (B, T) for several,
            or (B, T) int64 arrays or tensors. "offset_mapping" has pairs, (T, 2) or (B, T, 2): the first character of
            each token and the one after its last.

        Raises:
            InvalidRequestError: an argument is of a wrong type or out of range, or a tensor is asked for and the
                rows differ in length.
            MissingPackageError: "pt" without PyTorch.
        """
        refuse("tokenizer", off, TOKENIZING, UNUSED_BY_TOKENIZING)
        if return_token_type_ids:
            raise InvalidRequestError("return_token_type_ids is True, but the model has no token types")
        kind = check_kind(return_tensors)
        columns = self._encoded(text, not split_special_tokens, return_offsets_mapping)
        pads = self._padding(padding, max_length, pad_to_multiple_of, padding_side)
        if truncation is None:
            truncation = max_length is not None and not pads
        cut(columns, truncation, pads.length, self.truncation_side)
        if return_attention_mask is not False:
            columns["attention_mask"] = [[1] * len(row) for row in columns["input_ids"]]
        pads.pad(columns)
        return encoding(columns, kind, lone=isinstance(text, str))

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad what calls returned.

        Args:
            encoded_inputs: the result of a call, or a list of results for one text each, with "input_ids" and perhaps
                more; "attention_mask" is added where it is missing.
            padding: as in a call.
            max_length: as in a call.
            pad_to_multiple_of: as in a call.
            padding_side: as in a call.
            return_attention_mask: whether to add "attention_mask"; None does.
            return_tensors: as in a call; None keeps arrays and tensors.
            verbose: ignored.

        Raises:
            InvalidRequestError: there are no "input_ids", or as in a call.
            MissingPackageError: "pt" without PyTorch.
        """
        columns, kind, lone = collect(encoded_inputs)
        if return_attention_mask is not False and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in columns["input_ids"]]
        self._padding(padding, max_length, pad_to_multiple_of, padding_side).pad(columns)
        return encoding(columns, check_kind(return_tensors) or kind, lone)

    def encode(self, text: str, **options: Any) -> Any:
        """Return the "input_ids" of a call: a list (T,), or with `return_tensors` an array or tensor (1, T)."""
        return self(text, **options)["input_ids"]

    def apply_chat_template(self, conversation: object, **options: object) -> NoReturn:
        """Refuse: SantaCoder was not trained to chat, and has no template.

        Raises:
            InvalidRequestError: always.
        """
        raise InvalidRequestError(
            "apply_chat_template() needs a chat template, and SantaCoder has none: it continues code; write the prompt "
            "as code and pass it to the tokenizer"
        )

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, spelt as in the vocabulary."""
        return [self._tokenizer.vocabulary[token] for token in self._tokenizer.encode(text)]

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **off: Any,
    ) -> str:
        """Convert ids to text.

        Args:
            token_ids: one id, or a list, array or tensor (T,) of ids; or several of these, (B, T).
            skip_special_tokens: leave special tokens out; otherwise they are spelt out.
            clean_up_tokenization_spaces: must not be True: the text is never altered.
            off: other arguments of `transformers`, at values that change nothing.

        Returns:
            A text; for several rows a list of texts, as `batch_decode`, which has the right type for checkers.

        Raises:
            InvalidRequestError: an id is not in the vocabulary, or `clean_up_tokenization_spaces` is True.
        """
        if clean_up_tokenization_spaces:
            raise InvalidRequestError("clean_up_tokenization_spaces is True, but it would damage code: leave it out")
        refuse("decode", off, {}, UNUSED_BY_TOKENIZING)
        ids = as_lists(token_ids)
        if isinstance(ids, SupportsIndex):
            ids = [ids]
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise invalid_argument("token_ids", token_ids, "an id or a list of ids")
        ids = [*map(as_lists, ids)]
        if ids and isinstance(ids[0], list | tuple):
            return cast("str", self.batch_decode(ids, skip_special_tokens=skip_special_tokens))
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

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many tokens are added to a text: 0."""
        return 0

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token."""
        return {token: i for i, token in reversed(list(enumerate(self._tokenizer.vocabulary[: len(self)])))}

    @property
    def vocab(self) -> dict[str, int]:
        """The id of each token."""
        return self.get_vocab()

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

    def _encoded(self, text: object, special: bool, with_offsets: bool) -> Columns:
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, Iterable):
            raise invalid_argument("text", text, "a text or a list of texts")
        texts = list(texts)
        rows = [self._tokenizer.encode(text, special=special) for text in texts]
        columns: Columns = {"input_ids": rows}
        if with_offsets:
            each = zip(texts, rows, strict=True)
            columns["offset_mapping"] = [offsets(self._tokenizer, text, row) for text, row in each]
        return columns

    def _padding(self, padding: object, max_length: int | None, multiple: int | None, side: Side | None) -> Padding:
        length = self.model_max_length if max_length is None else check_integer("max_length", max_length, 1, None)
        return Padding(padding, length, multiple, self.padding_side if side is None else side, self.pad_token_id)
