"""What a training can go on from where no checkpoint is left: the weights and the tokenizer of a GGUF file.

    python start.py MODEL.gguf --tokenizer tokenizer.json

writes the tokenizer; `train.py --start MODEL.gguf` begins with the weights. Those of a quantized file are dequantized.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor

TOKENIZER = "tokenizer.huggingface.json"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file as float32, by name."""
    tensors = GGUFReader(path).tensors
    return {tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()) for tensor in tensors}


def main() -> None:
    """Write the tokenizer."""
    parser = argparse.ArgumentParser(description="Write the tokenizer.json that a GGUF file holds.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    arguments.tokenizer.write_text(GGUFReader(arguments.model).fields[TOKENIZER].contents(), "utf-8")


if __name__ == "__main__":
    main()
