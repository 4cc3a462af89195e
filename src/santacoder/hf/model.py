"""The model with the interface of `transformers`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, overload

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer
from santacoder.decoding.context_limit import check_context
from santacoder.errors import InvalidRequestError
from santacoder.hf.checkpoint import find_checkpoint, load_model, options_of
from santacoder.hf.config import ModelConfig, Parameter, parameters
from santacoder.hf.forward import check_batch, forward
from santacoder.hf.generation import Generation, end_time, end_tokens, join, new_tokens, result, sampling_options
from santacoder.hf.generation_config import GenerationConfig, resolve
from santacoder.hf.off_values import FORWARD, LOADING, UNUSED_BY_LOADING, refuse
from santacoder.hf.output import CausalLMOutput
from santacoder.hf.row_hook import make_hooks
from santacoder.hf.tensors import OnCPU, as_kind, check_device, draw_seed, is_dtype
from santacoder.hf.transition_scores import transition_scores
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
        **off: Any,
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
            off: other arguments of `transformers`, at values that change nothing.

        Raises:
            OSError: the file cannot be found or downloaded: FileNotFoundError, HubError.
            ModelFormatError: it is not a model that can run.
            InvalidRequestError: there is no GGUF file, or several, or an argument is out of range.
            UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
        """
        refuse("from_pretrained", off, LOADING, UNUSED_BY_LOADING)
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


class CausalLM(OnCPU):
    """A model that completes token ids.

    Attributes:
        engine: the model with this library's own interface.
        config: its dimensions.
        generation_config: the defaults of `generate`; may be changed.
        name_or_path: the checkpoint.
        device, dtype: the CPU and float32.
        training: False.
    """

    training: Final = False

    def __init__(self, engine: SantaCoder, name_or_path: str = "") -> None:
        """Wrap a model; use `AutoModelForCausalLM.from_pretrained`."""
        self.engine: Final = engine
        self.name_or_path = name_or_path
        self.generation_config: GenerationConfig = GenerationConfig()
        self.config: ModelConfig = ModelConfig.of(engine.config, engine.context, engine.tokenizer.eot_id, name_or_path)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield shape, type and device of each tensor; values stay in the layout of the kernels."""
        return parameters(self.engine.config)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Return how many parameters the model has, all or without its two embeddings; none can be trained."""
        counts = [each.numel() for each in self.parameters()]
        return 0 if only_trainable else sum(counts[2:] if exclude_embeddings else counts)

    def get_memory_footprint(self) -> int:
        """Return how many bytes of memory the weights take."""
        return self.engine.weights_bytes

    def can_generate(self) -> bool:
        """Return True."""
        return True

    def to(self, *args: object, **options: object) -> CausalLM:
        """Return self: only the CPU is supported, and types (`torch.float16`) have no effect.

        Raises:
            InvalidRequestError: another device is asked for.
        """
        for value in (*args, options.get("device")):
            if value is not None and not isinstance(value, bool) and not is_dtype(value):
                check_device(value)
        return self

    def cpu(self) -> CausalLM:
        """Return self."""
        return self

    def cuda(self, device: object = None) -> CausalLM:
        """Refuse: only the CPU is supported.

        Raises:
            InvalidRequestError: always.
        """
        return self.to("cuda")

    def half(self) -> CausalLM:
        """Return self: the file determines the precision."""
        return self

    float = bfloat16 = half

    def eval(self) -> CausalLM:
        """Return self: the model cannot be trained."""
        return self

    def train(self, mode: bool = True) -> CausalLM:
        """Return self for `mode` False.

        Raises:
            InvalidRequestError: `mode` is True.
        """
        if mode:
            raise InvalidRequestError("the model cannot be trained: leave train() out, or use eval()")
        return self

    def requires_grad_(self, requires_grad: bool = True) -> CausalLM:
        """Return self for False; there are no gradients.

        Raises:
            InvalidRequestError: `requires_grad` is True.
        """
        return self.train(requires_grad)

    @overload
    def __call__(
        self, input_ids: Any = None, attention_mask: Any = None, *, return_dict: Literal[True] | None = None, **off: Any
    ) -> CausalLMOutput: ...
    @overload
    def __call__(
        self, input_ids: Any = None, attention_mask: Any = None, *, return_dict: bool, **off: Any
    ) -> CausalLMOutput | tuple[Any, ...]: ...
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        labels: Any = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **off: Any,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Compute the logits of every position.

        Args:
            input_ids: (B, T) ids, a NumPy array or a PyTorch tensor.
            attention_mask: (B, T), 0 for ids to skip, else 1; None is all 1.
            labels: (B, T) ids, -100 for those that do not count: also return the mean loss of what comes after each
                position.
            logits_to_keep: return only the logits of so many positions at the end; 0 is all.
            use_cache: ignored: what texts have in common is cached inside, and no `past_key_values` are returned.
            return_dict: False returns a tuple of the values.
            off: other arguments of `transformers`, at values that change nothing.

        Returns:
            `logits`, (B, T, V) float32, an array or tensor as `input_ids` is; 0 where the mask is 0. With labels first
            `loss`, ().

        Raises:
            InvalidRequestError: the ids, the mask or the labels are of a wrong type, shape or range.
            ContextOverflowError: a row does not fit in the context.
        """
        refuse("model", off, FORWARD)
        keep = check_integer("logits_to_keep", logits_to_keep, 0, None)
        ids, mask, kind = check_batch(input_ids, attention_mask, self.config.vocab_size)
        logits, loss = forward(self.engine, ids, mask, labels)
        output = CausalLMOutput(
            loss=None if loss is None else as_kind(loss, kind), logits=as_kind(logits[:, -keep:], kind)
        )
        return output.to_tuple() if return_dict is False else output

    def generate(
        self,
        inputs: Any = None,
        generation_config: Any = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        *,
        input_ids: Any = None,
        attention_mask: Any = None,
        streamer: Any = None,
        **options: Any,
    ) -> Any:
        """Continue prompts; as in `transformers`, any row of the embedding may be chosen, markers and padding included.

        Args:
            inputs: (B, T) ids, a NumPy array or a PyTorch tensor; None starts from `bos_token_id`.
            generation_config: how to generate, of `santacoder.hf` or of `transformers`; None takes the model's.
            logits_processor: a list of functions, called with the ids of one row (1, L) and its scores (1, V) before
                each token, which return the scores to use.
            stopping_criteria: a list of functions, called with the ids of one row (1, L), and its scores so far or
                None, after each token; the row ends if one returns True.
            input_ids: another name for `inputs`.
            attention_mask: (B, T), 0 for padding, else 1; None is all 1. Masked positions are ignored.
            streamer: gets the prompt and each token of the only row, see `BaseStreamer`.
            options: values that replace those of `generation_config`: see `GenerationConfig`.

        Returns:
            (B * num_return_sequences, L) int64 ids, an array or tensor as `inputs` is. Each row is the prompt as
            given, the generated tokens with the one that ended them, and `pad_token_id` up to the longest row. With
            `return_dict_in_generate` a `GenerateOutput`.

        Raises:
            InvalidRequestError: an option is unknown or out of range, or asks for something that is not supported.
            ContextOverflowError: a prompt and its new tokens do not fit in the context.
            Exception: one of the functions raised it.
        """
        config = resolve(generation_config, self.generation_config, options)
        ends_at = end_time(config)
        if inputs is None:
            inputs = self._start(config) if input_ids is None else input_ids
        vocab_size, context = self.config.vocab_size, self.engine.context
        ids, mask, kind = check_batch(inputs, attention_mask, vocab_size)
        longest = max(mask.sum(axis=1).tolist(), default=0)
        ends = end_tokens(config.eos_token_id, self._ends(), vocab_size)
        pad = self._pad(config, ends)
        max_tokens = new_tokens(config, ids.shape[1], longest, context)
        check_context(max_tokens, context, longest)
        seed = draw_seed(kind) if config.do_sample and config.seed is None else config.seed
        if config.token_healing and not mask[:, -1:].all():
            raise InvalidRequestError("token_healing is on, but a prompt is padded at its end: pad it at its beginning")
        hooks = make_hooks(config, kind, ends, vocab_size, logits_processor, stopping_criteria)
        asked = sampling_options(config, ends, max_tokens, seed, bool(hooks))
        generation = Generation(self.engine, ids, mask, asked, hooks, ends_at)
        rows = generation.run() if streamer is None else generation.stream(streamer)
        found = as_kind(join(ids, rows, pad), kind)
        return result(hooks, found, rows, vocab_size) if config.return_dict_in_generate else found

    def compute_transition_scores(
        self, sequences: Any, scores: Sequence[Any], beam_indices: None = None, normalize_logits: bool = False
    ) -> Any:
        """Return the score of each generated token.

        Args:
            sequences: (N, L) ids, as `generate` returns them.
            scores: what `output_scores` returned with them.
            beam_indices: must be None.
            normalize_logits: return log-probabilities.

        Returns:
            (N, T) float32, an array or tensor as `sequences` is; of the padding after the end of a row without meaning.

        Raises:
            InvalidRequestError: `sequences` and `scores` do not belong together, or there are `beam_indices`.
        """
        refuse("compute_transition_scores", {"beam_indices": beam_indices}, {"beam_indices": (None,)})
        return transition_scores(sequences, scores, normalize_logits)

    def __repr__(self) -> str:
        return f"<CausalLM {self.name_or_path!r}: {self.engine!r}>"

    def _start(self, config: GenerationConfig) -> NDArray[np.int64]:
        """Return the ids to start from without a prompt, (1, 1)."""
        start = self.config.bos_token_id if config.bos_token_id is None else config.bos_token_id
        if start is None:
            raise InvalidRequestError("there are no input_ids, and the model has no end of text to start from")
        return np.array([[check_integer("bos_token_id", start, 0, self.config.vocab_size - 1)]])

    def _ends(self) -> list[int]:
        """List the model's own end tokens, the end of text first; without <fim-pad>, as in `transformers`."""
        tokenizer = self.engine.tokenizer
        return sorted(tokenizer.stated_end_ids, key=lambda token: (token != tokenizer.eot_id, token))

    def _pad(self, config: GenerationConfig, ends: Sequence[int]) -> int | None:
        """Return the token that pads shorter sequences, or None if there is none."""
        if config.pad_token_id is not None:
            return check_integer("pad_token_id", config.pad_token_id, 0, self.config.vocab_size - 1)
        return ends[0] if ends else self.engine.tokenizer.eot_id
