"""SantaCoder as a model of the command `llm` and its Python interface, in this process: `llm -m santacoder "def f"`.

llm finds this module by the package's entry point. The option `model` names the model, as `santacoder.load` takes it;
`revision`, `type`, `threads` and `context` are those of `load` too, and all others are those of `SantaCoder.complete`.
A conversation is one text that goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Iterator
from functools import lru_cache
from typing import Any, Final

import santacoder
from santacoder.decoding.options import OPTIONS
from santacoder.errors import InvalidRequestError, MissingPackageError

try:
    import llm
    from pydantic import create_model
except ImportError as error:
    raise MissingPackageError(f"this needs llm: `pip install santacoder[llm]` ({error})") from None

NAME: Final = "santacoder"
VARIABLE: Final = "SANTACODER_MODEL"

#: Types of the options that llm can pass, from Python or as text from its command line.
_TYPES: Final[dict[str, Any]] = {"int": int, "float": float, "bool": bool, "stop": str | list[str], "truncate": str}
#: Options of programs, or whose results llm has no place for.
_LEFT_OUT: Final = frozenset({"logprobs", "prompt_logprobs", "any_token", "lookup", "stop_tokens", "match_length"})
#: What says which model, and how it is loaded.
_MODEL_FIELDS: Final[dict[str, Any]] = {
    "model": str, "revision": str, "type": str, "threads": int, "context": int
}  # fmt: skip

_log: Final = logging.getLogger("santacoder")


def _field(kind: Any) -> Any:
    return (kind | None, None)


_Options: Final = create_model(
    "Options",
    __base__=llm.Options,
    **{name: _field(kind) for name, kind in _MODEL_FIELDS.items()},
    **{
        option.name: _field(kind)
        for option in OPTIONS.values()
        if option.name not in _LEFT_OUT and (kind := _TYPES.get(option.name, _TYPES.get(option.kind)))
    },
)


@lru_cache(maxsize=1)
def _load(name: str | None, **how: Any) -> santacoder.SantaCoder:
    """Load a model, or return the one that was loaded last, if it is the same."""
    if name is None:
        _log.warning(
            "this is the small demonstration model of the package, not SantaCoder: choose another with "
            "-o model PATH|REPO or %s",
            VARIABLE,
        )
    return santacoder.load(name, **how)


def _find(prompt: Any) -> tuple[santacoder.SantaCoder, dict[str, Any]]:
    """Return the model that a prompt's options name, and those of `complete`."""
    if prompt.system:
        raise InvalidRequestError("the model continues texts, and has no place for a system prompt")
    given = prompt.options.model_dump(exclude_none=True)
    how = {name: given.pop(name) for name in _MODEL_FIELDS if name in given}
    name = how.pop("model", None) or os.environ.get(VARIABLE) or None
    return _load(name, **how), given


def _text(prompt: Any, turns: list[tuple[str, str]]) -> str:
    """Return the text to continue: all turns of a conversation, and the new prompt."""
    return "".join((*(part for turn in turns for part in turn), prompt.prompt or ""))


class Model(llm.Model):  # type: ignore[misc]
    """The model for llm's command line and its `get_model`."""

    model_id: str = NAME
    can_stream: bool = True
    Options = _Options

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any = None) -> Iterator[str]:
        """Yield the completion: in pieces, if they are wanted."""
        turns = [] if conversation is None else [(turn.prompt.prompt, turn.text()) for turn in conversation.responses]
        model, options = _find(prompt)
        pieces = model.stream(_text(prompt, turns), **options)
        texts: list[str] = []
        while True:
            try:
                texts.append(next(pieces).text)
            except StopIteration as end:
                completion: santacoder.Completion = end.value
                break
            if stream:
                yield texts.pop()
        yield "".join(texts)
        usage = completion.usage
        response.set_usage(input=usage.prompt_tokens, output=usage.completion_tokens)
        response.response_json = {"finish_reason": completion.finish_reason, "seed": completion.seed}


class AsyncModel(llm.AsyncModel):  # type: ignore[misc]
    """The same for llm's `get_async_model`."""

    model_id: str = NAME
    can_stream: bool = True
    Options = _Options

    async def execute(
        self, prompt: Any, stream: bool, response: Any, conversation: Any = None
    ) -> AsyncGenerator[str, None]:
        """Yield the completion, always in pieces."""
        earlier = [] if conversation is None else conversation.responses
        turns = [(turn.prompt.prompt, await turn.text()) for turn in earlier]
        model, options = await asyncio.to_thread(_find, prompt)
        options = {"seed": secrets.randbits(64), **options}
        reason = None
        async for piece in model.astream(_text(prompt, turns), **options):
            reason = piece.finish_reason
            yield piece.text
        response.response_json = {"finish_reason": reason, "seed": options["seed"]}


@llm.hookimpl  # type: ignore[untyped-decorator]
def register_models(register: Any) -> None:
    """Register both."""
    register(Model(), AsyncModel())
