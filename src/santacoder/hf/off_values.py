"""Arguments of `transformers` that are missing here: taken at values that change nothing, else refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from santacoder._util.validation import format_value
from santacoder.errors import InvalidRequestError

Off = Mapping[str, tuple[object, ...]]

_FLAG: Final = (False, None)
_NONE: Final = (None,)

#: Of `generate` and its configuration: the values that turn a feature off.
GENERATION: Final[Off] = {
    "assistant_early_exit": _NONE,
    "assistant_model": _NONE,
    "assistant_tokenizer": _NONE,
    "begin_suppress_tokens": (None, []),
    "constraints": (None, []),
    "custom_generate": _NONE,
    "decoder_start_token_id": _NONE,
    "diversity_penalty": (0.0, None),
    "dola_layers": _NONE,
    "early_stopping": _FLAG,
    "encoder_no_repeat_ngram_size": (0, None),
    "encoder_repetition_penalty": (1.0, None),
    "epsilon_cutoff": (0.0, None),
    "eta_cutoff": (0.0, None),
    "exponential_decay_length_penalty": _NONE,
    "force_words_ids": (None, []),
    "forced_bos_token_id": _NONE,
    "forced_eos_token_id": _NONE,
    "guidance_scale": (1.0, None),
    "head_mask": _NONE,
    "inputs_embeds": _NONE,
    "is_assistant": _FLAG,
    "length_penalty": (1.0, None),
    "negative_prompt_attention_mask": _NONE,
    "negative_prompt_ids": _NONE,
    "no_repeat_ngram_size": (0, None),
    "num_beam_groups": (1, None),
    "num_beams": (1, None),
    "output_attentions": _FLAG,
    "output_hidden_states": _FLAG,
    "past_key_values": _NONE,
    "penalty_alpha": (0.0, None),
    "position_ids": _NONE,
    "prefix_allowed_tokens_fn": _NONE,
    "remove_invalid_values": _FLAG,
    "renormalize_logits": _FLAG,
    "sequence_bias": (None, {}, []),
    "synced_gpus": _FLAG,
    "token_type_ids": _NONE,
    "top_h": _NONE,
    "typical_p": (1.0, None),
    "use_mtp": _FLAG,
    "watermarking_config": _NONE,
}

#: Of `generate` and its configuration: how transformers computes, which changes no result, and its bookkeeping.
UNUSED_BY_GENERATION: Final = frozenset(
    {
        "_from_model_config",
        "assistant_confidence_threshold",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "disable_compile",
        "low_memory",
        "max_cache_len",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
        "return_legacy_cache",
        "speculation_type",
        "target_lookbehind",
        "tokenizer",
        "transformers_version",
        "use_cache",
        "use_model_defaults",
    }
)

#: Of calling the model.
FORWARD: Final[Off] = {
    "encoder_attention_mask": _NONE,
    "encoder_hidden_states": _NONE,
    "head_mask": _NONE,
    "inputs_embeds": _NONE,
    "output_attentions": _FLAG,
    "output_hidden_states": _FLAG,
    "past_key_values": _NONE,
    "position_ids": _NONE,
    "token_type_ids": _NONE,
}

#: Of `from_pretrained`.
LOADING: Final[Off] = {
    "adapter_kwargs": (None, {}),
    "add_prefix_space": _FLAG,
    "attn_implementation": _NONE,
    "config": _NONE,
    "distributed_config": _NONE,
    "from_flax": _FLAG,
    "from_tf": _FLAG,
    "generation_config": _NONE,
    "ignore_mismatched_sizes": _FLAG,
    "key_mapping": (None, {}),
    "load_in_4bit": _FLAG,
    "load_in_8bit": _FLAG,
    "output_loading_info": _FLAG,
    "quantization_config": _NONE,
    "state_dict": _NONE,
    "subfolder": ("", None, "."),
    "tokenizer_type": _NONE,
    "tp_plan": _NONE,
    "tp_size": (None, 1),
    "use_auth_token": (None, False, True),  # True takes the saved token, as None does
    "use_kernels": _FLAG,
    "variant": _NONE,
}

#: Of `from_pretrained`: how and from where transformers reads files.
UNUSED_BY_LOADING: Final = frozenset(
    {
        "clean_up_tokenization_spaces",  # only asked for: `decode` never does it
        "code_revision",
        "disable_mmap",
        "low_cpu_mem_usage",
        "max_memory",
        "offload_buffers",
        "offload_folder",
        "offload_state_dict",
        "proxies",
        "resume_download",
        "use_cache",
        "use_safetensors",
        "weights_only",
    }
)

#: Of calling the tokenizer.
TOKENIZING: Final[Off] = {
    "is_split_into_words": _FLAG,
    "return_length": _FLAG,
    "return_overflowing_tokens": _FLAG,
    "return_special_tokens_mask": _FLAG,
    "stride": (0, None),
    "text_pair": _NONE,
    "text_pair_target": _NONE,
    "text_target": _NONE,
}

#: Of the tokenizer's methods.
UNUSED_BY_TOKENIZING: Final = frozenset({"add_special_tokens", "spaces_between_special_tokens", "verbose"})


def refuse(function: str, options: Mapping[str, Any], off: Off, unused: Collection[str] = ()) -> None:
    """Check that all `options` are off: with a value that `off` lists for the name, or any value of an unused one.

    Raises:
        InvalidRequestError: an option asks for a feature that is missing here.
        TypeError: the function does not have the option.
    """
    for name, value in options.items():
        if name in unused:
            continue
        if name not in off:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        if not _is_off(value, off[name]):
            raise InvalidRequestError(
                f"{name} is {format_value(value)}, but {function}() lacks this feature: {name} may only be "
                f"{off[name][0]!r}"
            )


def _is_off(value: object, allowed: tuple[object, ...]) -> bool:
    """Return whether a value, which may be an array or a tensor, is one of those allowed."""
    return isinstance(value, bool | int | float | str | list | tuple | dict | None) and value in allowed
