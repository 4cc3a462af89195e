"""Finds the types with which a file has at most some size: what is possible, what each costs, and the choice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from santacoder._util.validation import invalid_argument
from santacoder.gguf.types import TYPES
from santacoder.gguf.writer import Field, TensorSource, header_bytes, padded
from santacoder.quantize.allocation import CANDIDATES, Choice, choose_types, read_size
from santacoder.quantize.effects import Effects
from santacoder.quantize.mixes import fitting_types
from santacoder.quantize.quantizer import Quantized

#: llama.cpp's number for a file most of whose weights have this type.
_FILE_TYPES: Final = {"Q4_K": 15, "Q5_K": 17, "Q6_K": 18, "Q8_0": 7, "F16": 1}

#: (name of a matrix, its values, type) -> what it becomes.
Quantize = Callable[[str, NDArray[Any], str], Quantized]


class Sizing:
    """The choice of types for a file of a given size."""

    def __init__(self, size: int | str, fields: Sequence[Field], tensors: Sequence[TensorSource]) -> None:
        """Check that the size is possible.

        Args:
            size: see `read_size`.
            fields: the metadata of the file.
            tensors: all tensors of the file, in order; the types of matrices do not matter, except of those that are
                F32 and stay so.

        Raises:
            InvalidRequestError: the model cannot have this size; the error names the range.
        """
        budget = read_size(size)
        start, self._alignment = header_bytes(fields, tensors)
        self._matrices = [tensor for tensor in tensors if len(tensor.shape) == 2 and tensor.type_name != "F32"]
        names = {tensor.name for tensor in self._matrices}
        start += sum(padded(tensor.n_bytes, self._alignment) for tensor in tensors if tensor.name not in names)
        sizes = [[self._bytes(tensor, kind) for kind in _kinds(tensor)] for tensor in self._matrices]
        least, most = (start + sum(map(end, sizes)) for end in (min, max))
        if not least <= budget <= most:
            limit = f"in {least}..{most} bytes ({least / 1e6:.1f} to {most / 1e6:.1f} MB) for this model"
            raise invalid_argument("size", size, limit)
        self._budget = budget - start

    def choose(self, quantize: Quantize, effects: Effects | None, progress: Callable[[str], object]) -> dict[str, str]:
        """Quantize every matrix to every type, and return the type that each is to get.

        Args:
            quantize: rounds a matrix.
            effects: measures what a rounded matrix does; None counts squared errors.
            progress: called with the name of every matrix that was looked at.
        """
        choices = {}
        for tensor in self._matrices:
            kinds, values = _kinds(tensor), tensor.load()
            rounded = quantize(tensor.name, values, kinds[0])
            errors = [rounded.error, *(quantize(tensor.name, values, kind).error for kind in kinds[1:])]
            scale = 1.0
            if effects and len(kinds) > 1 and errors[0]:
                # The divergence grows with the square of the error: one measurement serves all types.
                scale = effects.divergence(tensor.name, kinds[0], rounded) / errors[0]
            choices[tensor.name] = [
                Choice(kind, self._bytes(tensor, kind), scale * error)
                for kind, error in zip(kinds, errors, strict=True)
            ]
            del values
            progress(tensor.name)
        return choose_types(choices, self._budget)

    def file_type(self, types: Mapping[str, str]) -> int:
        """Return the `general.file_type` of a file with these matrices: that of the type of most weights."""
        weights: Counter[str] = Counter()
        for tensor in self._matrices:
            weights[types[tensor.name]] += math.prod(tensor.shape)
        return _FILE_TYPES[max(weights, key=lambda kind: weights[kind])]

    def _bytes(self, tensor: TensorSource, kind: str) -> int:
        return padded(TYPES[kind].n_bytes(math.prod(tensor.shape)), self._alignment)


def _kinds(tensor: TensorSource) -> list[str]:
    return fitting_types(CANDIDATES, tensor.shape[-1])
