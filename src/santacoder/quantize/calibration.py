"""What the matrices of a model are multiplied with, measured on texts like those that it will see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder.engine.loading import build_transformer
from santacoder.engine.threads import thread_count
from santacoder.errors import InvalidRequestError, NumericalError
from santacoder.gguf.reader import GGUFFile

#: Tokens that a calibration needs: fewer say little about thousands of columns.
LEAST_TOKENS: Final = 512
#: Rows of logits in memory at once.
PIECE_ROWS: Final = 16
#: The least importance of a column, in parts of the mean: no column is ever without any.
FLOOR: Final = 1e-3


@dataclass(frozen=True)
class Inputs:
    """What a matrix is multiplied with.

    Attributes:
        mean: (columns,) the mean input of each column.
        importance: (columns,) how much a column's squared errors count: the variance of its input where a bias makes up
            for the mean, else the mean square; divided by the mean over all columns.
    """

    mean: NDArray[np.float32]
    importance: NDArray[np.float32]


def observe_inputs(
    file: GGUFFile,
    texts: Sequence[str],
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Inputs]:
    """Run a model over texts, each in windows as long as the context.

    Args:
        file: a model whose matrices are F32, F16 or BF16.
        texts: as a file's contents, each.
        threads: as in `load`.
        progress: told after every window how many characters it had.

    Returns:
        By the name of a matrix.

    Raises:
        InvalidRequestError: the texts have too few tokens, or a matrix is quantised.
        ModelFormatError: the model cannot run.
        NumericalError: it reaches numbers that are infinite on these texts; the matrix is named.
    """
    transformer, tokenizer = build_transformer(file, thread_count(threads))
    sequences = [tokenizer.encode(text, special=False) for text in texts]
    count = sum(map(len, sequences))
    if count < LEAST_TOKENS:
        raise InvalidRequestError(f"the calibration texts have {count} tokens, but at least {LEAST_TOKENS} are needed")
    moments = transformer.collect_moments()
    for tokens in sequences:
        for first in range(0, len(tokens), transformer.context):
            window = tokens[first : first + transformer.context]
            for _ in transformer.iter_logits_batch([(window, transformer.new_cache())], PIECE_ROWS):
                pass
            if progress:
                progress(len(tokenizer.decode(window)))
    for name, sums in moments.items():
        if not np.isfinite(sums).all():
            raise NumericalError(f"the inputs of {name} become infinite on the calibration texts")
    biased = transformer.weights.vectors
    return {name: _inputs(sums / count, name.replace(".weight", ".bias") in biased) for name, sums in moments.items()}


def _inputs(moments: NDArray[np.float64], biased: bool) -> Inputs:
    mean, square = moments
    weight = np.maximum(square - mean**2, 0) if biased else square
    level = float(weight.mean())
    importance = np.maximum(weight / level, FLOOR) if level > 0 else np.ones_like(weight)
    return Inputs(mean.astype(np.float32), importance.astype(np.float32))
