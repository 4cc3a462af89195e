"""The scripts of examples/ run as they are and print what is expected; all of it is exact, as the model's bits are."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.sources.packaged import packaged_model
from tests.support.paths import ROOT
from tests.support.waiting import HANG

FOLDER = ROOT / "examples"
#: What a script needs beside the library.
NEEDED = {"constrained.py": "llguidance"}
PRINTED = {
    "complete.py": """\
def add(a, b):
    return a.add(a)

(9 tokens, finish reason 'stop')

    return a.add(a)
the same text with the same seed: True
""",
    "editor.py": """\
for name in os.listdir([folder]):
""",
    "batch.py": """\
'def add(a, b):': 4 different samples
'class Stack:': 4 different samples
'import os': 4 different samples
the first sample is the one of `complete`: True
0: 9 tokens
1: 16 tokens
2: 16 tokens
3: ContextOverflowError
""",
    "asyncio_requests.py": """\
completion tokens: [9, 16, 16]

    return a.add(a)
cancelled: True
finish reason: deadline
""",
    "constrained.py": """\
{'host': 'port', 'port': 1124, 'tags': ['public']}
def area(width, height):
    pos = 0
    b = width - width
    f = wx_end_row(width)
    forheight1 = b + b + b
""",
    "score.py": """\
   -3.74  + height
   -4.03  * height
  -39.59  banana height
""",
    "langchain_llm.py": """\

    return a.add(a)


    return a.add
['\\n    return a.', 'import sys\\nimport']
""",
    "llamaindex_llm.py": """\

    return a.add(a)


    return a.add
1024
""",
}


#: Scripts that run where these modules are installed.
NEEDED = {"langchain_llm.py": "langchain_core.language_models", "llamaindex_llm.py": "llama_index.core"}


@pytest.mark.parametrize("model", [(), (packaged_model(),)], ids=["packaged", "named"])
@pytest.mark.parametrize("name", PRINTED)
def test_script(name: str, model: tuple[Path, ...], tmp_path: Path) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / name, *model],
        capture_output=True, text=True, cwd=tmp_path, timeout=HANG, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PRINTED[name]


def test_every_script_is_tested_and_listed() -> None:
    scripts = {path.name for path in FOLDER.glob("*.py")}
    assert scripts == {*PRINTED, "service.py", "http_client.py"}
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in text for name in scripts)


def load_script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script as the module `name`."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # FastAPI looks up annotations there
    spec.loader.exec_module(module)
    return module


def test_constrained_texts_are_what_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 of 200, however improbable they are."""
    llguidance = pytest.importorskip("llguidance")
    script = load_script("constrained", monkeypatch)
    with santacoder.load(threads=2) as model:
        tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(script.Vocabulary(model.tokenizer)), n_vocab=model.config.vocab_size
        )
        json_grammar = llguidance.LLMatcher.grammar_from_json_schema(script.SCHEMA)
        python_grammar = llguidance.LLMatcher.grammar_from_lark(script.BODY)
        kinds = [(script.RECORD, json_grammar), (script.FUNCTION, python_grammar)] * 100
        requests = [script.constrained(prompt, tokenizer, grammar, i) for i, (prompt, grammar) in enumerate(kinds)]
        for request in requests:
            request.options["temperature"] = 2.0
        results = dict(model.complete_each(requests))
        assert {result.finish_reason for result in results.values()} == {"stop"}
        assert len({result.text for result in results.values()}) > 190
        for i in range(0, 200, 2):
            record = json.loads(results[i].text)
            assert list(record) == ["host", "port", "tags"]
            assert 1 <= record["port"] <= 65535
            assert set(record["tags"]) <= {"public", "private", "test"}
            ast.parse(script.FUNCTION + results[i + 1].text)
        request = script.constrained(script.RECORD, tokenizer, json_grammar, 0)
        assert model.complete(request.prompt, **{**request.options, "temperature": 2.0}).text == results[0].text
        with pytest.raises(ValueError, match="only supported for tokens"):
            script.Constraint(tokenizer, llguidance.LLMatcher.grammar_from_lark("start: &"))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the service."""
    from fastapi.testclient import TestClient

    monkeypatch.setitem(os.environ, "SANTACODER_MODEL", "")
    service = load_script("service", monkeypatch)
    with TestClient(service.app) as client:
        yield client


def test_service(client: Any) -> None:
    prompt = {"prompt": "def add(a, b):", "max_tokens": 32, "temperature": 0}
    text = "\n    return a.add(a)\n"
    assert client.post("/complete", json=prompt).json() == {"text": text, "finish_reason": "stop", "tokens": 9}
    assert client.post("/stream", json=prompt).text == text
    gap = {"prefix": "def add(a, b):\n    return a", "suffix": "\n", "max_tokens": 4, "temperature": 0}
    assert client.post("/infill", json=gap).json()["tokens"] <= 4
    assert client.post("/infill", json={**gap, "suffix": ""}).status_code == 422


@pytest.mark.parametrize("path", ["/complete", "/stream"])
def test_service_refuses_with_a_sentence(client: Any, path: str) -> None:
    answer = client.post(path, json={"prompt": "x = 1\n" * 3000})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the prompt has 15000 tokens and max_tokens is 64")
