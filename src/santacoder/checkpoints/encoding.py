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
    if values.dtype == np.uint16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        data = gguf.quants.quantize(values.astype(np.float32, copy=False), gguf.GGMLQuantizationType[type_name])
    if type_name == "F16" and not np.isfinite(data).all():
        raise ModelFormatError(f"tensor {name} holds values too large for F16: choose another type")
    return data.view(np.uint8).reshape(-1)


def _is_matrix(name: str) -> bool:
    return name != _KEPT and not name.removesuffix(".weight").endswith("norm")
