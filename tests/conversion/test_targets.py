"""The output of a conversion: it never replaces a file that is read, and an interrupted run writes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import checkpoint_builder as builder
from tests.support.needs import needs_fork
from tests.support.waiting import HANG

pytest.importorskip("safetensors")

from santacoder.conversion.convert import convert
from santacoder.errors import InvalidRequestError


def test_a_target_that_exists_is_seen_first(tmp_path: Path) -> None:
    """Before anything is downloaded or read."""
    (tmp_path / "m.gguf").write_text("precious")
    with pytest.raises(FileExistsError):
        convert(tmp_path / "none", tmp_path / "m.gguf")


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_no_file_of_the_checkpoint_is_replaced(tmp_path: Path, force: bool, linked: bool) -> None:
    """Nor are weights of a kind that is not chosen; a file that a conversion does not read may be replaced."""
    folder = builder.write_checkpoint(tmp_path / "c")
    others = ("vocab.json", "merges.txt", "added_tokens.json", "model-00001-of-00002.safetensors", "pytorch_model.bin")
    for name in (*others, "model.safetensors.index.json", "pytorch_model-00001-of-00001.bin", "old.gguf"):
        (folder / name).write_text("precious")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in before:
        out = folder / name
        if linked:
            out = tmp_path / name
            out.symlink_to(folder / name)
        if name == "old.gguf":
            continue
        with pytest.raises(InvalidRequestError) as caught:
            convert(folder, out, force=force)
        assert str(caught.value) == f"{out} is a file that is read ({folder / name}): name another to write"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    convert(folder, folder / "old.gguf", force=True)
    assert (folder / "old.gguf").read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@needs_fork
def test_an_interrupted_command_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """The command stops in the middle of a tensor."""
    folder = builder.write_checkpoint(tmp_path / "c")
    code = """
import sys, time
import santacoder.conversion.convert as conversion
from santacoder.cli import main

def encode(*_):
    print("ready", flush=True)
    while True:  # a signal just before a sleep is noticed after it
        time.sleep(0.01)

conversion.Quantizer.encode = encode
sys.exit(main(["convert", sys.argv[1], "--out", sys.argv[2]]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "m.gguf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(list(tmp_path.iterdir())) == 2
        os.kill(process.pid, number)
        assert process.wait(HANG) == 128 + number
        assert process.stderr.read() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
