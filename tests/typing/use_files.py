"""Conversion and quantization as users write them; checked by mypy and pyright, never run."""

from pathlib import Path

from typing_extensions import assert_type

import santacoder
import santacoder.quantize
from santacoder.quantize import TensorReport, quantize


def write() -> None:
    santacoder.convert("checkpoint", "m.gguf")
    santacoder.convert("owner/name", Path("m.gguf"), "q4_k_m", "main", fim=True, fim_mode="spm", threads=2, force=True)
    reports = quantize("m.gguf", Path("q.gguf"), "q4_k_m", calibration=["def f():"], threads=2, progress=print)
    assert_type(reports, list[TensorReport])
    assert_type(santacoder.quantize.quantize("m.gguf", "q.gguf"), list[TensorReport])

    santacoder.convert("checkpoint")  # type: ignore[call-arg]
    santacoder.convert("checkpoint", "m.gguf", fim_mode="msp")  # type: ignore[arg-type]
    santacoder.convert("checkpoint", "m.gguf", "f16", None, True)  # type: ignore[call-arg]
    quantize("m.gguf", "q.gguf", 4)  # type: ignore[arg-type]
    quantize("m.gguf", "q.gguf", calibration=5)  # type: ignore[arg-type]
    quantize("m.gguf", "q.gguf", progress=lambda: None)  # type: ignore[arg-type, misc]
    santacoder.quantize("m.gguf", "q.gguf")  # type: ignore[operator]
