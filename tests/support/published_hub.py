"""The hub's cache with all eight branches of bigcode/santacoder, small, in the layout that was published first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tests.support import checkpoint_builder as builder

REPO = "bigcode/santacoder"
#: Branch -> layout; "final" is on main.
BRANCHES = {
    "mha": "multi-head",
    "no-fim": "split",
    "fim": "split",
    "stars": "split",
    "fertility": "split",
    "comments": "split",
    "dedup-alt": "split",
    "main": "split",
}
#: Code that was published beside the weights, which nobody may run.
CODE = dict.fromkeys(("modeling_gpt2_mq.py", "configuration_gpt2_mq.py"), "raise SystemExit('this ran')\n")
#: Of every branch: a token of the text ends it, too.
GENERATION = {"eos_token_id": [builder.BPE_TOKENS, 10]}
CHANGES = {
    "auto_map": {
        "AutoConfig": "configuration_gpt2_mq.GPT2CustomConfig",
        "AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel",
    }
}


def commit_of(branch: str) -> str:
    return hashlib.sha1(branch.encode()).hexdigest()


def snapshot_of(cache: Path, branch: str) -> Path:
    """The folder of a branch's files."""
    return cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / commit_of(branch)


def tensors_of(branch: str) -> builder.Tensors:
    """The weights of a branch, which differ in the last norm."""
    tensors = builder.weights(BRANCHES[branch])
    tensors["transformer.ln_f.bias"] = builder.noise((builder.WIDTH,), 100 + list(BRANCHES).index(branch))
    return tensors


def fill(cache: Path) -> Path:
    """Lay the branches out as huggingface_hub does: refs name commits, snapshots link to blobs named by their hash."""
    folder = cache / f"models--{REPO.replace('/', '--')}"
    for part in ("refs", "blobs", "snapshots"):
        (folder / part).mkdir(parents=True)
    for branch, layout in BRANCHES.items():
        (folder / "refs" / branch).write_text(commit_of(branch))
        snapshot = snapshot_of(cache, branch)
        early = branch in ("stars", "comments")  # whose tokenizer lacks the special tokens
        builder.write_checkpoint(snapshot, layout, tensors=tensors_of(branch), changes=CHANGES, special=not early)
        builder.write_json(snapshot / "generation_config.json", GENERATION)
        builder.write_json(snapshot / "tokenizer_config.json", {"eos_token": "<|endoftext|>"})
        for name, code in CODE.items():
            (snapshot / name).write_text(code)
        for path in snapshot.iterdir():
            blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            path.rename(blob)
            path.symlink_to(Path("../../blobs") / blob.name)
    return cache


def as_gpt_bigcode(branch: str) -> builder.Tensors:
    """The weights of a branch as GPTBigCode of transformers has them: (out, in), one matrix for Q, K and V."""
    tensors = tensors_of(branch)
    out: builder.Tensors = {}
    for name, array in tensors.items():
        if ".kv_attn." in name:
            continue
        if ".q_attn." in name:
            array = np.concatenate([array, tensors[name.replace("q_attn", "kv_attn")]], axis=-1)
            name = name.replace("q_attn", "c_attn")
        elif ".c_attn." in name:  # all queries, keys, values -> those of each head
            parts = array.reshape(*array.shape[:-1], 3, builder.HEADS, builder.HEAD_DIM)
            array = np.swapaxes(parts, -3, -2).reshape(array.shape)
        is_matrix = array.ndim == 2 and ".h." in name
        out[name] = np.ascontiguousarray(array.T if is_matrix else array)
    return out
