"""Quantizes a GGUF file of floats, tensor by tensor."""

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
from santacoder.quantize.effects import Effects
from santacoder.quantize.mixes import Mix, find_mix, tensor_types
from santacoder.quantize.quantizer import Quantized, Quantizer
from santacoder.quantize.sizing import Sizing

_WRITTEN: Final = ("general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class TensorReport:
    """The result of quantizing one tensor.

    Attributes:
        name: its name.
        shape: (rows, columns) or (n,).
        source: its type before.
        target: its type now.
        n_bytes: bytes now.
        relative_error: the square root of the squared error over the squared values; 0 if all values are kept.
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
    type: str | None = None,
    *,
    size: int | str | None = None,
    calibration: Sequence[str] = (),
    threads: int | None = None,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
    calibration_progress: Callable[[int], object] | None = None,
) -> list[TensorReport]:
    """Quantize the matrices of a model; memory holds one tensor at a time, and `target` appears whole or not at all.

    Args:
        source: a GGUF file, or part 1 of a split one, whose matrices are F32, F16 or BF16.
        target: the file to write.
        type: a name of `mixes.MIXES`; None is q4_k_m where no `size` is given.
        size: the most bytes of the file, instead of a type: an integer, or as in "680MB", "0.7GB" or "650MiB". Each
            matrix becomes Q4_K, Q5_K, Q6_K or Q8_0, so that the loss is least: the sum of squared errors, or with
            `calibration` the sum of the divergences that are measured with one matrix rounded at a time.
        calibration: texts like those that the model will see. The model reads them first; columns with large inputs are
            then rounded with more care, and the mean error of an output is subtracted from its bias. This needs
            memory for the whole model.
        threads: how many threads compute; None is as many as the machine allows.
        force: whether an existing file is replaced; `source` never is.
        progress: called after every tensor with the bytes of the source that were read for it. With `size` every matrix
            is read twice.
        calibration_progress: called with the characters of the texts that were read since its last call.

    Returns:
        A report on every tensor, in the order of the file.

    Raises:
        FileExistsError: `target` exists, and not `force`.
        OSError: a file cannot be read or written.
        ModelFormatError: `source` is not a model, or holds a value that is not finite or too large for its type.
        NumericalError: the model reaches infinite numbers on the calibration texts.
        InvalidRequestError: `type` is unknown, `size` is given too or out of the model's range, the source is quantized
            already or the same file as `target`, or `calibration` is not a list of texts, or has too few tokens.
    """
    if type is not None and size is not None:
        raise InvalidRequestError(f"type is {type!r} and size is {size!r}, but only one of them can be given")
    mix = find_mix("q4_k_m" if type is None else type)
    listed = isinstance(calibration, Sequence) and not isinstance(calibration, str)
    if not listed or not all(isinstance(text, str) for text in calibration):
        raise invalid_argument("calibration", calibration, "a list of texts")
    check_target(target, force, [source])
    with GGUFFile.open(source) as file:
        config = read_config(file)
        check_tensors(file, config)
        check_source(file)
        job = _Job(file, config, mix, Quantizer(threads), bool(calibration), progress)
        sizing = None if size is None else Sizing(size, job.fields(), job.tensors())
        if calibration:
            job.inputs = observe_inputs(file, calibration, threads, calibration_progress)
        if sizing:
            job.fit(sizing, Effects(file, calibration, threads) if calibration else None)
        write_model(target, job.fields(), job.tensors(), job.encode, force=force, reads=file.paths)
        return job.reports


def check_source(file: GGUFFile) -> None:
    """Check that no tensor is quantized already.

    Raises:
        InvalidRequestError: one is.
    """
    for info in file.tensors.values():
        if info.type_name not in FLOAT_DTYPES:
            raise InvalidRequestError(
                f"{file.metadata.path}: tensor {info.name} is {info.type_name} already: start from F32, F16 or BF16"
            )


class _Job:
    """The quantizing of one file."""

    def __init__(
        self,
        file: GGUFFile,
        config: Config,
        mix: Mix,
        quantizer: Quantizer,
        calibrated: bool,
        progress: Callable[[int], object] | None,
    ) -> None:
        self._file = file
        self._file_type = mix.file_type
        self._keeps_floats = mix.usual != "F32" and not calibrated
        self._quantizer = quantizer
        self._progress = progress
        self._types: Mapping[str, str] = tensor_types(mix, config)
        self._shifts: dict[str, NDArray[np.float64]] = {}  # of biases, set by their matrices, which come first
        self._names = list(expected_tensors(config))
        self.inputs: Mapping[str, Inputs] = {}
        self.reports: list[TensorReport] = []

    def fields(self) -> list[Field]:
        """Return the metadata of the source, updated for the target."""
        metadata = self._file.metadata
        fields = [
            (key, value, gguf.GGUFValueType(metadata.kinds[key]), _item_kind(value))
            for key, value in metadata.items()
            if key not in _WRITTEN and not key.startswith(SPLIT_PREFIX)  # the target is whole
        ]
        number = gguf.GGUFValueType.UINT32
        return [
            *fields,
            (_WRITTEN[0], self._file_type, number, None),
            (_WRITTEN[1], gguf.GGML_QUANT_VERSION, number, None),
        ]

    def tensors(self) -> list[TensorSource]:
        """Return the tensors to write, each matrix before its bias."""
        infos = [self._file.tensors[name] for name in self._names]
        return [TensorSource(info.name, info.shape, self._target(info), self._loader(info)) for info in infos]

    def encode(self, name: str, values: NDArray[Any], type_name: str) -> NDArray[np.uint8]:
        """Return a tensor's bytes."""
        info = self._file.tensors[name]
        quantized = self._quantize(name, values, type_name)
        if quantized.shift is not None:
            self._shifts[name.replace(".weight", ".bias")] = quantized.shift
        relative = math.sqrt(quantized.error / quantized.squares) if quantized.squares else 0.0
        report = TensorReport(name, info.shape, info.type_name, type_name, quantized.blocks.size, relative)
        self.reports.append(report)
        self._leave(name)
        return quantized.blocks

    def fit(self, sizing: Sizing, effects: Effects | None) -> None:
        """Choose the types so that the file has a given size."""
        chosen = sizing.choose(self._quantize, effects, self._leave)
        self._types = {**self._types, **chosen}
        self._file_type = sizing.file_type(chosen)

    def _quantize(self, name: str, values: NDArray[Any], type_name: str) -> Quantized:
        known = self.inputs.get(name)
        importance, mean = (known.importance, known.mean) if known else (None, None)
        return self._quantizer.quantize(name, values, type_name, importance, mean)

    def _leave(self, name: str) -> None:
        """Say that a tensor was read; also checks that the file is unchanged."""
        info = self._file.tensors[name]
        if self._progress:
            self._progress(info.n_bytes)
        self._file.release(info.offset + info.n_bytes, info.part)

    def _target(self, info: TensorInfo) -> str:
        """Return the type to write: tensors that stay floats do not become larger, unless a shift is added to them."""
        wanted = self._types[info.name]
        return info.type_name if wanted == "F32" and self._keeps_floats else wanted

    def _loader(self, info: TensorInfo) -> Callable[[], NDArray[Any]]:
        def load() -> NDArray[Any]:
            values: NDArray[Any] = self._file.data(info).view(FLOAT_DTYPES[info.type_name]).reshape(info.shape)
            shift = self._shifts.get(info.name)
            return values if shift is None else _shifted(values, shift)

        return load


def _shifted(values: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a bias (n,) that makes up for the mean error of its matrix."""
    wide = widen_bfloat16(values) if values.dtype == np.uint16 else values
    return (wide.astype(np.float64) + shift).astype(np.float32)


def _item_kind(value: object) -> gguf.GGUFValueType | None:
    if isinstance(value, list):
        return gguf.GGUFValueType.STRING
    if not isinstance(value, np.ndarray):
        return None
    name = {"b": "BOOL", "u": "UINT", "i": "INT", "f": "FLOAT"}[value.dtype.kind]
    return gguf.GGUFValueType[name if name == "BOOL" else f"{name}{8 * value.dtype.itemsize}"]
