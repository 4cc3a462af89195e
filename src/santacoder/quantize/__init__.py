"""Quantizes models of floats: `quantize` does it, `TensorReport` is the result for one tensor.

Both are imported on first use: they need the kernels, and code that only needs `mixes` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from santacoder.quantize.quantize_file import TensorReport, quantize

__all__ = ["TensorReport", "quantize"]


if not TYPE_CHECKING:  # else any name would pass for a public one

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from santacoder.quantize import quantize_file

        return getattr(quantize_file, name)
