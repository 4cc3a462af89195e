"""Write a checkpoint of the training as a published one looks, and as GGUF: F32 and Q4_K_M.

    python export.py --checkpoint decayed-1500.pt --tokenizer tokenizer.json --out santacoder-tiny --calibrate FILES...

writes the folder santacoder-tiny (config.json, model.safetensors, tokenizer.json and a model card: transformers loads
it too), santacoder-tiny-f32.gguf and santacoder-tiny-q4_k_m.gguf, the last two with this package's `convert` and
`quantize`. --reference also writes the logits of a held-out text for check.py.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from santacoder.conversion.convert import convert
from santacoder.quantize import quantize

CARD = """---
license: apache-2.0
tags: [code, fill-in-the-middle]
---
A small demonstration model of SantaCoder's architecture (GPTBigCode, fill-in-the-middle), trained from scratch on
permissively licensed Python, JavaScript and Java. It is not SantaCoder.
"""
#: Our tensors' names -> GPTBigCode's, without the layer.
NAMES = {
    "token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "attn_norm": "ln_1", "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip

Tensors = dict[str, NDArray[np.float32]]


def published_name(name: str) -> str:
    """blk.0.attn_qkv.weight -> transformer.h.0.attn.c_attn.weight."""
    layer, stem, kind = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name).groups()  # type: ignore[union-attr]
    return f"transformer.{f'h.{layer}.' if layer else ''}{NAMES[stem]}.{kind}"


def write_checkpoint(
    folder: Path, tensors: Tensors, shape: dict[str, int], tokenizer: Path, sampling: dict[str, float]
) -> None:
    """Write the folder that a repository on the hub would be; `sampling` is what it recommends."""
    end: int = next(t["id"] for t in json.loads(tokenizer.read_text("utf-8"))["added_tokens"] if "end" in t["content"])
    config = {
        "architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "multi_query": True,
        "activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
        "n_layer": shape["layers"], "n_embd": shape["width"], "n_head": shape["heads"], "n_inner": shape["hidden"],
        "n_positions": shape["context"], "vocab_size": shape["vocabulary"], "bos_token_id": end, "eos_token_id": end,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    if sampling:
        (folder / "generation_config.json").write_text(json.dumps(sampling, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(CARD, "utf-8")
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    save_file({published_name(name): tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def load(checkpoint: Path) -> tuple[Tensors, dict[str, int]]:
    """Return the weights, and the numbers of the shape."""
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
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--average", type=Path, metavar="CHECKPOINT", help="one whose weights are mixed into the other's"
    )
    parser.add_argument("--share", type=float, default=0.3, help="of --average in the mean (default: %(default)s)")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="the folder; also the start of the files' names")
    parser.add_argument("--calibrate", type=Path, nargs="+", default=[], help="training files to quantise with")
    parser.add_argument(
        "--fim-mode",
        choices=("psm", "spm"),
        help="the order that bench/studies/infilling.py found it to fill in best with",
    )
    parser.add_argument("--temperature", type=float, help="that the file recommends (default: none)")
    parser.add_argument("--top-p", type=float, help="that the file recommends (default: none)")
    parser.add_argument("--reference", type=Path, metavar="TEXT", help="a text file whose logits go to OUT.npz")
    arguments = parser.parse_args()
    out: Path = arguments.out
    tensors, shape = load(arguments.checkpoint)
    if arguments.average:
        others, share = load(arguments.average)[0], np.float32(arguments.share)
        tensors = {name: (1 - share) * tensor + share * others[name] for name, tensor in tensors.items()}
    recommended = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    sampling = {name: value for name, value in recommended.items() if value is not None}
    write_checkpoint(out, tensors, shape, arguments.tokenizer, sampling)
    if arguments.reference:
        text = arguments.reference.read_text("utf-8")
        write_reference(Path(f"{out}.npz"), tensors, shape, arguments.tokenizer, text)
    whole, small = Path(f"{out}-f32.gguf"), Path(f"{out}-q4_k_m.gguf")
    convert(out, whole, "f32", fim_mode=arguments.fim_mode, force=True)
    quantize(whole, small, calibration=[path.read_text("utf-8") for path in arguments.calibrate], force=True)
    for path in (whole, small):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
