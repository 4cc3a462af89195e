"""The scores of the tokens that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import invalid_argument
from santacoder.hf.tensors import as_kind, kind_of, to_array


def transition_scores(sequences: Any, scores: Sequence[Any], normalize: bool) -> Any:
    """Return the score of each generated token (N, T).

    Args:
        sequences: (N, L) ids, the last T of them generated.
        scores: T arrays or tensors (N, V), as `generate` returns them.
        normalize: whether to return log-probabilities instead.

    Raises:
        InvalidRequestError: `sequences` is neither an array nor a tensor, or has not (N, T or more) ids.
    """
    kind = kind_of(sequences)
    ids: NDArray[Any] = np.empty(0) if kind is None else to_array(sequences)
    if kind is None or ids.ndim != 2 or ids.shape[1] < len(scores):
        raise invalid_argument("sequences", sequences, f"ids (N, {len(scores)} or more), as generate() returns them")
    new = ids[:, ids.shape[1] - len(scores) :]
    chosen = np.zeros(new.shape, dtype=np.float32)
    for step, values in enumerate(scores):
        rows = _log_softmax(to_array(values)) if normalize else to_array(values)
        chosen[:, step] = np.take_along_axis(rows, new[:, step, None], axis=1)[:, 0]
    return as_kind(chosen, kind)


def _log_softmax(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = rows - rows.max(axis=1, keepdims=True)
    logprobs: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logprobs
