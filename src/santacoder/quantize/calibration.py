"""Input statistics of every weight matrix, measured on calibration texts.

Weighting the errors of a column by its mean squared input is what llama.cpp calls an importance matrix.
"""

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

#: The fewest tokens for a calibration: fewer say little about thousands of columns.
LEAST_TOKENS: Final = 512
#: Rows of logits in memory at once.
PIECE_ROWS: Final = 16
#: The least importance of a column, as a part of the mean: no column is ignored.
FLOOR: Final = 1e-3


@dataclass(frozen=True)
class Inputs:
    """Statistics of a matrix's inputs.

    Attributes:
        mean: (columns,) the mean input of each column.
        importance: (columns,) the weight of a column's squared errors: the variance of its input if a bias makes up for
            the mean, else the mean square; divided by the mean over all columns.
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
        texts: each like the contents of a file.
        threads: as in `load`.
        progress: called after every window with the number of its characters.

    Returns:
        The name of a matrix -> the statistics of its inputs.

    Raises:
        InvalidRequestError: the texts have too few tokens, or a matrix is quantized.
        ModelFormatError: the model cannot run.
        NumericalError: an input becomes infinite on these texts; the matrix is named.
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
