"""The clients in examples/ on a real server, and the commands of the guide's unit and container."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import santacoder
from santacoder.cli import make_parser
from santacoder.server import Settings
from tests.support.http_server import LiveServer, serving
from tests.support.paths import ROOT
from tests.support.waiting import HANG

KEY = "a key of this test"
GUIDE = (ROOT / "docs" / "howto" / "server-deploy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with santacoder.load() as model, serving(model, Settings(drain=5, api_keys=(KEY,))) as server:
        yield server


def run(server: LiveServer, *command: str | Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}"], capture_output=True, text=True, timeout=HANG, check=False,
        env={**os.environ, "SANTACODER_API_KEY": key},
    )  # fmt: skip


def test_python(server: LiveServer) -> None:
    done = run(server, sys.executable, "-W", "error", ROOT / "examples" / "http_client.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
['\\n    return a.add(a)\\n']

    return a.add(a)
os.listdir(folder)
the same samples with the same seed: True
temperature is -1, but it must be a number in 0..100
"""
    )


def test_python_without_a_key(server: LiveServer) -> None:
    done = run(server, sys.executable, ROOT / "examples" / "http_client.py", key="")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the command curl is not there")
def test_curl(server: LiveServer) -> None:
    done = run(server, "sh", ROOT / "examples" / "http_client.sh")
    assert (done.returncode, done.stderr) == (0, "")
    complete, stream, gap, infill, health = re.split(r"^\w.*[:?]\n", done.stdout, flags=re.MULTILINE)[1:]
    text = "\n    return a.add(a)\n"
    assert json.loads(complete)["choices"][0]["text"] == text
    events = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == text
    assert json.loads(gap)["choices"][0]["finish_reason"] in ("stop", "length")
    assert json.loads(infill)["tokens_predicted"] <= 16
    assert json.loads(health) == {"status": "ok"}


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_unit() -> None:
    """Its command is one of ours, and its time to stop is longer than the server's."""
    unit = configparser.RawConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string(block("ini").replace("\\\n", ""))
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    arguments = make_parser(words).parse_args(words)
    assert program.endswith("/bin/santacoder")
    assert int(unit["Service"]["TimeoutStopSec"]) > arguments.drain


def test_container() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)
    program, *words = [word for words in found for word in json.loads(words)]
    arguments = make_parser(words).parse_args(words)
    assert (program, arguments.host) == ("santacoder", "0.0.0.0")
