"""Log-probabilities of chosen tokens and of the most probable ones beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from santacoder.engine.fpenv import default_fpenv
from santacoder.errors import NumericalError


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A chosen token and the most probable ones at its position.

    Attributes:
        token: the chosen token.
        logprob: its log-probability.
        top: the most probable tokens and their log-probabilities, best first; of equals the lowest id first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@default_fpenv()
def log_softmax(logits: NDArray[np.float32], position: int | None = None) -> NDArray[np.float64]:
    """Return the log-probabilities, all finite, of one row of logits (V,).

    One row at a time stays in the CPU's cache, and the result cannot depend on the size of the batch.

    Raises:
        NumericalError: a logit is not finite; the message names the `position`, if one is given.
    """
    if not np.isfinite(logits).all():
        where = "" if position is None else f" of position {position}"
        raise NumericalError(f"the logits{where} hold a NaN or an infinity")
    shifted = logits.astype(np.float64)
    shifted -= shifted.max()
    shifted -= math.log(np.exp(shifted).sum())
    return shifted


def token_logprobs(logits: NDArray[np.float32], token: int, k: int, position: int | None = None) -> TokenLogprobs:
    """Return the log-probabilities of a chosen token and of the `k` most probable ones, from the model's logits (V,).

    Raises:
        NumericalError: as in `log_softmax`.
    """
    logprobs = log_softmax(logits, position)
    k = min(k, logits.size)
    best: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    if k:
        least = np.partition(logits, -k)[-k]
        candidates = np.flatnonzero(logits >= least)  # by rising id, more than k if several equal the least
        best = candidates[np.argsort(-logits[candidates], kind="stable")[:k]]
    top = tuple(zip(best.tolist(), logprobs[best].tolist(), strict=True))
    return TokenLogprobs(int(token), float(logprobs[token]), top)
