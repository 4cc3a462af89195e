"""A model of floats -> one of fewer bits: `quantize` does it, `TensorReport` tells what became of a tensor.

Both come on first use: they need the kernels, and who only asks for the names of `mixes` does not.
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
