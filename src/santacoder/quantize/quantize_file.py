"""A GGUF file of floats -> one of fewer bits, tensor by tensor."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from santacoder._util.validation import invalid_argument
from santacoder.engine.fpenv import default_fpenv
from santacoder.engine.weights import widen_bfloat16
from santacoder.errors import InvalidRequestError
from santacoder.gguf.config import Config, expected_tensors
from santacoder.gguf.config_reader import check_tensors, read_config
from santacoder.gguf.reader import GGUFFile, TensorInfo
from santacoder.gguf.split import SPLIT_PREFIX
from santacoder.gguf.types import FLOAT_DTYPES
from santacoder.gguf.writer import Field, TensorSource, check_target, write_model
from santacoder.quantize.calibration import Inputs, observe_inputs
from santacoder.quantize.mixes import Mix, find_mix, tensor_types
from santacoder.quantize.quantizer import Quantizer

_WRITTEN: Final = ("general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class TensorReport:
    """What became of a tensor.

    Attributes:
        name: its name.
        shape: (rows, columns) or (n,).
        source: its type before.
        target: its type now.
        n_bytes: bytes now.
        relative_error: the root of the squared error over the squared values; 0 where all values are kept.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    target: str
    n_bytes: int
    relative_error: float


@default_fpenv()
def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    type: str = "q4_k_m",
    *,
    calibration: Sequence[str] = (),
    threads: int | None = None,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
    calibration_progress: Callable[[int], object] | None = None,
) -> list[TensorReport]:
    """Round the matrices of a model; memory holds one tensor at a time, and `target` appears whole or not at all.

    Args:
        source: a GGUF file, or part 1 of a split one, whose matrices are F32, F16 or BF16.
        target: the file to write.
        type: a name of `mixes.MIXES`.
        calibration: texts like those that the model will see. The model reads them first; columns that are multiplied
            with large inputs are then rounded with more care, and what the rounding adds to an output on average is
            taken off its bias. That needs memory for the whole model.
        threads: how many threads compute; None takes what the machine allows.
        force: whether a file that exists is replaced; `source` never is.
        progress: told after every tensor how many bytes of the source were read for it.
        calibration_progress: told how many characters of the texts were read since it was told last.

    Returns:
        A report on every tensor, in the order of the file.

    Raises:
        FileExistsError: `target` exists, and not `force`.
        OSError: a file cannot be read or written.
        ModelFormatError: `source` is no model, or holds a value that is not finite or too large for its type.
        NumericalError: the model reaches infinite numbers on the calibration texts.
        InvalidRequestError: `type` is unknown, the source is quantised already or the same file as `target`, or
            `calibration` is no list of texts, or of too short ones.
    """
    mix = find_mix(type)
    listed = isinstance(calibration, Sequence) and not isinstance(calibration, str)
    if not listed or not all(isinstance(text, str) for text in calibration):
        raise invalid_argument("calibration", calibration, "a list of texts")
    check_target(target, force, [source])
    with GGUFFile.open(source) as file:
        config = read_config(file)
        check_tensors(file, config)
        check_source(file)
        inputs = observe_inputs(file, calibration, threads, calibration_progress) if calibration else {}
        job = _Job(file, config, mix, Quantizer(threads), inputs, progress)
        write_model(target, job.fields(), job.tensors(), job.encode, force=force, reads=file.paths)
        return job.reports


def check_source(file: GGUFFile) -> None:
    """Check that no tensor has lost bits already.

    Raises:
        InvalidRequestError: one has.
    """
    for info in file.tensors.values():
        if info.type_name not in FLOAT_DTYPES:
            raise InvalidRequestError(
                f"{file.metadata.path}: tensor {info.name} is {info.type_name} already: start from F32, F16 or BF16"
            )


class _Job:
    """One file being rounded."""

    def __init__(
        self,
        file: GGUFFile,
        config: Config,
        mix: Mix,
        quantizer: Quantizer,
        inputs: Mapping[str, Inputs],
        progress: Callable[[int], object] | None,
    ) -> None:
        self._file = file
        self._mix = mix
        self._quantizer = quantizer
        self._inputs = inputs
        self._progress = progress
        self._types = tensor_types(mix, config)
        self._shifts: dict[str, NDArray[np.float64]] = {}  # of biases, from their matrices, which come before
        self._names = list(expected_tensors(config))
        self.reports: list[TensorReport] = []

    def fields(self) -> list[Field]:
        """The metadata of the source, with what now is otherwise."""
        metadata = self._file.metadata
        fields = [
            (key, value, gguf.GGUFValueType(metadata.kinds[key]), _item_kind(value))
            for key, value in metadata.items()
            if key not in _WRITTEN and not key.startswith(SPLIT_PREFIX)  # the target is whole
        ]
        number = gguf.GGUFValueType.UINT32
        return [
            *fields,
            (_WRITTEN[0], self._mix.file_type, number, None),
            (_WRITTEN[1], gguf.GGML_QUANT_VERSION, number, None),
        ]

    def tensors(self) -> list[TensorSource]:
        """What is to be written, each matrix before its bias."""
        infos = [self._file.tensors[name] for name in self._names]
        return [TensorSource(info.name, info.shape, self._target(info), self._loader(info)) for info in infos]

    def encode(self, name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
        """A tensor's bytes."""
        info = self._file.tensors[name]
        known = self._inputs.get(name)
        quantized = self._quantizer.quantize(
            name, values, type_name, known.importance if known else None, known.mean if known else None
        )
        if quantized.shift is not None:
            self._shifts[name.replace(".weight", ".bias")] = quantized.shift
        relative = math.sqrt(quantized.error / quantized.squares) if quantized.squares else 0.0
        report = TensorReport(name, info.shape, info.type_name, type_name, quantized.blocks.size, relative)
        self.reports.append(report)
        if self._progress:
            self._progress(info.n_bytes)
        self._file.release(info.offset + info.n_bytes, info.part)  # not needed again, and unchanged until now
        return quantized.blocks

    def _target(self, info: TensorInfo) -> str:
        """Tensors that stay floats are not made larger, unless something is added to them."""
        wanted = self._types[info.name]
        kept = wanted == "F32" and self._mix.usual != "F32" and not self._inputs
        return info.type_name if kept else wanted

    def _loader(self, info: TensorInfo) -> Callable[[], NDArray[Any]]:
        def load() -> NDArray[Any]:
            values: NDArray[Any] = self._file.data(info).view(FLOAT_DTYPES[info.type_name]).reshape(info.shape)
            shift = self._shifts.get(info.name)
            return values if shift is None else _shifted(values, shift)

        return load


def _shifted(values: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """A bias (n,) that makes up for what its matrix lost on average."""
    wide = widen_bfloat16(values) if values.dtype == np.uint16 else values
    return (wide.astype(np.float64) + shift).astype(np.float32)


def _item_kind(value: object) -> gguf.GGUFValueType | None:
    if isinstance(value, list):
        return gguf.GGUFValueType.STRING
    if not isinstance(value, np.ndarray):
        return None
    name = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FLOAT"}[value.dtype.kind]
    return gguf.GGUFValueType[name if name == "BOOL" else f"{name}{8 * value.dtype.itemsize}"]
