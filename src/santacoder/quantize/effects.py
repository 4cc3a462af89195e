"""Measures what rounding one matrix does to a model's predictions on calibration texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.decoding.logprobs import log_softmax
from santacoder.engine.isa import active
from santacoder.engine.loading import build_transformer
from santacoder.engine.threads import thread_count
from santacoder.engine.transformer import Transformer
from santacoder.engine.weight_plan import c_formats
from santacoder.engine.weights import Weights, releaser
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.types import TYPES
from santacoder.quantize.calibration import PIECE_ROWS
from santacoder.quantize.quantizer import Quantized

#: Positions at which predictions are compared: one pass of the model for each matrix.
PROBE_TOKENS: Final = 256
#: The fewest tokens that are taken of a text.
LEAST_WINDOW: Final = 32


class Effects:
    """A model of floats, in which one matrix at a time is replaced by its rounded form."""

    def __init__(self, file: GGUFFile, texts: Sequence[str], threads: int | None) -> None:
        """Load the model, and predict every token of the beginnings of the texts.

        Raises:
            ModelFormatError, NumericalError: as `observe_inputs`, which has run before.
        """
        self._model, tokenizer = build_transformer(file, thread_count(threads))
        length = min(max(PROBE_TOKENS // len(texts), LEAST_WINDOW), self._model.context)
        windows = (tokenizer.encode(text, special=False)[:length] for text in texts)
        self._windows = [window for window in windows if window][: PROBE_TOKENS // length + 1]
        self._expected = _predict(self._model, self._windows)

    def divergence(self, name: str, type_name: str, quantized: Quantized) -> float:
        """Return the mean KL divergence, in nats per token, where only this matrix is rounded.

        It has five digits: the last bits of NumPy's exponentials depend on the CPU, and the choice must not.
        """
        weights = self._model.weights
        old = weights.matrices[name]
        source, panels = c_formats(TYPES[type_name])
        memory = _allocate(lib.sc_matrix_bytes(panels, old.rows, old.columns))
        blocks = ffi.from_buffer(quantized.blocks)
        to = ffi.from_buffer(memory)
        status = lib.sc_pack(self._model.team, source, blocks, old.rows, old.columns, panels, to)
        assert status == lib.SC_OK, "the quantizer's scales are finite"
        matrix = ffi.new("sc_matrix *", (panels, old.rows, old.columns, to))
        changed = replace(weights, matrices={**weights.matrices, name: matrix})
        bias = name.replace(".weight", ".bias")
        if quantized.shift is not None and bias in weights.vectors:
            changed = _corrected(changed, bias, quantized.shift)
        model = Transformer(self._model.config, changed, self._model.team, active(), self._model.context)
        found = _predict(model, self._windows)
        parts = [float((np.exp(p) * (p - q)).sum()) for p, q in zip(self._expected, found, strict=True)]
        return max(float(f"{sum(parts) / len(parts):.5g}"), 0.0)


def _predict(model: Transformer, windows: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Return the logarithms of the probabilities after each token, (V,) each."""
    parts = [(window, model.new_cache()) for window in windows]
    return [log_softmax(row) for piece in model.iter_logits_batch(parts, PIECE_ROWS) for row in piece]


def _corrected(weights: Weights, bias: str, shift: NDArray[np.float64]) -> Weights:
    """Return weights whose bias makes up for the mean error, as in the file."""
    n_bytes = weights.vector_bytes[bias]
    values = _allocate(n_bytes).view(np.float32)
    values[:] = np.frombuffer(ffi.buffer(weights.vectors[bias], n_bytes), np.float32)
    values[: shift.size] = values[: shift.size].astype(np.float64) + shift
    return replace(weights, vectors={**weights.vectors, bias: ffi.from_buffer("float *", values)})


def _allocate(n_bytes: int) -> NDArray[np.uint8]:
    """Return zeroed memory as the kernels want it, (n_bytes,)."""
    memory = lib.sc_allocate(n_bytes)
    if memory == ffi.NULL:
        raise MemoryError(f"no memory for {n_bytes} bytes of weights")
    return np.frombuffer(ffi.buffer(ffi.gc(memory, releaser(lib.sc_release, n_bytes), n_bytes), n_bytes), np.uint8)
