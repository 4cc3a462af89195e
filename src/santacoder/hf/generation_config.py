"""The options of `generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from santacoder._util.validation import invalid_argument
from santacoder.errors import InvalidRequestError
from santacoder.hf.off_values import GENERATION, UNUSED_BY_GENERATION, refuse


@dataclass
class GenerationConfig:
    """Options of `generate`. A model's `generation_config` holds the defaults, and may be changed.

    Attributes:
        max_new_tokens: the most tokens to generate.
        max_length: the most tokens of a sequence, its prompt and padding included; `max_new_tokens` overrides it.
            Without either, 20 tokens are generated, or as many as the context has room for.
        min_new_tokens: no end token is chosen before there are so many new ones.
        min_length: the same for the tokens of the whole sequence, its prompt and padding included; `min_new_tokens`
            overrides it.
        do_sample: sample; otherwise the most probable token is taken, and `temperature` to `min_p` have no effect.
        temperature: above 0; None is 1.
        top_k: choose among the k most probable tokens; 0 or None is off.
        top_p: choose among the fewest tokens that together have this probability; 1 or None is off.
        min_p: choose among tokens with at least this fraction of the largest probability; None is off.
        repetition_penalty: above 1 discourages tokens of the prompt and the text so far.
        num_return_sequences: sequences for each prompt; more than one needs `do_sample`.
        bos_token_id: what to start from without a prompt; None takes the end of text.
        eos_token_id: one or more tokens that end a sequence and are part of it; None takes the model's, [] is none.
        pad_token_id: pads the shorter sequences; None takes the first of `eos_token_id`.
        stop_strings: one or more texts that end a sequence and are part of it.
        max_time: seconds after which all sequences end as they are.
        bad_words_ids: lists of tokens that never come one after the other; a list of one token forbids it.
        suppress_tokens: tokens that are never chosen.
        seed: 0..2^64-1; None draws one from PyTorch's global generator, or from NumPy's if the prompts are arrays,
            so `torch.manual_seed`, `numpy.random.seed` or `santacoder.hf.set_seed` make results repeatable.
        token_healing: take the last word of each prompt back, or the blanks at its end, and generate tokens that begin
            with their bytes: these stand in their place in the result.
        return_dict_in_generate: return a `GenerateOutput` instead of its sequences.
        output_scores: keep what each token was chosen from in the `GenerateOutput`.
        output_logits: keep what the model returned for each token there.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    repetition_penalty: float | None = 1.0
    num_return_sequences: int | None = 1
    bos_token_id: int | None = None
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    stop_strings: str | Sequence[str] | None = None
    max_time: float | None = None
    bad_words_ids: Sequence[Sequence[int]] | None = None
    suppress_tokens: Sequence[int] | None = None
    seed: int | None = None
    token_healing: bool | None = False
    return_dict_in_generate: bool | None = False
    output_scores: bool | None = False
    output_logits: bool | None = False

    if not TYPE_CHECKING:  # checkers know the attributes above, which these methods extend

        def __init__(self, **values: Any) -> None:
            """Take values of the attributes, and other values of `transformers` that change nothing.

            Raises:
                InvalidRequestError: a name is unknown, or a value asks for a feature that is missing here.
            """
            for field in fields(self):
                setattr(self, field.name, field.default)
            self.update(**values)

        def __getattr__(self, name: str) -> Any:
            if name in GENERATION:
                return GENERATION[name][0]
            raise AttributeError(f"GenerationConfig has no attribute {name!r}")

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _known({name: value}):
                super().__setattr__(name, value)

    def updated(self, options: Mapping[str, Any]) -> GenerationConfig:
        """Return a copy with other values.

        Raises:
            InvalidRequestError: an option is unknown, or asks for a feature that is missing here.
        """
        return replace(self, **_known(options))

    def update(self, **options: Any) -> dict[str, Any]:
        """Change values; none if one of them is refused.

        Returns:
            Nothing that is left over: {}.

        Raises:
            InvalidRequestError: as in `updated`.
        """
        for name, value in _known(options).items():
            setattr(self, name, value)
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the values that are not the defaults, by name."""
        default = GenerationConfig().to_dict()
        return {name: value for name, value in self.to_dict().items() if value != default[name]}


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are attributes of a configuration; check that the others change nothing."""
    names = [field.name for field in fields(GenerationConfig)]
    others = {name: value for name, value in options.items() if name not in names}
    unknown = sorted(set(others).difference(GENERATION, UNUSED_BY_GENERATION))
    if unknown:
        raise InvalidRequestError(f"generate() does not know {', '.join(unknown)}; it takes {', '.join(names)}")
    refuse("generate", others, GENERATION, UNUSED_BY_GENERATION)
    return {name: value for name, value in options.items() if name not in others}


def resolve(given: object, default: GenerationConfig, options: Mapping[str, Any]) -> GenerationConfig:
    """Return what a call of `generate` asks for.

    Args:
        given: the call's configuration, ours or one of `transformers`, of which the values that are not its defaults
            replace those of the model's; None is the model's.
        default: the model's.
        options: the call's arguments, which replace the values of either.

    Raises:
        InvalidRequestError: `given` is neither, or as in `GenerationConfig.updated`.
    """
    if given is None:
        return default.updated(options)
    if isinstance(given, GenerationConfig):
        return given.updated(options)
    differing = getattr(given, "to_diff_dict", None)
    if not callable(differing):
        raise invalid_argument("generation_config", given, "a GenerationConfig of santacoder.hf or of transformers")
    return default.updated({**differing(), **options})
