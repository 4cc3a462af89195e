"""Rounds tensors to the types of GGUF files, and says which tensor of a model gets which type.

The mixes are those of llama.cpp's quantiser under the same names, so that files can be compared one by one. How the
numbers within a block are chosen is our own: see csrc/body/fit.h and docs/quantization.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder._util.validation import wrong
from santacoder.engine.isa import active
from santacoder.engine.threads import new_team, thread_count
from santacoder.errors import ModelFormatError
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.reader import GGML_TYPES

if TYPE_CHECKING:
    from santacoder._native import Floats, Null

#: Types that `Quantizer` writes -> their number in C.
TARGETS: Final = {
    "F32": lib.SC_F32, "F16": lib.SC_F16, "BF16": lib.SC_BF16, "Q4_K": lib.SC_Q4_K, "Q5_K": lib.SC_Q5_K,
    "Q6_K": lib.SC_Q6_K, "Q8_0": lib.SC_Q8_0,
}  # fmt: skip
_SOURCES: Final = {np.dtype(np.float32): lib.SC_F32, np.dtype(np.float16): lib.SC_F16, np.dtype(np.uint16): lib.SC_BF16}
#: Name -> (values per block, bytes per block).
_BLOCKS: Final = {name: (values, size) for name, values, size in GGML_TYPES.values()}
#: For rows that do not divide into a type's blocks.
_FALLBACKS: Final = ("Q8_0", "F16")


def _more_bits(layer: int, layers: int) -> bool:
    """The layers whose errors cost most: the first and the last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


#: From the number of a layer, and how many there are, to a type.
ByLayer = Callable[[int, int], str]


@dataclass(frozen=True)
class Mix:
    """What type each matrix of a model gets.

    Attributes:
        file_type: the number under `general.file_type` (llama.cpp's `llama_ftype`).
        usual: the type of most matrices.
        head: that of the output matrix: of the embedding, where both are one.
        qkv: that of a layer's first matrix.
        down: that of its last one.
    """

    file_type: int
    usual: str
    head: str
    qkv: ByLayer
    down: ByLayer


def _always(name: str) -> ByLayer:
    return lambda layer, layers: name


def _uniform(file_type: int, name: str) -> Mix:
    return Mix(file_type, name, name, _always(name), _always(name))


def _more(better: str, usual: str) -> ByLayer:
    return lambda layer, layers: better if _more_bits(layer, layers) else usual


def _first(count: Callable[[int], int], better: str, usual: str) -> ByLayer:
    return lambda layer, layers: better if layer < count(layers) else usual


MIXES: Final[Mapping[str, Mix]] = {
    "f32": _uniform(0, "F32"),
    "f16": _uniform(1, "F16"),
    "bf16": _uniform(32, "BF16"),
    "q8_0": _uniform(7, "Q8_0"),
    "q6_k": _uniform(18, "Q6_K"),
    "q5_k_m": Mix(17, "Q5_K", "Q6_K", _more("Q6_K", "Q5_K"), _more("Q6_K", "Q5_K")),
    "q5_k_s": Mix(16, "Q5_K", "Q6_K", _always("Q5_K"), _always("Q5_K")),
    "q4_k_m": Mix(15, "Q4_K", "Q6_K", _more("Q6_K", "Q4_K"), _more("Q6_K", "Q4_K")),
    "q4_k_s": Mix(
        14, "Q4_K", "Q6_K", _first(lambda layers: 4, "Q5_K", "Q4_K"), _first(lambda layers: layers // 8, "Q5_K", "Q4_K")
    ),
}


def find_mix(name: str) -> Mix:
    """The mix of this name, upper case or lower.

    Raises:
        InvalidRequestError: there is none.
    """
    mix = MIXES.get(name.lower()) if isinstance(name, str) else None
    if mix is None:
        raise wrong("the type", name, f"one of {', '.join(MIXES)}")
    return mix


def tensor_types(mix: Mix, config: Config) -> dict[str, str]:
    """The type of every tensor. Vectors and position embeddings, which are added and not multiplied, stay F32.

    A matrix whose rows do not divide into blocks becomes Q8_0, or F16 where that does not divide them either.
    """
    types = {}
    for name, shape in expected_tensors(config).items():
        wanted = _wanted(mix, name, config) if len(shape) == 2 else "F32"
        fitting = [kind for kind in (wanted, *_FALLBACKS) if shape[-1] % _BLOCKS[kind][0] == 0]
        types[name] = fitting[0]
    return types


def _wanted(mix: Mix, name: str, config: Config) -> str:
    if name == "position_embd.weight":
        return "F32"
    if name == ("token_embd.weight" if config.tied_embeddings else "output.weight"):
        return mix.head
    by_layer = {"attn_qkv": mix.qkv, "ffn_down": mix.down}.get(name.split(".")[-2])
    return mix.usual if by_layer is None else by_layer(int(name.split(".")[1]), config.block_count)


@dataclass(frozen=True)
class Quantized:
    """A tensor as a file holds it.

    Attributes:
        blocks: its bytes, (n_bytes,).
        error: the sum of the squared errors of its values.
        squares: the sum of the squares of its values.
        shift: (rows,) what each row's rounded values are less than the values, times the mean input; None without one.
    """

    blocks: NDArray[np.uint8]
    error: float
    squares: float
    shift: NDArray[np.float64] | None


class Quantizer:
    """Rounds tensors on a team of threads. Bits do not depend on their number or on the instruction set."""

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: None takes what the machine allows.

        Raises:
            InvalidRequestError: it is no integer in 1..MAX_THREADS.
            UnsupportedISAError: SANTACODER_ISA asks for what this CPU lacks.
        """
        self._isa = active()
        self._team = new_team(thread_count(threads))

    def encode(self, name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
        """The bytes of a tensor in a file: `quantize` without anything known of its inputs."""
        return self.quantize(name, values, type_name).blocks

    def quantize(
        self,
        name: str,
        values: NDArray[Any],
        type_name: str,
        importance: NDArray[np.float32] | None = None,
        mean: NDArray[np.float32] | None = None,
    ) -> Quantized:
        """Round a tensor so that its squared error is small.

        Args:
            name: for errors.
            values: (rows, columns) or (n,), C-contiguous: float32, float16, or uint16 that are the bits of bfloat16.
            type_name: one of `TARGETS`, whose blocks divide a row.
            importance: (columns,), 0 or more: how much the squared errors of a column's values count.
            mean: (columns,): the mean of what a column is multiplied with.

        Raises:
            ModelFormatError: a value is infinite or not a number, or too large for the type.
            ValueError: blocks do not divide a row, or what is known of the columns is of another size.
        """
        block, block_bytes = _BLOCKS[type_name]
        columns = values.shape[-1]
        known = [array for array in (importance, mean) if array is not None]
        if columns % block or any(array.shape != (columns,) or array.dtype != np.float32 for array in known):
            raise ValueError(f"tensor {name}: {columns} columns do not fit {type_name}, or what is known of them")
        rows = values.size // columns
        blocks = np.empty(values.size // block * block_bytes, dtype=np.uint8)
        sums = np.empty((-(-values.size // lib.SC_QUANTIZE_UNIT), 2))
        group = 16 if type_name == "Q6_K" else 32
        shifts = np.empty((rows, columns // group), dtype=np.float32) if mean is not None and block > 1 else None
        request = ffi.new(
            "sc_quantization *",
            {
                "source": _SOURCES[values.dtype],
                "target": TARGETS[type_name],
                "rows": rows,
                "columns": columns,
                "values": ffi.from_buffer(values),
                "importance": _floats(importance),
                "mean": _floats(mean),
                "blocks": ffi.from_buffer(blocks),
                "sums": ffi.from_buffer("double *", sums),
                "shifts": _floats(shifts),
            },
        )
        status = lib.sc_quantize(self._team, self._isa, request)
        if status == lib.SC_NOT_FINITE:
            raise ModelFormatError(f"tensor {name} holds a value that is infinite or not a number")
        if status == lib.SC_TOO_LARGE:
            raise ModelFormatError(f"tensor {name} holds a value that is too large for {type_name}")
        # Added one after the other, whatever NumPy's own sums do on this CPU.
        shift = None if shifts is None else np.cumsum(shifts, axis=1, dtype=np.float64)[:, -1]
        return Quantized(blocks, math.fsum(sums[:, 0]), math.fsum(sums[:, 1]), shift)


def _floats(values: NDArray[np.float32] | None) -> Floats | Null:
    return ffi.NULL if values is None else ffi.from_buffer("float *", values)
