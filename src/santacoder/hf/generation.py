"""The arguments of `generate`, and generating as they say."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from santacoder._util.validation import check_integer
from santacoder.decoding.options import SamplingOptions
from santacoder.errors import InvalidRequestError
from santacoder.model import SantaCoder

NEW_TOKENS: Final = 20  # without max_new_tokens and max_length, as in transformers

#: Arguments of features that are missing here, with the values that turn them off or do not affect results.
_OFF: Final[Mapping[str, tuple[object, ...]]] = {
    "num_beams": (1, None),
    "num_beam_groups": (1, None),
    "early_stopping": (False, None),
    "length_penalty": (1.0, None),
    "penalty_alpha": (0.0, None),
    "typical_p": (1.0, None),
    "no_repeat_ngram_size": (0, None),
    "return_dict_in_generate": (False, None),
    "output_scores": (False, None),
    "output_logits": (False, None),
    "output_attentions": (False, None),
    "output_hidden_states": (False, None),
    "streamer": (None,),
    "use_cache": (True, False, None),
}


@dataclass
class GenerationConfig:
    """Options of `generate`. A model's `generation_config` holds the defaults, and may be changed.

    Attributes:
        max_new_tokens: the most tokens to generate.
        max_length: the most tokens of a sequence, its prompt and padding included; `max_new_tokens` overrides it.
            Without either, 20 tokens are generated, or as many as the context has room for.
        do_sample: sample; otherwise the most probable token is taken, and `temperature` to `min_p` have no effect.
        temperature: above 0.
        top_k: choose among the k most probable tokens; 0 or None is off.
        top_p: choose among the fewest tokens that together have this probability; 1 or None is off.
        min_p: choose among tokens with at least this fraction of the largest probability; None is off.
        repetition_penalty: above 1 discourages tokens of the prompt and the text so far.
        num_return_sequences: sequences for each prompt; more than one needs `do_sample`.
        eos_token_id: one or more tokens that end a sequence and are part of it; None takes the model's, [] is none.
        pad_token_id: pads the shorter sequences; None takes the first of `eos_token_id`.
        stop_strings: one or more texts that end a sequence and are part of it.
        seed: 0..2^64-1; None draws one from PyTorch's global generator, or from NumPy's if the prompts are arrays,
            so `torch.manual_seed`, `numpy.random.seed` or `santacoder.hf.set_seed` make results repeatable.
        token_healing: take the last word of each prompt back, or the blanks at its end, and generate tokens that begin
            with their bytes: these stand in their place in the result.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    do_sample: bool = False
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    repetition_penalty: float | None = 1.0
    num_return_sequences: int = 1
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    stop_strings: str | Sequence[str] | None = None
    seed: int | None = None
    token_healing: bool = False

    def updated(self, options: Mapping[str, Any]) -> GenerationConfig:
        """Return a copy with other values.

        Raises:
            InvalidRequestError: an option is unknown, or asks for a feature that is missing here.
        """
        for name, allowed in _OFF.items():
            if name in options and options[name] not in allowed:
                raise InvalidRequestError(
                    f"{name} is {options[name]!r}, but generate() lacks this feature: {name} may only be {allowed[0]!r}"
                )
        names = [field.name for field in fields(self)]
        unknown = sorted(set(options).difference(names, _OFF))
        if unknown:
            raise InvalidRequestError(f"generate() does not know {', '.join(unknown)}; it takes {', '.join(names)}")
        return replace(self, **{name: value for name, value in options.items() if name not in _OFF})


def new_tokens(config: GenerationConfig, length: int, longest: int, context: int) -> int:
    """Return how many tokens to generate.

    Args:
        config: the request.
        length: tokens of the padded prompts.
        longest: tokens of the longest prompt without padding.
        context: the model's.

    Raises:
        InvalidRequestError: max_length leaves no room, or either is not a positive integer.
    """
    if config.max_new_tokens is not None:
        return check_integer("max_new_tokens", config.max_new_tokens, 1, None)
    if config.max_length is None:
        return max(1, min(NEW_TOKENS, context - longest))
    room = check_integer("max_length", config.max_length, 1, None) - length
    if room < 1:
        raise InvalidRequestError(
            f"max_length is {config.max_length}, but the prompt already has {length} tokens: set max_new_tokens"
        )
    return room


def sampling_options(
    config: GenerationConfig, ends: Sequence[int], max_tokens: int, seed: int | None
) -> SamplingOptions:
    """Convert the request to keywords of `SantaCoder.complete_many`.

    Raises:
        InvalidRequestError: several sequences without sampling, or sampling at temperature 0.
    """
    count = check_integer("num_return_sequences", config.num_return_sequences, 1, None)
    options: SamplingOptions = {
        "max_tokens": max_tokens,
        "repetition_penalty": _or(config.repetition_penalty, 1.0),
        "stop": _or(config.stop_strings, ()),
        "stop_tokens": ends,
        "ignore_eos": True,  # `ends` includes the end of text where it is wanted
        "any_token": True,
        "seed": seed,
    }
    if config.do_sample:
        if config.temperature == 0:
            raise InvalidRequestError("temperature is 0, but sampling needs one above 0: use do_sample=False")
        options["temperature"] = _or(config.temperature, 1.0)
        options["top_k"] = _or(config.top_k, 0)
        options["top_p"] = _or(config.top_p, 1.0)
        options["min_p"] = _or(config.min_p, 0.0)
        return options
    if count > 1:
        raise InvalidRequestError(f"num_return_sequences is {count}, but without do_sample all would be equal")
    for name in ("temperature", "top_k", "top_p", "min_p"):
        if getattr(config, name) not in (getattr(GenerationConfig, name), None):
            warnings.warn(f"{name} has no effect without do_sample=True", stacklevel=3)
    options["temperature"] = 0
    return options


def end_tokens(value: int | Iterable[int] | None, default: Iterable[int], vocab_size: int) -> list[int]:
    """Return the tokens that end a sequence.

    Raises:
        InvalidRequestError: one is not in the vocabulary.
    """
    if value is None:
        return list(default)
    tokens = value if isinstance(value, Iterable) else [value]
    return [check_integer("eos_token_id", token, 0, vocab_size - 1) for token in tokens]


def complete_all(
    model: SantaCoder, prompts: Sequence[Sequence[int]], n: int, options: SamplingOptions, heals: bool = False
) -> list[tuple[int, list[int]]]:
    """Generate n rows for each prompt: how many tokens at its end they replace, and the generated ones.

    A prompt's samples depend only on the seed, not on its neighbours. A prompt that occurs several times gets samples
    with further indices, so that its rows differ.
    """
    rows: list[list[tuple[int, list[int]]]] = [[] for _ in prompts]
    places: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        places.setdefault(tuple(prompt), []).append(i)
    for count in sorted({len(where) for where in places.values()}):
        group = [prompt for prompt, where in places.items() if len(where) == count]
        asked = [_healable(model, prompt) if heals else prompt for prompt in group]
        many = model.complete_many(asked, n * count, progress=False, **options)
        for prompt, samples in zip(group, many, strict=True):
            for k, i in enumerate(places[prompt]):
                rows[i] = [(sample.healed, sample.tokens) for sample in samples[k * n : (k + 1) * n]]
    return [row for samples in rows for row in samples]


def _healable(model: SantaCoder, prompt: Sequence[int]) -> str | Sequence[int]:
    """Return the text of a prompt, which can be healed, or its ids if it is not what a text becomes."""
    text = model.tokenizer.decode(prompt)
    return text if model.tokenizer.encode(text) == list(prompt) else prompt


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
