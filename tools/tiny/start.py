"""What a training can go on from where no checkpoint is left: the weights and the tokenizer of a GGUF file.

    python start.py MODEL.gguf --tokenizer tokenizer.json

writes the tokenizer; `train.py --start MODEL.gguf` begins with the weights. Those of a quantized file are dequantized.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from gguf.quants import dequantize
from torch import Tensor

from santacoder.gguf.reader import GGUFFile

TOKENIZER = "tokenizer.huggingface.json"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file as float32, by name."""
    from gguf import GGMLQuantizationType

    with GGUFFile.open(path) as file:
        tensors = {}
        for name, info in file.tensors.items():
            kind = GGMLQuantizationType[info.type_name]
            rows = np.array(file.data(info)).view(np.uint8).reshape(info.shape[0] if len(info.shape) > 1 else 1, -1)
            tensors[name] = torch.from_numpy(dequantize(rows, kind).astype(np.float32).reshape(info.shape))
        return tensors


def main() -> None:
    """Write the tokenizer."""
    parser = argparse.ArgumentParser(description="Write the tokenizer.json that a GGUF file holds.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    with GGUFFile.open(arguments.model) as file:
        arguments.tokenizer.write_text(file.metadata.string(TOKENIZER, ""), "utf-8")


if __name__ == "__main__":
    main()
