"""Writes random weights of a SantaCoder's shape for engines that read no GGUF: transformers, CTranslate2, OpenVINO.

`engines.py` runs this with the peer's own interpreter; existing checkpoints in the folder stay.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SHAPE = "shape.json"  # written last, so that an interrupted run is noticed


def token(index: int) -> str:
    """Return a placeholder text for a token id."""
    return f"t{index}"


def vocabulary(folder: Path) -> int:
    """Return the number of token ids of a finished folder."""
    return int(json.loads((folder / SHAPE).read_text(encoding="utf-8"))["vocab_size"])


def write_checkpoint(folder: Path, shape: dict[str, int]) -> None:
    """Write a GPTBigCode model in bfloat16 with a tokenizer of placeholders."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models

    config = transformers.GPTBigCodeConfig(
        vocab_size=shape["vocab_size"],
        n_positions=shape["context_length"],
        n_embd=shape["embedding_length"],
        n_inner=shape["feed_forward_length"],
        n_layer=shape["block_count"],
        n_head=shape["head_count"],
        multi_query=True,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({token(index): index for index in range(shape["vocab_size"])}, token(0)))
    specials = dict.fromkeys(("bos_token", "eos_token", "unk_token"), token(0))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **specials).save_pretrained(folder)


def to_ctranslate2(source: Path, folder: Path) -> None:
    """Convert a checkpoint to CTranslate2's int8 format."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source)).convert(str(folder), quantization="int8", force=True)


def to_openvino(source: Path, folder: Path) -> None:
    """Export a checkpoint to a stateful OpenVINO model with int8 weights."""
    program = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(source)]
    options = ["--task", "text-generation-with-past", "--weight-format", "int8"]
    subprocess.run([*program, *options, str(folder)], check=True)


CONVERTERS = {"ctranslate2": to_ctranslate2, "openvino": to_openvino}


def main() -> None:
    """Write the missing folders."""
    parser = argparse.ArgumentParser(description="Write random weights for engines that do not read GGUF.")
    parser.add_argument("folder", type=Path, help="the folder of the checkpoint; conversions are within it")
    parser.add_argument("--shape", type=json.loads, required=True, help="the output of `santacoder info --json`")
    parser.add_argument("--convert", choices=CONVERTERS, help="convert it too, for this engine")
    arguments = parser.parse_args()
    steps: list[tuple[Path, Any]] = [(arguments.folder, lambda folder: write_checkpoint(folder, arguments.shape))]
    if arguments.convert:
        convert = CONVERTERS[arguments.convert]
        steps.append((arguments.folder / arguments.convert, lambda folder: convert(arguments.folder, folder)))
    for folder, write in steps:
        if (folder / SHAPE).exists():
            continue
        print(f"writing {folder} ...", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
        (folder / SHAPE).write_text(json.dumps(arguments.shape), encoding="utf-8")


if __name__ == "__main__":
    main()
