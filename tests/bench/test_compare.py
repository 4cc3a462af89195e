"""The comparison of bench/: its tables from made-up values, and a small run of all its parts with only santacoder."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import pytest

import santacoder
from bench import compare
from bench.peers import engines, processes, report
from bench.peers.workloads import Work
from tests.support.paths import FILE

NAMES = ["santacoder", "llama.cpp", "transformers"]
VALUES = {
    "prompt:512": {"santacoder": [30.0, 10.0, 20.0], "llama.cpp": [10.0, 10.0, 4.0], "transformers": [1.0, 2.0, 4.0]},
    "first-token": {"santacoder": [0.5, 1.0, 1.5], "llama.cpp": [1.0, 2.0, 1.0]},
}


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("prompt:512", Work("prompt:512", "prompt", depth=512)),
        ("decode:64", Work("decode:64", "decode", steps=64)),
        ("decode:64@1536", Work("decode:64@1536", "decode", steps=64, depth=1536)),
        ("batch:16x8@128", Work("batch:16x8@128", "batch", sequences=16, steps=8, depth=128)),
        ("first-token", Work("first-token", "first-token")),
        ("memory:512+32", Work("memory:512+32", "memory", steps=32, depth=512)),
    ],
)
def test_works(name: str, work: Work) -> None:
    assert Work.parse(name) == work


def test_tokens_of_a_work() -> None:
    names = ("prompt:512", "decode:64@1536", "batch:16x8@128")
    assert [Work.parse(name).tokens for name in names] == [512, 64, 128]


@pytest.mark.parametrize("name", ["", "prompt", "decode:", "batch:16@128", "first-token:1", "memory:512", "sleep:1"])
def test_unknown_work(name: str) -> None:
    with pytest.raises(ValueError, match="is not a work like"):
        Work.parse(name)


def test_peers() -> None:
    assert engines.Peer.parse("llama.cpp") == engines.Peer("llama.cpp", "llama.cpp", sys.executable)
    assert engines.Peer.parse("llama.cpp:avx2=/a/python") == engines.Peer("llama.cpp", "avx2", "/a/python")
    with pytest.raises(argparse.ArgumentTypeError, match="'gpu' is not one of llama"):
        engines.Peer.parse("gpu")


def test_table() -> None:
    assert report.table("tokens per second", NAMES, VALUES).splitlines() == [
        "| tokens per second | santacoder | llama.cpp | transformers | ratio to llama.cpp | ratio to transformers |",
        "| --- | --- | --- | --- | --- | --- |",
        "| prompt 512 | 20.0 | 10.0 | 2.00 | 3.00 (1.00-5.00) | 5.00 (5.00-30.00) |",
        "| process start to first token, seconds | 1.00 | 1.00 | - | 0.50 (0.50-1.50) | - |",
    ]


def test_scaling_table() -> None:
    """Other columns are compared with the first, and an engine that cannot do a kind of work has no row."""
    twice = {work: {name: [2 * value for value in of] for name, of in by.items()} for work, by in VALUES.items()}
    assert report.scaling_table(NAMES, {"1": VALUES, "4": twice}).splitlines()[2:] == [
        "| prompt 512 | santacoder | 20.0 (1.00x) | 40.0 (2.00x) |",
        "| prompt 512 | llama.cpp | 10.0 (1.00x) | 20.0 (2.00x) |",
        "| prompt 512 | transformers | 2.00 (1.00x) | 4.00 (2.00x) |",
        "| process start to first token, seconds | santacoder | 1.00 (1.00x) | 2.00 (2.00x) |",
        "| process start to first token, seconds | llama.cpp | 1.00 (1.00x) | 2.00 (2.00x) |",
    ]


def test_shown_command() -> None:
    """Folders are left out, since a reader has others."""
    arguments = ["compare.py", "/a/b/m.gguf", "--peer", "llama.cpp:old=/venv/bin/python", "--title", "AVX2 only"]
    shown = "python bench/compare.py m.gguf --peer llama.cpp:old=python --title 'AVX2 only'"
    assert report.shown_command(arguments) == shown


def test_sections_add_up(tmp_path: Path) -> None:
    about = {"processor": "P", "cores": "2", "memory": "3 GiB", "system": "S", "python": "3.10"}
    for title, append in (("lost", False), ("first", False), ("second", True)):
        versions = {name: {"version": "1"} for name in NAMES}
        section = report.Section(title, "command", "date", about, "m.gguf", 1, 3, versions, {"2": VALUES})
        text = report.save(section, tmp_path, append)
    assert re.findall("^## (.*)", text, re.MULTILINE) == ["first", "second"]
    assert text == (tmp_path / "RESULTS.md").read_text()
    assert [each["title"] for each in json.loads((tmp_path / "results.json").read_text())] == ["first", "second"]


def test_failing_process() -> None:
    with pytest.raises(RuntimeError, match="failed with status 3"):
        processes.run([sys.executable, "-c", "raise SystemExit(3)"], "", {})


def test_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "PAUSE", 0)
    works = ["prompt:16", "decode:2", "decode:2@16", "batch:3x2@8", "first-token", "memory:16+2"]
    options = ["--alone", "--rounds", "1", "--works", ",".join(works), "--threads", "1", "--out", str(tmp_path)]
    compare.main([str(FILE), *options])
    [section] = json.loads((tmp_path / "results.json").read_text())
    assert section["engines"] == {"santacoder": {"santacoder": santacoder.__version__, "isa": santacoder.isa()}}
    assert list(section["values"]["1"]) == works
    for by_engine in section["values"]["1"].values():
        [value] = by_engine["santacoder"]
        assert value > 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "mqa-q4_k_m.gguf, 1 MB. Threads: 1, rounds: 1, " in text
    assert all(f"| {Work.parse(name).label} | " in text for name in works)
