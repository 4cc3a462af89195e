"""The model with the interface of `transformers`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer, invalid_argument
from santacoder.decoding.options import check_context
from santacoder.errors import InvalidRequestError
from santacoder.hf.checkpoint import find_checkpoint, load_model, options_of
from santacoder.hf.generation import GenerationConfig, complete_all, end_tokens, new_tokens, sampling_options
from santacoder.hf.tensors import CPU, Device, Kind, as_kind, check_device, draw_seed, kind_of, to_array
from santacoder.model import SantaCoder


class AutoModelForCausalLM:
    """Loads models."""

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
        type: str | None = None,
        torch_dtype: object = None,
        dtype: object = None,
        low_cpu_mem_usage: bool | None = None,
        device_map: object = None,
        attn_implementation: object = None,
        threads: int | None = None,
        context: int | None = None,
    ) -> CausalLM:
        """Load the model of a checkpoint.

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
            type: of a checkpoint's matrices after conversion, "f16" or "q4_k_m", say; None is "q8_0", nearest to what
                transformers gives. A GGUF file has to be of this type.
            torch_dtype: likewise, as torch.float32, torch.float16 or torch.bfloat16; without effect on a GGUF file.
            dtype: the newer name of `torch_dtype`.
            low_cpu_mem_usage: ignored: loading always needs little memory.
            device_map: "auto", "cpu" or {"": "cpu"}.
            attn_implementation: ignored: there is only one.
            threads: how many threads compute; None takes what the machine allows.
            context: positions to use, prompt and new tokens together; None takes all that the model has.

        Raises:
            OSError: the file cannot be found or downloaded: FileNotFoundError, HubError.
            ModelFormatError: it is not a model that can run.
            InvalidRequestError: there is no GGUF file, or several, or an argument is out of range.
            UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
        """
        for device in device_map.values() if isinstance(device_map, dict) else [device_map]:
            if device not in (None, "auto"):
                check_device(device)
        access = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
        options = options_of(
            gguf_file, type, {"dtype": dtype, "torch_dtype": torch_dtype}, force_download=force_download, token=token,
            **access,
        )  # fmt: skip
        path = find_checkpoint(checkpoint, options)
        return CausalLM(load_model(path, threads, context), os.fspath(checkpoint))


@dataclass
class ModelConfig:
    """The model's dimensions under the names of `GPTBigCodeConfig`."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    multi_query: bool
    layer_norm_epsilon: float
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None = None
    name_or_path: str = ""
    model_type: str = "gpt_bigcode"
    is_encoder_decoder: bool = False

    @property
    def hidden_size(self) -> int:
        """The same as `n_embd`."""
        return self.n_embd

    @property
    def num_hidden_layers(self) -> int:
        """The same as `n_layer`."""
        return self.n_layer

    @property
    def num_attention_heads(self) -> int:
        """The same as `n_head`."""
        return self.n_head

    @property
    def max_position_embeddings(self) -> int:
        """The same as `n_positions`."""
        return self.n_positions


class CausalLMOutput(NamedTuple):
    """The result of calling the model."""

    logits: Any


class CausalLM:
    """A model that completes token ids.

    Attributes:
        engine: the model with this library's own interface.
        config: its dimensions.
        generation_config: the defaults of `generate`; may be changed.
        name_or_path: the checkpoint.
    """

    def __init__(self, engine: SantaCoder, name_or_path: str = "") -> None:
        """Wrap a model; use `AutoModelForCausalLM.from_pretrained`."""
        self.engine: Final = engine
        self.name_or_path = name_or_path
        self.generation_config: GenerationConfig = GenerationConfig()
        config, end = engine.config, engine.tokenizer.eot_id
        self.config: ModelConfig = ModelConfig(
            vocab_size=config.vocab_size,
            n_positions=engine.context,
            n_embd=config.embedding_length,
            n_layer=config.block_count,
            n_head=config.head_count,
            n_inner=config.feed_forward_length,
            multi_query=config.head_count_kv == 1,
            layer_norm_epsilon=config.layer_norm_epsilon,
            tie_word_embeddings=config.tied_embeddings,
            bos_token_id=end,
            eos_token_id=end,
            name_or_path=name_or_path,
        )

    @property
    def device(self) -> Device:
        """The CPU."""
        return CPU

    def to(self, device: object) -> CausalLM:
        """Return self; only the CPU is supported.

        Raises:
            InvalidRequestError: another device is asked for.
        """
        check_device(device)
        return self

    def eval(self) -> CausalLM:
        """Return self: the model cannot be trained."""
        return self

    def __call__(self, input_ids: Any, attention_mask: Any = None) -> CausalLMOutput:
        """Compute the logits of every position.

        Args:
            input_ids: (B, T) ids, a NumPy array or a PyTorch tensor.
            attention_mask: (B, T), 0 for ids to skip, else 1; None is all 1.

        Returns:
            `logits`, (B, T, V) float32, an array or tensor as `input_ids` is; 0 where the mask is 0.

        Raises:
            InvalidRequestError: the ids or the mask are of a wrong type, shape or range.
            ContextOverflowError: a row does not fit in the context.
        """
        ids, mask, kind = _batch(input_ids, attention_mask, self.config.vocab_size)
        logits = np.zeros((*ids.shape, self.config.vocab_size), dtype=np.float32)
        for row, kept, out in zip(ids, mask, logits, strict=True):
            if kept.any():
                out[kept] = self.engine.logits(row[kept])
        return CausalLMOutput(as_kind(logits, kind))

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        *,
        input_ids: Any = None,
        attention_mask: Any = None,
        tokenizer: object = None,
        **options: Any,
    ) -> Any:
        """Continue prompts; as in `transformers`, any row of the embedding may be chosen, markers and padding included.

        Args:
            inputs: (B, T) ids, a NumPy array or a PyTorch tensor; None starts from the end of text.
            generation_config: how to generate; None takes the model's.
            input_ids: another name for `inputs`.
            attention_mask: (B, T), 0 for padding, else 1; None is all 1. Masked positions are ignored.
            tokenizer: ignored: the model has its own.
            options: values that replace those of `generation_config`: see `GenerationConfig`.

        Returns:
            (B * num_return_sequences, L) int64 ids, an array or tensor as `inputs` is. Each row is the prompt as
            given, the generated tokens with the one that ended them, and `pad_token_id` up to the longest row.

        Raises:
            InvalidRequestError: an option is unknown or out of range, or asks for something that is not supported.
            ContextOverflowError: a prompt and its new tokens do not fit in the context.
        """
        if generation_config is not None and not isinstance(generation_config, GenerationConfig):
            raise invalid_argument("generation_config", generation_config, "a GenerationConfig of santacoder.hf")
        config = (generation_config or self.generation_config).updated(options)
        if inputs is None:
            inputs = self._start() if input_ids is None else input_ids
        ids, mask, kind = _batch(inputs, attention_mask, self.config.vocab_size)
        prompts = [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]
        ends = end_tokens(config.eos_token_id, self._ends(), self.config.vocab_size)
        longest, context = max(map(len, prompts), default=0), self.engine.context
        max_tokens = new_tokens(config, ids.shape[1], longest, context)
        check_context(max_tokens, context, longest)
        seed = draw_seed(kind) if config.do_sample and config.seed is None else config.seed
        if config.token_healing and not mask[:, -1:].all():
            raise InvalidRequestError("token_healing is on, but a prompt is padded at its end: pad it at its beginning")
        asked = sampling_options(config, ends, max_tokens, seed)
        rows = complete_all(self.engine, prompts, config.num_return_sequences, asked, config.token_healing)
        return as_kind(_join(ids, rows, self._pad(config, ends)), kind)

    def __repr__(self) -> str:
        return f"<CausalLM {self.name_or_path!r}: {self.engine!r}>"

    def _start(self) -> NDArray[np.int64]:
        """Return the ids to start from without a prompt, (1, 1)."""
        if self.config.bos_token_id is None:
            raise InvalidRequestError("there are no input_ids, and the model has no end of text to start from")
        return np.array([[self.config.bos_token_id]])

    def _ends(self) -> list[int]:
        """List the model's own end tokens, the end of text first; without <fim-pad>, as in `transformers`."""
        tokenizer = self.engine.tokenizer
        return sorted(tokenizer.stated_end_ids, key=lambda token: (token != tokenizer.eot_id, token))

    def _pad(self, config: GenerationConfig, ends: Sequence[int]) -> int | None:
        """Return the token that pads shorter sequences, or None if there is none."""
        if config.pad_token_id is not None:
            return check_integer("pad_token_id", config.pad_token_id, 0, self.config.vocab_size - 1)
        return ends[0] if ends else self.engine.tokenizer.eot_id


def _batch(input_ids: Any, attention_mask: Any, vocab_size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], Kind]:
    """Check the arguments; return ids (B, T), mask (B, T), and whether they came as tensors or arrays."""
    kind = kind_of(input_ids)
    if kind is None:
        word = type(input_ids).__name__
        raise InvalidRequestError(
            f"input_ids is a {word}, but it must be a tensor or an array, as return_tensors='pt' or 'np' gives"
        )
    ids = to_array(input_ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise InvalidRequestError(f"input_ids is {ids.dtype} of the shape {ids.shape}, but it must be (B, T) integers")
    mask = np.ones(ids.shape, dtype=np.bool_)
    if attention_mask is not None:
        mask = np.asarray(to_array(attention_mask) if kind_of(attention_mask) else attention_mask) != 0
    if mask.shape != ids.shape:
        raise InvalidRequestError(f"attention_mask has the shape {mask.shape}, but input_ids has {ids.shape}")
    for row, column in np.argwhere(mask & ((ids < 0) | (ids >= vocab_size)))[:1].tolist():
        wrong = f"input_ids[{row}, {column}] is {ids[row, column]}"
        raise InvalidRequestError(f"{wrong}, but it must be an integer in 0..{vocab_size - 1}")
    return ids.astype(np.int64), mask, kind


def _join(ids: NDArray[np.int64], rows: Sequence[tuple[int, Sequence[int]]], pad: int | None) -> NDArray[np.int64]:
    """Join prompts (B, T) with what was generated for each, the same number of rows for every prompt: (B * n, L).

    Each row says how many tokens at the end of its prompt it replaces, and what was generated.
    """
    each = len(rows) // max(len(ids), 1)
    whole = [[*ids[i // each, : ids.shape[1] - healed].tolist(), *tokens] for i, (healed, tokens) in enumerate(rows)]
    longest = max(map(len, whole), default=ids.shape[1])
    if pad is None and any(len(row) < longest for row in whole):
        raise InvalidRequestError("the sequences differ in length, and the model has no end of text: set pad_token_id")
    joined = np.full((len(whole), longest), pad or 0, dtype=np.int64)
    for out, row in zip(joined, whole, strict=True):
        out[: len(row)] = row
    return joined
