"""Metadata with a value of each kind, and an encoder of tensors, for files that tests write."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
from gguf import GGUFValueType
from numpy.typing import NDArray

from santacoder.gguf.writer import Field

FIELDS: list[Field] = [
    ("general.architecture", "starcoder", GGUFValueType.STRING, None),
    ("text", "", GGUFValueType.STRING, None),
    ("number", 7, GGUFValueType.UINT64, None),
    ("flag", True, GGUFValueType.BOOL, None),
    ("names", ["a", "é"], GGUFValueType.ARRAY, GGUFValueType.STRING),
    ("numbers", np.array([1, -2], np.int32), GGUFValueType.ARRAY, GGUFValueType.INT32),
]


def encode(name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType[type_name]).view(np.uint8)
