"""A model of floats -> one of fewer bits: `quantize` does it, `TensorReport` tells what became of a tensor."""

from santacoder.quantize.quantize_file import TensorReport, quantize

__all__ = ["TensorReport", "quantize"]
