"""Writes a model of SantaCoder's exact shape with random weights, and has llama.cpp quantize it.

    python bench/make_model.py santacoder-random-q4_k_m.gguf

The speed of a forward pass does not depend on the values of the weights, so this file stands for the trained
model in benchmarks. Everything else is as in a user's file: written by the `gguf` package, quantized by llama.cpp
(llama-cpp-python must be installed, except for `--type f16`), 49152 byte-level BPE tokens.
The weights depend only on the seed; the merges are learnt from the sources of the standard library and differ
a little between Python versions. An intermediate F16 file takes 2.3 GB of disk until the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of bench and tests

TYPES = (
    "q4_k_m", "q4_k_s", "q5_k_m", "q6_k", "q8_0", "f16",
    "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "q2_k", "q3_k_s", "q3_k_m", "iq4_xs",
)  # fmt: skip
SPECIAL_TOKENS = ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
WEIGHT_STD = 0.02
CHUNK_ROWS = 4096  # rows drawn at once: bounds memory to a few hundred megabytes


@dataclass(frozen=True)
class Shape:
    """The dimensions of a starcoder model; the defaults are SantaCoder's."""

    layers: int = 24
    width: int = 2048
    heads: int = 16
    kv_heads: int = 1
    ffn: int = 8192
    context: int = 2048
    vocabulary: int = 49280

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield names and (rows, columns) in file order."""
        qkv = self.width + 2 * self.width // self.heads * self.kv_heads
        yield "token_embd.weight", (self.vocabulary, self.width)
        yield "position_embd.weight", (self.context, self.width)
        for layer in range(self.layers):
            yield from _affine(f"blk.{layer}.attn_norm", self.width)
            yield from _affine(f"blk.{layer}.attn_qkv", qkv, self.width)
            yield from _affine(f"blk.{layer}.attn_output", self.width, self.width)
            yield from _affine(f"blk.{layer}.ffn_norm", self.width)
            yield from _affine(f"blk.{layer}.ffn_up", self.ffn, self.width)
            yield from _affine(f"blk.{layer}.ffn_down", self.width, self.ffn)
        yield from _affine("output_norm", self.width)


def file_type(name: str) -> int:
    """Return the number of one of TYPES under `general.file_type`."""
    return int(gguf.LlamaFileType[f"MOSTLY_{name.upper()}"])


def _affine(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a weight of the given shape and a bias with a value for each of its rows."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def storage_type(name: str, shape: tuple[int, ...]) -> np.dtype[np.floating]:
    """Return F16 for matrices, F32 for vectors and positions, as llama.cpp's own converter chooses."""
    return np.dtype(np.float32 if len(shape) == 1 or name == "position_embd.weight" else np.float16)


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...], layers: int) -> NDArray[np.floating]:
    """Draw values as GPT-2 is initialised: activations stay near 1 through any number of layers."""
    std, mean = WEIGHT_STD, 0.0
    if name.endswith(("attn_output.weight", "ffn_down.weight")):
        std /= np.sqrt(2 * layers)  # every layer adds two of these to the residual stream
    elif name.endswith("norm.weight"):
        mean = 1.0
    tensor = np.empty(shape, storage_type(name, shape))
    for rows in np.array_split(tensor, max(1, len(tensor) // CHUNK_ROWS)):
        rows[:] = mean + np.float32(std) * rng.standard_normal(rows.shape, np.float32)
    return tensor


def learn_bpe(count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return `count` byte-level BPE tokens in the order of their ids, and the merges in order of priority."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=count, initial_alphabet=alphabet, max_token_length=32, show_progress=False)
    sources = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    own = (path for path in sources if not {"site-packages", "dist-packages"} & set(path.parts))
    texts = (path.read_text("utf-8", errors="ignore") for path in own)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [(left, right) for left, right in model["merges"]]
    # A small standard library may yield fewer merges than needed: pairs of tokens make up the number.
    known = set(tokens)
    for left, right in itertools.product(alphabet, tuple(tokens)):
        if len(tokens) == count:
            break
        if left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append((left, right))
    return tokens, merges


def add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    """Add BPE tokens, the special tokens, then rows that only pad the matrix (SantaCoder has 123)."""
    padding = min(123, (vocabulary - 256 - len(SPECIAL_TOKENS)) // 2)
    tokens, merges = learn_bpe(vocabulary - len(SPECIAL_TOKENS) - padding)
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS)
    end_of_text = len(tokens)
    tokens += SPECIAL_TOKENS
    tokens += [f"[PAD{index}]" for index in range(len(tokens), vocabulary)]
    types += [gguf.TokenType.UNUSED] * padding
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(end_of_text)
    writer.add_eos_token_id(end_of_text)
    writer.add_unk_token_id(end_of_text)


def write_f16(path: Path, shape: Shape, seed: int) -> None:
    """Write the F16 file, one tensor at a time."""
    writer = gguf.GGUFWriter(path, "starcoder")
    writer.add_name("random weights in SantaCoder's shape" if shape == Shape() else "random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(file_type("f16"))
    add_tokenizer(writer, shape.vocabulary)

    for name, size in shape.tensors():
        dtype = storage_type(name, size)
        writer.add_tensor_info(name, size, dtype, int(np.prod(size)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(seed)
    for name, size in shape.tensors():
        writer.write_tensor_data(draw(rng, name, size, shape.layers))
    writer.close()


def type_mix(path: Path) -> list[tuple[str, str, int]]:
    """Return (tensor, type, number of layers) of a file: "blk.*.ffn_down.weight", "Q6_K", 12."""
    mix: Counter[tuple[str, str]] = Counter()
    for tensor in gguf.GGUFReader(path).tensors:
        name = ".".join("*" if part.isdigit() else part for part in tensor.name.split("."))
        mix[name, tensor.tensor_type.name] += 1
    return sorted((*key, count) for key, count in mix.items())


def main() -> None:
    """Parse the command line, write the model, and print its contents."""
    parser = argparse.ArgumentParser(description="Write a random-weight model of SantaCoder's shape.")
    parser.add_argument("out", type=Path, help="the GGUF file to write")
    parser.add_argument("--type", choices=TYPES, default="q4_k_m", help="type of the matrices (default q4_k_m)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="threads that quantize (default 2)")
    parser.add_argument("--keep", action="store_true", help="keep the F16 file, OUT.f16")
    for field in fields(Shape):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    arguments = parser.parse_args()
    shape = Shape(**{field.name: getattr(arguments, field.name) for field in fields(Shape)})
    if shape.width % shape.heads or shape.heads % shape.kv_heads:
        parser.error("the width must be a multiple of --heads, and --heads a multiple of --kv-heads")
    if shape.vocabulary < 256 + len(SPECIAL_TOKENS):
        parser.error(f"--vocabulary must be at least {256 + len(SPECIAL_TOKENS)}")

    if arguments.type == "f16":
        write_f16(arguments.out, shape, arguments.seed)
    else:
        unquantised = arguments.out.with_name(arguments.out.name + ".f16")
        try:
            write_f16(unquantised, shape, arguments.seed)
            from bench.peers.llama_cpp_peer import quantize_file

            quantize_file(unquantised, arguments.out, file_type(arguments.type), arguments.threads)
        finally:
            if not arguments.keep:
                unquantised.unlink(missing_ok=True)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")
    for name, kind, count in type_mix(arguments.out):
        print(f"  {count:3d} x {kind:5s} {name}")


if __name__ == "__main__":
    main()
