"""What callers ask for: prompts and options, checked before anything runs."""

from __future__ import annotations

import secrets
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import check_integer, check_text
from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.context_limit import check_context
from santacoder.decoding.options import OPTIONS, SamplingOptions, SamplingParams, check_tokens, unknown_option
from santacoder.decoding.sequence import Sequence
from santacoder.errors import InvalidRequestError, SantaCoderError
from santacoder.text.filters import TextFilter
from santacoder.text.healing import take_back
from santacoder.text.infill_filters import infill_filters
from santacoder.text.infilling import MARKERS, Mode, Surroundings, fit, healed_infill_prompt
from santacoder.text.line_breaks import as_lf
from santacoder.text.line_filters import MakeLineFilters, line_filters
from santacoder.text.stream import stop_filters
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import PART, Tokenizer

T = TypeVar("T")
U = TypeVar("U")

MAX_INDEX: Final = 2**63 - 1
LOOKED_AT: Final = 512  # tokens of a prompt of ids in whose text a copy may begin


class Tensor(Protocol):
    """A tensor as PyTorch has them, on any device."""

    def __len__(self) -> int: ...
    def cpu(self) -> Any: ...
    def tolist(self) -> Any: ...


#: A text, or token ids: a list, a tuple, a NumPy array, a tensor of one dimension.
Prompt = str | abc.Sequence[int] | NDArray[np.integer] | Tensor

#: Several: a list, a generator, a column of a table, the values of a dict, an array of texts or of rows of token ids.
Prompts = Iterable[Prompt] | NDArray[np.integer]


def _draw() -> int:
    return secrets.randbits(64)


#: Draws a seed for each prompt that has none. Who may run requests again sets it, so that they draw the same ones.
draw_seed: Final[ContextVar[Callable[[], int]]] = ContextVar("draw_seed", default=_draw)

#: Takes the number of a prompt's tokens, and whether it may have more; raises ContextOverflowError if they do not fit.
CheckLength = Callable[[int, bool], None]


@dataclass(frozen=True, slots=True)
class Request:
    """One sample to generate: number `index` of those that a prompt and a seed have; `complete` gives number 0.

    The index is in 0..2^63-1. Prompt and options are checked when the request's turn comes.
    """

    prompt: Prompt
    options: SamplingOptions
    index: int = 0

    def __post_init__(self) -> None:
        """Check the index, and that the options are a mapping.

        Raises:
            InvalidRequestError: `index` is not an integer or is out of range, or `options` is not a mapping.
        """
        object.__setattr__(self, "index", check_integer("index", self.index, 0, MAX_INDEX))
        if not isinstance(self.options, Mapping):
            kind = type(self.options).__name__
            raise InvalidRequestError(f"options is a {kind}, but it must be a dict of keywords of `complete`")


def sampling_params(options: Mapping[str, Any]) -> SamplingParams:
    """Return the parameters that `options` name.

    Raises:
        InvalidRequestError: an option is unknown, has a wrong type or is out of range.
    """
    for name in options:
        if name not in OPTIONS:
            raise unknown_option(name)
    return SamplingParams(**options)


def check_request(tokenizer: Tokenizer, context: int, prompt: Prompt, params: SamplingParams) -> CheckedRequest:
    """Tokenize and check a prompt, once for all of its samples.

    Raises:
        ContextOverflowError: the prompt and max_tokens do not fit, and `truncate` is None or max_tokens leaves no room.
        InvalidRequestError: as in `prompt_ids`, logit_bias or stop_tokens names a token outside the vocabulary, or
            token_healing is True and the prompt is token ids.
    """
    if params.token_healing and not isinstance(prompt, str):
        raise InvalidRequestError("token_healing is True, but the prompt is token ids: only a text can be healed")
    needed = min(params.max_tokens, 1) if params.clip else params.max_tokens
    check, room = partial(check_context, needed, context), context - params.max_tokens
    cuts = params.truncate is not None and room > 0
    token_ids, piece = _encode_prompt(tokenizer, prompt, None if cuts else check)
    ids = token_ids  # of all that the caller gave
    if cuts and ids.size > room:
        token_ids = ids[fit(ids.size, 0, room)[0] :].copy()
    first = max(token_ids.size - piece, 1)  # the first token stays
    heals = params.heals is not False
    taken, owed = take_back(tokenizer, token_ids[first:].tolist() if heals else ())
    echo = ""
    if params.echo:
        echo = prompt if isinstance(prompt, str) else tokenizer.decode(ids if len(prompt) else ())
    check_tokens(params, tokenizer.vocab_size)
    kept = token_ids[: token_ids.size - taken]
    dropped = ids.size - token_ids.size
    params = _clipped(params, context - token_ids.size)
    filters = partial(stop_filters, lines=_lines(params))
    request = CheckedRequest(tokenizer, kept, params, filters, echo, taken, owed, dropped)
    if params.attribution is None:
        return request
    return attributed(request, prompt if isinstance(prompt, str) else tokenizer.decode(ids[-LOOKED_AT:]))


def check_infill(
    tokenizer: Tokenizer,
    context: int,
    prefix: str,
    suffix: str,
    mode: Mode | None,
    single_line: bool | None,
    params: SamplingParams,
    typing: bool = False,
    around: Surroundings | None = None,
) -> CheckedRequest:
    """Make and check the request for what is between two texts. The model sees LF for every line break of both.

    None for `mode` is "auto", and for `single_line` False. `around` says what else to read, and how much.

    Raises:
        InvalidRequestError: an argument has a wrong type, a text holds a lone surrogate, the model has no
            fill-in-the-middle tokens, or as in `check_request`.
        ContextOverflowError: max_tokens leaves no room for a prompt.
    """
    for text in (prefix, suffix):
        check_text(text)  # an error names a place in the caller's text
    room = context - params.max_tokens
    if params.clip and room < MARKERS:
        room = context - context // 4
    prompt = healed_infill_prompt(
        tokenizer,
        as_lf(prefix),
        as_lf(suffix),
        "auto" if mode is None else mode,
        room,
        typing=typing,
        heal=params.heals,
        around=around or Surroundings(),
    )
    single = False if single_line is None else single_line
    filters = partial(infill_filters, prefix, suffix, single, lines=_lines(params))
    filters(params.stop_texts)  # checks the arguments before anything runs
    check_tokens(params, tokenizer.vocab_size)
    token_ids, taken, owed, dropped = prompt
    params = _clipped(params, context - token_ids.size - taken)
    echo = prefix if params.echo else ""
    request = CheckedRequest(tokenizer, token_ids, params, filters, echo, taken, owed, dropped)
    return request if params.attribution is None else attributed(request, as_lf(prefix), as_lf(suffix))


def attributed(request: CheckedRequest, before: str, after: str = "") -> CheckedRequest:
    """Return a request with an index as one that looks up its text, which stands between two others."""
    from santacoder.attribution.generated import EnclosingText, MatchFilter

    params, others = request.params, request.filters
    index, enclosing = params.attribution, EnclosingText(before, after)
    assert index is not None

    def filters(stops: abc.Sequence[str]) -> list[TextFilter]:
        return [*others(stops), MatchFilter(index, enclosing, params.match_length)]

    return replace(request, enclosing=enclosing, filters=filters if params.on_match == "stop" else others)


def _clipped(params: SamplingParams, room: int) -> SamplingParams:
    """Return the parameters with no more tokens to generate than there is room for."""
    return replace(params, max_tokens=room) if params.max_tokens > room else params


def _lines(params: SamplingParams) -> MakeLineFilters:
    return partial(line_filters, params.min_indent, params.line_deadline)


def new_sequences(request: CheckedRequest, indices: Iterable[int] = (0,)) -> list[Sequence]:
    """Make the samples of a request with these numbers; without a seed in its options one is drawn for all."""
    seed = draw_seed.get()() if request.params.seed is None else request.params.seed
    return [Sequence(request, seed, index) for index in indices]


def prompt_ids(tokenizer: Tokenizer, prompt: Prompt, check: CheckLength | None = None) -> TokenIds:
    """Return the ids (T,) int32 of a prompt, at least one: an empty prompt becomes the end-of-text token.

    `check` refuses prompts that are too long. A text that is certainly too long is not even tokenized.

    Raises:
        ContextOverflowError: `check` raised it.
        InvalidRequestError: it is neither text nor a sequence of ids within the vocabulary, or it is empty and
            the model has no end-of-text token.
    """
    return _encode_prompt(tokenizer, prompt, check)[0]


def _encode_prompt(tokenizer: Tokenizer, prompt: Prompt, check: CheckLength | None = None) -> tuple[TokenIds, int]:
    """Return the ids as `prompt_ids` does, and how many at the end of a text might be others if it went on."""
    piece = 0
    if isinstance(prompt, str):
        if check is not None and len(prompt) > PART:
            check(-(-len(prompt) // tokenizer.longest), True)
        tokens, piece = tokenizer.encode_to_cut(prompt)
        token_ids = np.array(tokens, dtype=np.int32)
    elif isinstance(prompt, np.ndarray) and prompt.ndim == 1 and prompt.dtype.kind in "iu":
        outside = np.flatnonzero((prompt < 0) | (prompt >= tokenizer.n_tokens))
        if outside.size:
            tokenizer.check_id(int(prompt[outside[0]]))
        token_ids = prompt.astype(np.int32)
    else:
        token_ids = np.array([_checked(tokenizer, token) for token in _listed(prompt)], dtype=np.int32)
    if not token_ids.size:
        if tokenizer.eot_id is None:
            raise InvalidRequestError("the prompt is empty, and the model has no end-of-text token to start from")
        token_ids = np.array([tokenizer.eot_id], dtype=np.int32)
    if check is not None:
        check(token_ids.size, False)
    return token_ids, piece


def _listed(prompt: object) -> abc.Sequence[object]:
    """Return the items of a prompt that is not a text.

    Raises:
        InvalidRequestError: it is neither a sequence nor an array of one dimension that may hold token ids.
    """
    kind = type(prompt).__name__
    if isinstance(prompt, abc.Sequence) and not isinstance(prompt, bytes | bytearray | memoryview):
        return prompt
    shape = getattr(prompt, "shape", None)
    of_ids = not isinstance(prompt, np.ndarray) or prompt.dtype.kind in "iuO"
    if isinstance(shape, tuple) and hasattr(prompt, "tolist") and of_ids:  # a tensor, a column of a table
        if len(shape) == 1:
            items: abc.Sequence[object] = prompt.tolist()
            return items
        if len(shape) == 2:
            kind = f"{kind} of shape ({shape[0]}, {shape[1]})"
    raise InvalidRequestError(f"the prompt is a {kind}, but it must be a text or a list of token ids")


def each_prompt(prompts: Prompts, check: Callable[[Prompt], T]) -> list[T]:
    """Return `check(prompt)` for each of several prompts.

    Raises:
        InvalidRequestError: `prompts` is a single text, a mapping or a table, or is not iterable.
        SantaCoderError: what `check` raised, with the prompt's index.
    """
    ndim = getattr(prompts, "ndim", 1)  # of arrays and tensors, and of tables, whose items are names of columns
    rows = ndim == 1 or (ndim == 2 and hasattr(prompts, "tolist"))
    if isinstance(prompts, str | bytes | bytearray | Mapping) or not isinstance(prompts, Iterable) or not rows:
        kind = type(prompts).__name__
        raise InvalidRequestError(f"prompts is a {kind}, but it must be a list of texts or of lists of token ids")
    return check_each("prompts", prompts, check)


def check_each(name: str, items: Iterable[U], check: Callable[[U], T]) -> list[T]:
    """Return `check(item)` for each item; in the messages of errors it is `name[index]`.

    Raises:
        SantaCoderError: what `check` raised.
    """
    results = []
    for index, item in enumerate(items):
        try:
            results.append(check(item))
        except SantaCoderError as error:
            raise named_error(f"{name}[{index}]", error) from None
    return results


def named_error(name: str, error: SantaCoderError) -> SantaCoderError:
    """Return an error of the same kind, whose message begins with the name of what it is about."""
    named = type(error)(f"{name}: {error}")
    named.__dict__.update(error.__dict__)
    named.__cause__ = error.__cause__
    return named


def _checked(tokenizer: Tokenizer, token: object) -> int:
    if isinstance(token, bool):
        raise InvalidRequestError(f"a token id is {token}, but it must be an integer")
    return tokenizer.check_id(token)  # type: ignore[arg-type]
