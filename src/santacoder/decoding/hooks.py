"""Callers' functions that take part in choosing tokens: how they are called, and what they may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import format_value
from santacoder.decoding.options import LogitsProcessor, Stopping
from santacoder.engine.fpenv import default_fpenv
from santacoder.errors import HookError, NumericalError
from santacoder.text.token_ids import TokenIds

T = TypeVar("T")


@dataclass(slots=True)
class Held:
    """What a step has computed for a sequence whose hooks have to be asked.

    Attributes:
        logits: (1 + draft tokens, V) float32, as in `Sequence.advance`.
        draft_ids: the draft tokens.
        since: when the step ended, by `time.monotonic`.
        handed_over: whether a thread has been told to ask the hooks, or knows it.
        taken: whether one of several that may have been told does.
        answered: whether the hooks have been asked.
    """

    logits: NDArray[np.float32]
    draft_ids: list[int]
    since: float = field(default_factory=monotonic)
    handed_over: bool = False
    taken: bool = False
    answered: bool = False


def process_logits(processor: LogitsProcessor, token_ids: TokenIds, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits (V,) of the next token as `processor` changes them, given all tokens (N,) before it.

    The processor gets copies, and may keep them.

    Raises:
        NumericalError: the model's logits are not finite.
        HookError: the processor raised an exception, or did what it may not.
    """
    position = token_ids.size
    if not np.isfinite(logits).all():
        raise NumericalError(f"the logits of position {position} hold a NaN or an infinity")
    given = logits.copy()
    name = "logits_processor"
    answer: Any = _call(name, lambda: processor(token_ids.copy(), given), f" at position {position}")
    if answer is not None and answer is not given:
        raise HookError(
            f"{name} returned {_describe(answer)} at position {position}, but it must change the logits in place and "
            "return None or the same array"
        )
    if given.shape != logits.shape or given.dtype != logits.dtype:
        raise HookError(
            f"{name} made {_describe(given)} of the logits of position {position}, but they must stay "
            f"{_describe(logits)}"
        )
    _check_values(name, given, position)
    return given.copy()


@default_fpenv()
def _check_values(name: str, logits: NDArray[np.float32], position: int) -> None:
    most = logits.max()  # NaN if there is one
    if most == -np.inf:
        raise HookError(f"{name} banned all tokens at position {position}, but at least one must be left")
    if not most < np.inf:
        token = int(np.flatnonzero(~(logits < np.inf))[0])
        raise HookError(
            f"{name} set the logit of token {token} at position {position} to {logits[token]}, but it must be a finite "
            "number or -inf"
        )


def wants_to_stop(stopping: Stopping, text: str) -> bool:
    """Return whether the completion ends with `text`, all of it so far.

    Raises:
        HookError: the function raised an exception, or returned something else than True or False.
    """
    answer: Any = _call("stopping", lambda: stopping(text))
    if not isinstance(answer, bool | np.bool_):
        raise HookError(f"stopping returned {format_value(answer)}, but it must return True or False")
    return bool(answer)


def _call(name: str, hook: Callable[[], T], where: str = "") -> T:
    try:
        return hook()
    except Exception as error:
        message = format_value(str(error), 200)[1:-1] if str(error) else "without a message"
        raise HookError(f"{name} raised {type(error).__name__}{where}: {message}") from error


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    return f"a {type(value).__name__}"
