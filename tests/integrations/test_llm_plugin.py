"""The model of `llm`: its command line, found by the entry point, and its Python interface."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import santacoder
from tests.support.paths import FILE, ROOT
from tests.support.waiting import HANG

pytest.importorskip("llm")

import llm

from santacoder.integrations import llm_plugin

PROMPT = "def add(a, b):"
GREEDY = {"temperature": 0, "max_tokens": 32}
TEXT = "\n    return a.add(a)\n"
NOTE = "this is the small demonstration model of the package, not SantaCoder: choose another with -o model PATH|REPO"


class Response:
    """What a plugin tells of a response."""

    def __init__(self) -> None:
        self.usage: dict[str, int] = {}
        self.response_json: dict[str, Any] = {}

    def set_usage(self, **usage: int) -> None:
        self.usage = usage


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANTACODER_MODEL", raising=False)
    llm_plugin._load.cache_clear()


def entry_points() -> str:
    """Those of the project, as an installation has them."""
    found = re.search(r"\[project\.entry-points\.llm\]\n(.+)\n", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert found is not None
    return f"[llm]\n{found[1].replace(chr(34), '')}\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command `llm` with the package installed, and its log in `folder`."""
    info = folder / "plugin-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points())
    paths = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "LLM_USER_PATH": str(folder / "llm"), "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env=environment, capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("more", [[], ["--no-stream"], ["--async"]])
def test_command(tmp_path: Path, more: list[str]) -> None:
    done = run(tmp_path, "-m", "santacoder", PROMPT, "-o", "temperature", "0", "-o", "max_tokens", "32", *more)
    assert (done.returncode, done.stdout.rstrip("\n")) == (0, TEXT.rstrip("\n")), done.stderr
    assert done.stderr == f"{NOTE} or SANTACODER_MODEL\n"
    [row] = json.loads(run(tmp_path, "logs", "--json", "-n", "1").stdout)
    assert row["response"] == TEXT
    assert row["options_json"] == GREEDY
    assert row["output_tokens"] == (None if more == ["--async"] else 9)


def test_command_with_a_model(tmp_path: Path) -> None:
    arguments = ["-m", "santacoder", PROMPT, "-o", "model", str(FILE), "-o", "threads", "1", "-o", "seed", "7"]
    done = run(tmp_path, *arguments, "-o", "stop", "b", "-o", "max_tokens", "12")
    with santacoder.load(FILE, 1) as model:
        assert done.stdout.rstrip("\n") == model.complete(PROMPT, seed=7, stop="b", max_tokens=12).text.rstrip("\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "top_p", "2"], "Error: top_p is 2.0, but it must be a number in 0..1"),
        (["-o", "logprobs", "2"], "logprobs"),
        (["-s", "be terse"], "Error: the model continues texts, and has no place for a system prompt"),
        (["-o", "model", "none.gguf"], "there is no such model file: 'none.gguf'"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, "-m", "santacoder", PROMPT, *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_options_are_those_of_complete() -> None:
    fields = set(llm_plugin.Model.Options.model_fields)
    others = {
        "logit_bias", "logprobs", "prompt_logprobs", "any_token", "lookup", "stop_tokens", "logits_processor",
        "stopping", "attribution", "on_match", "match_length",
    }  # fmt: skip
    assert fields == {*santacoder.SamplingOptions.__annotations__, *llm_plugin._MODEL_FIELDS} - others


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation is one text; the model is loaded once."""
    monkeypatch.setenv("SANTACODER_MODEL", str(FILE))
    options: Any = {"temperature": 0, "max_tokens": 6, "ignore_eos": True, "token_healing": False}
    conversation = llm.Conversation(model=llm_plugin.Model())
    first = conversation.prompt(PROMPT, **options)
    pieces = list(first)
    second = conversation.prompt("\nx", stream=False, **options)
    with santacoder.load(FILE) as model:
        completion = model.complete(PROMPT, **options)
        assert "".join(pieces) == first.text() == completion.text
        assert second.text() == model.complete(f"{PROMPT}{completion.text}\nx", **options).text
    assert (first.input_tokens, first.output_tokens) == (completion.usage.prompt_tokens, 6)
    assert first.response_json["finish_reason"] == "length"
    assert llm_plugin._load.cache_info().misses == 1


async def _ask() -> Any:
    response = llm_plugin.AsyncModel().prompt(PROMPT, model=str(FILE), max_tokens=5, ignore_eos=True)
    return await response.text(), response.response_json


def test_asyncio() -> None:
    import asyncio

    text, facts = asyncio.run(_ask())
    with santacoder.load(FILE) as model:
        again = model.complete(PROMPT, max_tokens=5, ignore_eos=True, seed=facts["seed"])
    assert (text, facts["finish_reason"]) == (again.text, again.finish_reason)
