"""Chooses the type of each tensor of a model.

The mixes are those of llama.cpp's quantizer under the same names, so that files can be compared tensor by tensor.
Nothing here is slow to import, because the command line lists their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from santacoder._util.validation import invalid_argument
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.types import TYPES

#: For rows that do not divide into a type's blocks.
_FALLBACKS: Final = ("Q8_0", "F16")


def _more_bits(layer: int, layers: int) -> bool:
    """Return whether a layer's errors cost most: the first and the last eighth, and every third layer between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


#: (number of a layer, number of layers) -> type.
ByLayer = Callable[[int, int], str]


@dataclass(frozen=True)
class Mix:
    """The type of each matrix of a model.

    Attributes:
        file_type: the number under `general.file_type` (llama.cpp's `llama_ftype`).
        usual: the type of most matrices.
        head: that of the lm_head, or of the embedding if the two are tied.
        qkv: that of a layer's first matrix.
        down: that of a layer's last matrix.
        out: that of the matrix after attention; `usual` if there is none.
    """

    file_type: int
    usual: str
    head: str
    qkv: ByLayer
    down: ByLayer
    out: str | None = None


def _always(name: str) -> ByLayer:
    return lambda layer, layers: name


def _uniform(name: str) -> Mix:
    file_type = TYPES[name].file_type
    if file_type is None:
        raise ValueError(f"llama.cpp has no number for a file with {name} only")
    return Mix(file_type, name, name, _always(name), _always(name))


def _more(better: str, usual: str) -> ByLayer:
    return lambda layer, layers: better if _more_bits(layer, layers) else usual


def _first(count: Callable[[int], int], better: str, usual: str) -> ByLayer:
    return lambda layer, layers: better if layer < count(layers) else usual


MIXES: Final[Mapping[str, Mix]] = {
    "f32": _uniform("F32"),
    "f16": _uniform("F16"),
    "bf16": _uniform("BF16"),
    "q8_0": _uniform("Q8_0"),
    "q6_k": _uniform("Q6_K"),
    "q5_k_m": Mix(17, "Q5_K", "Q6_K", _more("Q6_K", "Q5_K"), _more("Q6_K", "Q5_K")),
    "q5_k_s": Mix(16, "Q5_K", "Q6_K", _always("Q5_K"), _always("Q5_K")),
    "q4_k_m": Mix(15, "Q4_K", "Q6_K", _more("Q6_K", "Q4_K"), _more("Q6_K", "Q4_K")),
    "q4_k_s": Mix(
        14, "Q4_K", "Q6_K", _first(lambda layers: 4, "Q5_K", "Q4_K"), _first(lambda layers: layers // 8, "Q5_K", "Q4_K")
    ),
    "q4_0": Mix(2, "Q4_0", "Q6_K", _always("Q4_0"), _always("Q4_0")),
    "q3_k_m": Mix(
        12,
        "Q3_K",
        "Q6_K",
        _first(lambda layers: 2, "Q5_K", "Q4_K"),
        _first(lambda layers: layers // 16, "Q5_K", "Q4_K"),
        out="Q4_K",
    ),
}


def find_mix(name: str) -> Mix:
    """Return the mix of this name, in upper or lower case.

    Raises:
        InvalidRequestError: there is none.
    """
    mix = MIXES.get(name.lower()) if isinstance(name, str) else None
    if mix is None:
        raise invalid_argument("the type", name, f"one of {', '.join(MIXES)}")
    return mix


def fitting_types(wanted: Sequence[str], columns: int) -> list[str]:
    """Return those of the types whose blocks divide a row; if there is none, Q8_0 or F16."""
    fitting = [kind for kind in (*wanted, *_FALLBACKS) if columns % TYPES[kind].block == 0]
    return [kind for kind in fitting if kind in wanted] or fitting[:1]


def tensor_types(mix: Mix, config: Config) -> dict[str, str]:
    """Return the type of every tensor. Vectors and position embeddings, which are added and not multiplied, stay F32.

    A matrix whose rows do not divide into blocks becomes Q8_0, or F16 if they do not divide into those either.
    """
    types = {}
    for name, shape in expected_tensors(config).items():
        wanted = _wanted(mix, name, config) if len(shape) == 2 else "F32"
        types[name] = fitting_types([wanted], shape[-1])[0]
    return types


def _wanted(mix: Mix, name: str, config: Config) -> str:
    if name == "position_embd.weight":
        return "F32"
    if name == ("token_embd.weight" if config.tied_embeddings else "output.weight"):
        return mix.head
    matrix = name.split(".")[-2]
    if matrix == "attn_output" and mix.out is not None:
        return mix.out
    by_layer = {"attn_qkv": mix.qkv, "ffn_down": mix.down}.get(matrix)
    return mix.usual if by_layer is None else by_layer(int(name.split(".")[1]), config.block_count)
