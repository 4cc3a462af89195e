"""Files of a checkpoint that are damaged, cut off, absurd, or change while they are read."""

# ruff: noqa: E501 (tables of messages, one to a line)
from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import checkpoint_builder as builder
from tests.support import small_checkpoint

pytest.importorskip("safetensors")

from santacoder.conversion.convert import convert
from santacoder.errors import ModelFormatError
from santacoder.quantize.quantizer import Quantizer
from tests.support.needs import needs_named_pipes
from tests.support.refusal import LN_1, refusal


@needs_named_pipes
def test_weights_that_are_a_pipe(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert refusal(tmp_path, folder) == "model.safetensors is not a file"


def test_weights_that_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes the name while the conversion runs: no mixture of both."""
    folder = builder.write_checkpoint(tmp_path / "c")
    path, encode, calls = folder / "model.safetensors", Quantizer.encode, []

    def replace(self: Quantizer, *arguments: Any) -> Any:
        calls.append(arguments[0])
        if len(calls) == 3:
            (folder / "new").write_bytes(path.read_bytes())
            (folder / "new").replace(path)
        return encode(self, *arguments)

    monkeypatch.setattr(Quantizer, "encode", replace)
    assert "the file was changed while it was read" in refusal(tmp_path, folder)
    assert len(calls) == 3


def set_header(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A safetensors file with another header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def move(header: dict[str, Any], name: str, by: int) -> None:
    header[name]["data_offsets"] = [offset + by for offset in header[name]["data_offsets"]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "model.safetensors is not a safetensors file, or is truncated: its header has 0 bytes"),
        (lambda data: data[:100], "but the file of 100 bytes has room for 92"),
        (lambda data: data[:-1], "model.safetensors is damaged: "),
        (lambda data: data[: len(data) // 2], "model.safetensors is damaged: "),
        (lambda data: data + b"\0", "model.safetensors is damaged: "),
        (lambda data: struct.pack("<Q", 2**63) + data[8:], f"its header has {2**63} bytes"),
        (lambda data: struct.pack("<Q", 100_000) + data[8:], "model.safetensors is damaged: "),
        (lambda data: data[:8] + b"x" + data[9:], "model.safetensors is damaged: "),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "is not a safetensors file, or is truncated"),
        (lambda data: set_header(data, lambda h: move(h, LN_1, 4)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: move(h, LN_1, -4)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: move(h, LN_1, 10**12)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h.pop(LN_1)), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[2**62, 2**62])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[-64])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(shape=[65])), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h[LN_1].update(dtype="Q9")), "model.safetensors is damaged: "),
        (lambda data: set_header(data, lambda h: h.update({LN_1: 7})), "model.safetensors is damaged: "),
    ],
)  # fmt: skip
def test_damaged_safetensors(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert message in refusal(tmp_path, folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "\udcff", '{"a": 1e999999999999}', "{}"])
def test_bad_json(tmp_path: Path, name: str, text: str) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / name).write_text(text, "utf-8", "surrogateescape")
    assert name in refusal(tmp_path, folder)


def test_absurd_json(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(tmp_path, folder).endswith(f"tokenizer.json has {1 << 40} bytes, but at most {1 << 25} are read")


def test_every_byte_of_the_header_matters(tmp_path: Path) -> None:
    """A file cut off or changed at any place is refused, and no other kind of exception is raised."""
    folder = tmp_path / "c"
    small_checkpoint.write(folder, small_checkpoint.files("model.safetensors"))
    path = folder / "model.safetensors"
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    cut_off = [data[:length] for length in range(header + 64)]
    changed = [data[:at] + b"\xff" + data[at + 1 :] for at in range(header)]
    for damaged in cut_off + changed:
        path.write_bytes(damaged)
        with pytest.raises(ModelFormatError, match=r"^model\.safetensors "):
            convert(folder, tmp_path / "m.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    path.write_bytes(data)
    convert(folder, tmp_path / "m.gguf")
