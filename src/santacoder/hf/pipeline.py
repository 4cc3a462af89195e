"""Text generation from text to text: `pipeline("text-generation", ...)`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.encoding import check_kind
from santacoder.hf.generation_config import resolve
from santacoder.hf.model import AutoModelForCausalLM, CausalLM
from santacoder.hf.off_values import Off, refuse
from santacoder.hf.tensors import Kind, check_device, to_array
from santacoder.hf.tokenizer import AutoTokenizer, CodeTokenizer

#: What is asked for where neither the call nor the model's `generation_config` says otherwise, as in transformers.
NEW_TOKENS: Final = 256
TEMPERATURE: Final = 0.7

_TASK: Final = "text-generation"
#: Options of the call itself; all others are of `generate`.
_OWN: Final[Off] = {
    "clean_up_tokenization_spaces": (None, False),
    "continue_final_message": (None,),
    "documents": (None,),
    "handle_long_generation": (None,),
    "tools": (None,),
}
_TOKENIZING: Final = ("add_special_tokens", "padding", "truncation")

Record = dict[str, Any]


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | CausalLM | None = None,
    tokenizer: str | os.PathLike[str] | CodeTokenizer | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool | None = None,
    device: object = None,
    device_map: object = None,
    dtype: object = None,
    torch_dtype: object = None,
    model_kwargs: Mapping[str, Any] | None = None,
    framework: str | None = None,
    use_fast: bool = True,
    **options: Any,
) -> TextGenerationPipeline:
    """Make a function that continues texts.

    Args:
        task: "text-generation"; None is the same.
        model: a model, or what `AutoModelForCausalLM.from_pretrained` loads.
        tokenizer: a tokenizer, or what `AutoTokenizer.from_pretrained` loads; None is that of the model.
        revision: of the checkpoint.
        token: for gated and private repositories.
        trust_remote_code: ignored: code of a repository is never run.
        device: None, -1 or "cpu".
        device_map: as of `from_pretrained`.
        dtype: as of `from_pretrained`.
        torch_dtype: as of `from_pretrained`.
        model_kwargs: more arguments of `AutoModelForCausalLM.from_pretrained`.
        framework: "pt" or "np": what hooks get, and whose generator gives seeds; None is "pt" if PyTorch is imported.
        use_fast: ignored: there is only one tokenizer.
        options: defaults of the calls.

    Raises:
        InvalidRequestError: the task is another one, there is no model, the device is not the CPU, or as in
            `from_pretrained`.
        OSError: as in `from_pretrained`.
    """
    if task not in (_TASK, None):
        raise invalid_argument("task", task, f"{_TASK!r}: the model continues texts")
    if device not in (None, -1):
        check_device(device)
    if model is None:
        raise InvalidRequestError("pipeline() needs a model: one that is loaded, or the name of a checkpoint")
    if not isinstance(model, CausalLM):
        kwargs = {"torch_dtype": torch_dtype, "dtype": dtype, "device_map": device_map, **(model_kwargs or {})}
        access = {"revision": revision, "token": token, "trust_remote_code": trust_remote_code}
        model = AutoModelForCausalLM.from_pretrained(model, **access, **kwargs)  # type: ignore[arg-type]
    if tokenizer is None:
        tokenizer = CodeTokenizer(model.engine.tokenizer, model.engine.context, model.name_or_path)
    elif not isinstance(tokenizer, CodeTokenizer):
        tokenizer = AutoTokenizer.from_pretrained(
            tokenizer, revision=revision, token=token, trust_remote_code=trust_remote_code
        )
    return TextGenerationPipeline(model, tokenizer, check_kind(framework), **options)


class TextGenerationPipeline:
    """Continues texts.

    Attributes:
        task: "text-generation".
        model, tokenizer: what it works with.
    """

    task: Final = _TASK

    def __init__(
        self, model: CausalLM, tokenizer: CodeTokenizer, framework: Kind | None = None, **options: Any
    ) -> None:
        """Take a model, its tokenizer and defaults of the calls; use `pipeline`."""
        self.model = model
        self.tokenizer = tokenizer
        self._framework = framework
        self._defaults = options

    @property
    def device(self) -> object:
        """The CPU."""
        return self.model.device

    def __call__(self, text_inputs: str | Iterable[str], **options: Any) -> Any:
        """Continue one or more texts.

        Without other wishes, up to 256 tokens are sampled at the temperature 0.7, or as many as fit in the context.

        Args:
            text_inputs: a text, a list of texts, or any other iterable of texts.
            options: `return_full_text` (True): whether the text begins with the prompt. `return_tensors` (False):
                return "generated_token_ids" instead, of prompt and new text. `skip_special_tokens` (True): leave
                special tokens out of the new text. `prefix` (""): stands before each text that the model sees.
                `stop_sequence`: as `stop_strings`. `batch_size` (1): how many texts run together. `truncation`: of the
                tokenizer. All others are of `CausalLM.generate`.

        Returns:
            For a text a list with a dict for each sequence, {"generated_text": ...}; for a list of texts a list of
            these lists; for another iterable an iterator over them, which works as it is asked.

        Raises:
            InvalidRequestError: a text is none, or an option is unknown, out of range or not supported.
            ContextOverflowError: a text and its new tokens do not fit in the context.
        """
        kind: Kind = self._framework or ("pt" if "torch" in sys.modules else "np")
        call = _Call(self.model, self.tokenizer, kind, {**self._defaults, **options})
        if isinstance(text_inputs, str):
            return call.run([text_inputs])[0]
        if isinstance(text_inputs, Mapping) or not isinstance(text_inputs, Iterable):
            raise invalid_argument("text_inputs", text_inputs, "a text or a list of texts")
        results = self._each(call, text_inputs)
        return list(results) if isinstance(text_inputs, Sequence) else results

    def _each(self, call: _Call, texts: Iterable[str]) -> Iterator[list[Record]]:
        batch: list[str] = []
        for text in texts:
            if isinstance(text, Mapping | list | tuple):
                self.tokenizer.apply_chat_template(text)
            batch.append(text)
            if len(batch) == call.batch_size:
                yield from call.run(batch)
                batch = []
        if batch:
            yield from call.run(batch)

    def __repr__(self) -> str:
        return f"<TextGenerationPipeline: {self.model!r}>"


class _Call:
    """One call of a pipeline, its options checked."""

    def __init__(self, model: CausalLM, tokenizer: CodeTokenizer, kind: Kind, options: dict[str, Any]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._kind = kind
        refuse("pipeline", {name: options.pop(name) for name in _OWN if name in options}, _OWN)
        self._form = _form(*(options.pop(name, None) for name in ("return_full_text", "return_text", "return_tensors")))
        self._skip_special = options.pop("skip_special_tokens", None) is not False
        self._prefix = options.pop("prefix", None) or ""
        options.pop("num_workers", None)
        size = options.pop("batch_size", None)
        self.batch_size = 1 if size is None or options.get("streamer") else check_integer("batch_size", size, 1, None)
        tokenizing = {name: options.pop(name) for name in _TOKENIZING if name in options}
        self._tokenizing = {**tokenizing, **(options.pop("tokenizer_encode_kwargs", None) or {})}
        if "max_length" in options and tokenizing.get("truncation"):
            self._tokenizing["max_length"] = options["max_length"]
        if (stop := options.pop("stop_sequence", None)) is not None:
            options["stop_strings"] = stop
        self._options = options
        self._limited = self._set_defaults()

    def _set_defaults(self) -> bool:
        """Add what neither the call nor the model's configuration says; return whether the length was said."""
        hooks = ("streamer", "logits_processor", "stopping_criteria", "generation_config")
        given = {name: value for name, value in self._options.items() if name not in hooks}
        config = resolve(self._options.get("generation_config"), self._model.generation_config, given)
        if config.do_sample is None:
            self._options["do_sample"] = True
        if config.do_sample is not False and config.temperature is None:
            self._options["temperature"] = TEMPERATURE
        self._options.setdefault("pad_token_id", self._tokenizer.pad_token_id)
        return config.max_new_tokens is not None or config.max_length is not None

    def run(self, texts: Sequence[str]) -> list[list[Record]]:
        """Continue the texts of a batch: for each a record for each of its sequences."""
        inputs = self._tokenizer(
            [self._prefix + text if isinstance(text, str) else text for text in texts],  # it names other types
            return_tensors=self._kind,
            **{"padding": True, "padding_side": "left", **self._tokenizing},
        )
        length = inputs["input_ids"].shape[1]
        options = self._options
        if not self._limited:
            room = self._model.engine.context - max(length, 1)
            if room < NEW_TOKENS and len(texts) > 1:  # the other texts must not lose tokens
                return [records for text in texts for records in self.run([text])]
            options = {**options, "max_new_tokens": max(min(NEW_TOKENS, room), 1)}
        asked = inputs if length else {}
        output = self._model.generate(**asked, **options)
        rows = to_array(output if not isinstance(output, dict) else output["sequences"])
        count = len(rows) // len(texts)
        new = rows[:, length:] if length else rows
        return [
            [self._record(text, rows[i], new[i]) for i in range(k * count, (k + 1) * count)]
            for k, text in enumerate(texts)
        ]

    def _record(self, text: str, row: Any, new: Any) -> Record:
        if self._form == "ids":
            return {"generated_token_ids": row.tolist()}
        written = self._tokenizer.decode(new, skip_special_tokens=self._skip_special)
        return {"generated_text": text + written if self._form == "full text" else written}


def _form(full_text: bool | None, text: bool | None, tensors: bool | None) -> str:
    """Return what a record holds: "full text", "new text" or "ids"."""
    named = {"return_full_text": full_text, "return_text": text, "return_tensors": tensors}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise InvalidRequestError(f"{given[0]} and {given[1]} exclude each other: leave one of them out")
    if tensors:
        return "ids"
    return "new text" if full_text is False else "full text"
