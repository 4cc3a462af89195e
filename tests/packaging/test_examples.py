"""The scripts of examples/ run as they are and print what is expected; all of it is exact, as the model's bits are."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from santacoder.sources.packaged import packaged_model
from tests.support.paths import ROOT
from tests.support.waiting import HANG

FOLDER = ROOT / "examples"
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
    assert scripts == {*PRINTED, "service.py"}
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in text for name in scripts)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the service."""
    from fastapi.testclient import TestClient

    monkeypatch.setitem(os.environ, "SANTACODER_MODEL", "")
    spec = importlib.util.spec_from_file_location("service", FOLDER / "service.py")
    assert spec is not None
    assert spec.loader is not None
    service = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "service", service)  # FastAPI looks up annotations there
    spec.loader.exec_module(service)
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
