"""The types that tensors get, and their bytes: what a conversion needs of the quantisers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from santacoder.config import Config
from santacoder.errors import ModelFormatError

#: Name on the command line -> llama.cpp's number for `general.file_type`.
FILE_TYPES: Final = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}

_PIECE: Final = 1 << 20  # values that are encoded at a time
_KEPT: Final = "position_embd.weight"  # read one row at a time: nothing is won by rounding it


def tensor_types(mix: str, config: Config, names: Iterable[str]) -> dict[str, str]:
    """The type of each tensor: matrices have the one that `mix` names, all else is F32."""
    matrix = mix.upper()
    return {name: matrix if name.endswith(".weight") and _is_matrix(name) else "F32" for name in names}


def encode(name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
    """The bytes of a tensor, (n,): `values` are float32, float16, or uint16 that are the bits of bfloat16.

    Raises:
        ModelFormatError: a value is too large for the type.
    """
    if type_name == "F32" and values.dtype == np.float32:
        return values.view(np.uint8).reshape(-1)
    rows = values.reshape(-1, values.shape[-1])
    step = max(1, _PIECE // values.shape[-1])
    out = np.empty((len(rows), _row_bytes(type_name, values.shape[-1])), np.uint8)
    for start in range(0, len(rows), step):
        out[start : start + step] = _encode_piece(name, rows[start : start + step], type_name)
    return out.reshape(-1)


def _encode_piece(name: str, rows: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
    """(n, columns) values to (n, bytes of a row)."""
    if rows.dtype == np.uint16:
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        data = gguf.quants.quantize(rows.astype(np.float32, copy=False), gguf.GGMLQuantizationType[type_name])
    if type_name == "F16" and not np.isfinite(data).all():
        raise ModelFormatError(f"tensor {name} holds values too large for F16: choose another type")
    return data.view(np.uint8).reshape(len(rows), -1)


def _row_bytes(type_name: str, columns: int) -> int:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type_name]]
    return columns // block * size


def _is_matrix(name: str) -> bool:
    return name != _KEPT and not name.removesuffix(".weight").endswith("norm")
