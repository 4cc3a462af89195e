"""Prompts as requests carry them: a text, a list of texts, a list of token ids, or a list of such lists."""

from __future__ import annotations

from typing import Any, Final

from santacoder.server.errors import ApiError, bad_request
from santacoder.server.fields import Fields, kind, whole
from santacoder.text.tokenizer import Tokenizer

#: Spellings of infilling markers that clients write for models that they do not know.
_ALIASES: Final = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
)
_FORMS: Final = "a text, a list of texts, a list of token ids, or a list of lists of token ids"

OnePrompt = str | list[int]


def read_prompts(fields: Fields, most: int) -> list[OnePrompt]:
    """Return the prompts of the field "prompt"; the ids are integers, and not checked any further.

    Raises:
        ApiError: it is missing, has another shape, or holds more than `most` prompts.
    """
    value = fields.take("prompt")
    if value is None:
        raise bad_request(f"prompt is missing: it must be {_FORMS}", "prompt")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise bad_request(f"prompt is {kind(value)}, but it must be {_FORMS}", "prompt")
    if not value:
        raise bad_request(f"prompt is an empty list, but it must be {_FORMS}", "prompt")
    if not isinstance(value[0], str | list):
        return [_ids(value, "prompt")]
    if len(value) > most:
        raise bad_request(f"prompt has {len(value)} prompts, but {most} are the most", "prompt")
    first = type(value[0])
    if not all(isinstance(item, first) for item in value):
        raise bad_request(f"prompt mixes texts and ids, but it must be {_FORMS}", "prompt")
    return value if first is str else [_ids(item, f"prompt[{i}]") for i, item in enumerate(value)]


def _ids(items: list[Any], name: str) -> list[int]:
    ids = items if all(type(item) is int for item in items) else [whole(item) for item in items]
    for index, item in enumerate(ids):
        if type(item) is not int:
            raise bad_request(f"{name}[{index}] is {_shown(item)}, but it must be a token id", "prompt")
    return ids  # type: ignore[return-value]


def _shown(item: object) -> str:
    return repr(item) if isinstance(item, float | bool) else "null" if item is None else kind(item)


def check_length(prompt: OnePrompt, tokenizer: Tokenizer, context: int) -> None:
    """Refuse a prompt that cannot fit into the context, before it is tokenized.

    Raises:
        ApiError: it has more ids than the context, or so many characters that it must have more.
    """
    least, at_least = len(prompt), ""
    if isinstance(prompt, str):
        least, at_least = -(-len(prompt) // tokenizer.longest), "at least "
    if least > context:
        raise ApiError(
            400,
            f"the prompt has {at_least}{least} tokens, but the context has {context} positions",
            kind="exceed_context_size_error",
            code="context_length_exceeded",
            param="prompt",
            facts={"n_prompt_tokens": least, "n_ctx": context},
        )


def own_markers(prompts: list[OnePrompt], tokenizer: Tokenizer) -> tuple[list[OnePrompt], str]:
    """Return the prompts with the model's own infilling markers for those of other models.

    Only a text that has each marker of one spelling once, and none of the model's own, is changed: the model would
    take these for plain text and answer nonsense without an error.

    Returns:
        The prompts, and the first marker of the spelling that was replaced, or "".
    """
    ids = (tokenizer.fim_prefix_id, tokenizer.fim_suffix_id, tokenizer.fim_middle_id)
    own = [tokenizer.vocabulary[i] for i in ids if i is not None]
    told = ""
    if len(own) < len(ids):
        return prompts, told
    changed: list[OnePrompt] = []
    for prompt in prompts:
        if isinstance(prompt, str) and not any(marker in prompt for marker in own):
            for alias in _ALIASES:
                if all(prompt.count(marker) == 1 for marker in alias):
                    told = told or alias[0]
                    for theirs, ours in zip(alias, own, strict=True):
                        prompt = prompt.replace(theirs, ours)
                    break
        changed.append(prompt)
    return changed, told
