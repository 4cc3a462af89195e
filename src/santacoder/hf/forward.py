"""The logits of batches of ids, and the loss of labels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder.decoding.logprobs import log_softmax
from santacoder.errors import InvalidRequestError
from santacoder.hf.tensors import Kind, kind_of, to_array
from santacoder.model import SantaCoder

IGNORED: Final = -100  # a label that does not count


def check_batch(
    input_ids: Any, attention_mask: Any, vocab_size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], Kind]:
    """Check the arguments; return ids (B, T), mask (B, T), and whether they came as tensors or arrays.

    Raises:
        InvalidRequestError: the ids or the mask are of a wrong type, shape or range.
    """
    kind = kind_of(input_ids)
    if kind is None:
        word = type(input_ids).__name__
        raise InvalidRequestError(
            f"input_ids is a {word}, but it must be a tensor or an array, as return_tensors='pt' or 'np' gives"
        )
    ids = to_array(input_ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise InvalidRequestError(f"input_ids is {ids.dtype} of the shape {ids.shape}, but it must be (B, T) integers")
    mask = np.ones(ids.shape, dtype=np.bool_)
    if attention_mask is not None:
        mask = np.asarray(to_array(attention_mask) if kind_of(attention_mask) else attention_mask) != 0
    if mask.shape != ids.shape:
        raise InvalidRequestError(f"attention_mask has the shape {mask.shape}, but input_ids has {ids.shape}")
    for row, column in np.argwhere(mask & ((ids < 0) | (ids >= vocab_size)))[:1].tolist():
        wrong = f"input_ids[{row}, {column}] is {ids[row, column]}"
        raise InvalidRequestError(f"{wrong}, but it must be an integer in 0..{vocab_size - 1}")
    return ids.astype(np.int64), mask, kind


def forward(
    model: SantaCoder, ids: NDArray[np.int64], mask: NDArray[np.bool_], labels: Any = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Compute the logits (B, T, V) of ids (B, T), 0 where the mask (B, T) is False, and the mean loss () of labels.

    Raises:
        InvalidRequestError: labels are of a wrong type, shape or range.
        ContextOverflowError: a row does not fit in the context.
    """
    size = model.config.vocab_size
    targets = None if labels is None else _check_labels(labels, ids.shape, size)
    logits = np.zeros((*ids.shape, size), dtype=np.float32)
    for row, kept, out in zip(ids, mask, logits, strict=True):
        if kept.any():
            out[kept] = model.logits(row[kept])
    return logits, None if targets is None else _loss(logits, targets)


def _check_labels(labels: Any, shape: tuple[int, ...], vocab_size: int) -> NDArray[np.int64]:
    array = np.asarray(to_array(labels) if kind_of(labels) else labels)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise InvalidRequestError(
            f"labels is {array.dtype} of the shape {array.shape}, but it must be integers of the shape {shape}"
        )
    for row, column in np.argwhere((array != IGNORED) & ((array < 0) | (array >= vocab_size)))[:1].tolist():
        wrong = f"labels[{row}, {column}] is {array[row, column]}"
        raise InvalidRequestError(f"{wrong}, but it must be an integer in 0..{vocab_size - 1} or {IGNORED}")
    return array.astype(np.int64)


def _loss(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean over all positions that count of -log p(the next label); NaN if none does."""
    losses = [
        -log_softmax(logits[row, column])[labels[row, column + 1]]
        for row, column in np.argwhere(labels[:, 1:] != IGNORED).tolist()
    ]
    return np.array(np.mean(losses) if losses else np.nan, dtype=np.float32)
