"""The model card of bigcode/santacoder: its code runs on all eight branches, with the ids that transformers generates.

The hub is emulated: small weights in the layout that was published first, and no network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from santacoder.conversion import convert as conversion
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer
from santacoder.sources.converted import VARIABLE, converted_models
from tests.support import checkpoint_builder as builder
from tests.support import published_hub
from tests.support.make_card_ids import OUT, PROMPTS, generated
from tests.support.published_hub import BRANCHES, REPO

pytest.importorskip("safetensors")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* are plain text to this model"),  # the branch no-fim
    pytest.mark.filterwarnings("ignore:Using the model-agnostic default"),  # of transformers
]

IDS = json.loads(OUT.read_text())

#: "Generation" and "Fill-in-the-middle", with the device that the comment offers.
GENERATION = """\
# pip install -q transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

checkpoint = "bigcode/santacoder"
device = "cpu" # for GPU usage or "cpu" for CPU usage

tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True).to(device)

inputs = tokenizer.encode("def print_hello_world():", return_tensors="pt").to(device)
outputs = model.generate(inputs)
print(tokenizer.decode(outputs[0]))
"""
INFILLING = """\
input_text = "<fim-prefix>def print_hello_world():\\n    <fim-suffix>\\n    print('Hello world!')<fim-middle>"
inputs = tokenizer.encode(input_text, return_tensors="pt").to(device)
outputs = model.generate(inputs)
print(tokenizer.decode(outputs[0]))
"""
OTHER_CHECKPOINTS = """\
model = AutoModelForCausalLM.from_pretrained(
    "bigcode/santacoder",
    revision="no-fim", # name of branch or commit hash
    trust_remote_code=True
)
"""


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(published_hub.fill(tmp_path / "hub")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "converted"))


def no_conversion(*_: Any, **__: Any) -> None:
    raise AssertionError("something is converted again")


def test_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word, but for the import; the second time nothing is converted."""
    pytest.importorskip("torch")
    code = GENERATION.replace("from transformers import", "from santacoder.hf import")
    names: dict[str, Any] = {}
    for block in (code, INFILLING, OTHER_CHECKPOINTS):
        exec(block, names)
    first = capsys.readouterr().out
    assert first.startswith("def print_hello_world():")
    assert "<fim-prefix>def print_hello_world():\n    <fim-suffix>\n    print('Hello world!')<fim-middle>" in first
    assert names["model"].engine.tokenizer.fim_prefix_id is None  # it is the branch no-fim
    assert [model.type for model in converted_models()] == ["q8_0", "q8_0"]
    monkeypatch.setattr(conversion, "convert_source", no_conversion)
    for block in (code, INFILLING, OTHER_CHECKPOINTS):
        exec(block, names)
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("branch", BRANCHES)
def test_ids(branch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the branch in F32; twice, but it is converted once."""
    revision = None if branch == "main" else branch
    tokenizer = AutoTokenizer.from_pretrained(REPO, revision=revision)
    for _ in range(2):
        model = AutoModelForCausalLM.from_pretrained(REPO, revision=revision, torch_dtype="float32", threads=1)
        outputs = [model.generate(tokenizer.encode(prompt, return_tensors="np"))[0].tolist() for prompt in PROMPTS]
        assert outputs == IDS[branch]
        model.engine.close()
        monkeypatch.setattr(conversion, "convert_source", no_conversion)


@pytest.mark.parametrize("branch", BRANCHES)
def test_stored_ids(branch: str) -> None:
    """tests/data holds what the installed transformers generates."""
    pytest.importorskip("transformers")
    prompts = [AutoTokenizer.from_pretrained(REPO, revision=branch).encode(prompt) for prompt in PROMPTS]
    assert generated(branch, prompts) == IDS[branch]


def test_ids_differ() -> None:
    """Between branches, so that none can be taken for another; and every token is one of the model's."""
    texts = {json.dumps(ids) for ids in IDS.values()}
    assert len(texts) == len(BRANCHES)
    assert all(np.max(ids) < builder.VOCABULARY for rows in IDS.values() for ids in rows)
