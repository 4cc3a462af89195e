"""Write a checkpoint as GGUF: F32, F16 and, through llama.cpp's quantiser, Q4_K_M.

    python export.py --checkpoint decayed-1500.pt --tokenizer tokenizer.json --out santacoder-tiny

writes santacoder-tiny-f32.gguf, -f16.gguf and, where llama-cpp-python is installed (or with --quantize-only
in an environment where it is), -q4_k_m.gguf. --reference also writes the logits of a held-out text for check.py.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-5
SPECIAL_TOKENS = ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
FILE_TYPES = {"f32": 0, "f16": 1, "q4_k_m": 15}  # enum llama_ftype
DESCRIPTION = (
    "A small demonstration model of SantaCoder's architecture (GPTBigCode, fill-in-the-middle), trained from scratch "
    "on permissively licensed Python, JavaScript and Java. It is not SantaCoder."
)

Tensors = dict[str, NDArray[np.float32]]


def add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    """The tokens in the order of their ids, the merges in order of priority, the ids of the special tokens."""
    data = json.loads(path.read_text("utf-8"))
    ids: dict[str, int] = dict(data["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in data["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"{path}: the ids of the tokens are not 0, 1, 2, ...")
    special = {ids[token] for token in SPECIAL_TOKENS}
    types = [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in data["model"]["merges"]])
    end = ids["<|endoftext|>"]
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_unk_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_PRE_ID, ids["<fim-prefix>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_SUF_ID, ids["<fim-suffix>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_MID_ID, ids["<fim-middle>"])
    writer.add_uint32(gguf.Keys.Tokenizer.FIM_PAD_ID, ids["<fim-pad>"])


def write(path: Path, tensors: Tensors, shape: dict[str, int], tokenizer: Path, kind: str) -> None:
    """Write a file of type "f32" or "f16" (matrices of the layers and the embedding; the rest stays F32)."""
    writer = gguf.GGUFWriter(path, "starcoder")
    writer.add_name("santacoder-tiny")
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_tags(["code", "fill-in-the-middle"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_feed_forward_length(shape["hidden"])
    writer.add_block_count(shape["layers"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(1)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_file_type(FILE_TYPES[kind])
    add_tokenizer(writer, tokenizer)
    for name, tensor in tensors.items():
        half = kind == "f16" and tensor.ndim == 2 and name != "position_embd.weight"
        writer.add_tensor(name, tensor.astype(np.float16) if half else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, target: Path, type_name: str) -> None:
    """Quantise a file with llama.cpp."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[type_name]
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama.cpp could not quantise {source} (status {status})")


def load(checkpoint: Path) -> tuple[Tensors, dict[str, int]]:
    """The weights, and the numbers of the shape."""
    import torch

    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in state["model"].items()}, state["shape"]


def write_reference(path: Path, tensors: Tensors, shape: dict[str, int], tokenizer: Path, text: str) -> None:
    """Write the model's own logits, computed in float64, of one context of a text: `tokens` and `logits`."""
    import torch

    from data import Vocabulary
    from model import Model, Shape

    vocabulary = Vocabulary(tokenizer)
    tokens = [vocabulary.end, *vocabulary.encode(text)][: shape["context"]]
    model = Model(Shape(**shape))
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    with torch.no_grad():
        logits = model.double()(torch.tensor([tokens]))[0].numpy()
    np.savez(path, tokens=np.array(tokens), logits=logits)


def main() -> None:
    """Parse the command line, write the files."""
    parser = argparse.ArgumentParser(description="Write a checkpoint as GGUF.")
    parser.add_argument("--checkpoint", type=Path, help="the checkpoint to write as F32 and F16")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json")
    parser.add_argument("--out", required=True, help="start of the file names")
    parser.add_argument("--quantize-only", action="store_true", help="only OUT-f16.gguf -> OUT-q4_k_m.gguf")
    parser.add_argument("--reference", type=Path, metavar="TEXT", help="a text file whose logits go to OUT.npz")
    arguments = parser.parse_args()
    paths = {kind: Path(f"{arguments.out}-{kind}.gguf") for kind in FILE_TYPES}
    if not arguments.quantize_only:
        if arguments.checkpoint is None or arguments.tokenizer is None:
            parser.error("--checkpoint and --tokenizer are needed")
        tensors, shape = load(arguments.checkpoint)
        for kind in ("f32", "f16"):
            write(paths[kind], tensors, shape, arguments.tokenizer, kind)
        if arguments.reference:
            text = arguments.reference.read_text("utf-8")
            write_reference(Path(f"{arguments.out}.npz"), tensors, shape, arguments.tokenizer, text)
    try:
        quantize(paths["f16"], paths["q4_k_m"], "q4_k_m")
    except ImportError:
        print("llama-cpp-python is not installed: run again with --quantize-only where it is")
    for path in paths.values():
        if path.exists():
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
