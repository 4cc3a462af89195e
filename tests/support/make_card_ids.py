"""Writes tests/data/model-card-ids.json: what transformers' GPTBigCode generates for the model card's prompts.

    python -m tests.support.make_card_ids        # needs transformers and torch

The weights are those of the emulated hub's eight branches, in the layout that GPTBigCode reads.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.support import checkpoint_builder as builder
from tests.support import published_hub
from tests.support.paths import DATA

OUT = DATA / "model-card-ids.json"
PROMPTS = (
    "def print_hello_world():",
    "<fim-prefix>def print_hello_world():\n    <fim-suffix>\n    print('Hello world!')<fim-middle>",
)


def generated(branch: str, prompts: list[list[int]]) -> list[list[int]]:
    """What `generate` without options gives for each prompt: the prompt's ids and the new ones."""
    import torch
    from transformers import GPTBigCodeForCausalLM

    layout = "linear-mha" if branch == "mha" else "linear-mqa"
    with tempfile.TemporaryDirectory() as folder:
        builder.write_checkpoint(Path(folder), layout, tensors=published_hub.as_gpt_bigcode(branch))
        builder.write_json(Path(folder) / "generation_config.json", published_hub.GENERATION)
        model = GPTBigCodeForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return [model.generate(torch.tensor([ids]))[0].tolist() for ids in prompts]


def main() -> None:
    """Write the file."""
    from santacoder.hf import AutoTokenizer

    ids = {}
    with tempfile.TemporaryDirectory() as cache:
        published_hub.fill(Path(cache))
        for branch in published_hub.BRANCHES:
            tokenizer = AutoTokenizer.from_pretrained(published_hub.snapshot_of(Path(cache), branch))
            ids[branch] = generated(branch, [tokenizer.encode(prompt) for prompt in PROMPTS])
    OUT.write_text(json.dumps(ids, separators=(",", ":")) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
