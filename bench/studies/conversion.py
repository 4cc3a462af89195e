"""Conversion of a published checkpoint to Q4_K_M in one command: seconds and peak memory at full size.

    python bench/make_model.py santacoder-f16.gguf --type f16
    python bench/studies/conversion.py santacoder-f16.gguf

The weights of an F16 file are written as SantaCoder was first published: one safetensors file, `q_attn` and `kv_attn`
apart, matrices as (in, out). `santacoder convert` reads it; its tensors must be byte for byte those that
`santacoder quantize` makes from the F16 file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.peers import processes
from santacoder.gguf.config import Config
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.types import FLOAT_DTYPES

#: Matrices and norms of a layer: our name -> the published one.
MATRICES = {"attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
NORMS = {"attn_norm": "ln_1", "ffn_norm": "ln_2"}

Tensors = dict[str, NDArray[Any]]


def published_tensors(file: GGUFFile, config: Config) -> Tensors:
    """Return the tensors by their published names."""

    def read(name: str) -> NDArray[Any]:
        info = file.tensors[name]
        return file.data(info).view(FLOAT_DTYPES[info.type_name]).reshape(info.shape)

    tensors = {
        "transformer.wte.weight": read("token_embd.weight"),
        "transformer.wpe.weight": read("position_embd.weight"),
    }
    tensors |= {f"transformer.ln_f.{part}": read(f"output_norm.{part}") for part in ("weight", "bias")}
    for i in range(config.block_count):
        ours, theirs = f"blk.{i}", f"transformer.h.{i}"
        for part in ("weight", "bias"):
            tensors |= {f"{theirs}.{name}.{part}": read(f"{ours}.{norm}.{part}") for norm, name in NORMS.items()}
            both = read(f"{ours}.attn_qkv.{part}")
            tensors[f"{theirs}.attn.q_attn.{part}"] = both[: config.embedding_length].T
            tensors[f"{theirs}.attn.kv_attn.{part}"] = both[config.embedding_length :].T
            tensors |= {
                f"{theirs}.{name}.{part}": read(f"{ours}.{matrix}.{part}").T for matrix, name in MATRICES.items()
            }
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def write_checkpoint(folder: Path, model: Path) -> None:
    """Write the files that a repository on the hub has."""
    with GGUFFile.open(model) as file:
        write_files(folder, file, read_config(file))


def write_files(folder: Path, file: GGUFFile, config: Config) -> None:
    """Write the configuration, the tokenizer as the oldest revisions have it, and the weights."""
    values = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadCustomModel"], "attention_head_type": "multiquery",
        "activation_function": "gelu_fast", "n_layer": config.block_count, "n_embd": config.embedding_length,
        "n_head": config.head_count, "n_inner": config.feed_forward_length, "n_positions": config.context_length,
        "vocab_size": config.vocab_size, "layer_norm_epsilon": 1e-5, "eos_token_id": 50256,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    texts, types = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
    normal = [text for text, kind in zip(texts, types, strict=True) if kind == 1]  # type: ignore[arg-type]
    (folder / "vocab.json").write_text(json.dumps({text: index for index, text in enumerate(normal)}), "utf-8")
    merges: Any = file.metadata["tokenizer.ggml.merges"]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    save_file(published_tensors(file, config), folder / "model.safetensors")


def differing(one: Path, other: Path) -> list[str]:
    """Return the names of tensors that are not in both files with the same type and bytes."""
    with GGUFFile.open(one) as a, GGUFFile.open(other) as b:
        names = sorted(a.tensors.keys() ^ b.tensors.keys())
        for name in a.tensors.keys() & b.tensors.keys():
            left, right = a.tensors[name], b.tensors[name]
            if left.type_name != right.type_name or not np.array_equal(a.data(left), b.data(right)):
                names.append(name)
        return names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One command from a checkpoint to a quantized file.")
    parser.add_argument("model", type=Path, help="an F16 or F32 file of a model with one head of keys and values")
    parser.add_argument("--type", default="q4_k_m")
    parser.add_argument("--folder", type=Path, help="where the files go (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        checkpoint, converted, quantized = (Path(folder, name) for name in ("published", "converted", "quantized"))
        checkpoint.mkdir()
        # In another process, because a child's peak begins with its parent's.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_checkpoint, args=(checkpoint, arguments.model)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit(writer.exitcode)
        command = [sys.executable, "-m", "santacoder"]
        size = (checkpoint / "model.safetensors").stat().st_size
        run = processes.run(
            [*command, "convert", str(checkpoint), "--out", str(converted), "--type", arguments.type], "", {}
        )
        print(f"convert --type {arguments.type}: {size / 1e6:.0f} MB -> {converted.stat().st_size / 1e6:.0f} MB")
        print(f"{run.seconds:.1f} s, {run.peak / 1e6:.0f} MB of memory at the peak")
        processes.run([*command, "quantize", str(arguments.model), str(quantized), "--type", arguments.type], "", {})
        names = differing(converted, quantized)
    print(f"tensors unlike those of `quantize`: {', '.join(names) or 'none'}")
    raise SystemExit(bool(names))


if __name__ == "__main__":
    main()
