"""Text files: a byte order mark is not part of the text, and errors name other encodings, wherever a file is read."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from santacoder import InvalidRequestError, ModelFormatError
from santacoder._util.json_file import read_object
from santacoder._util.text_file import decode_text
from santacoder.cli import main
from santacoder.harness.tasks import find_task, read_problems
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import FILE

MARK = codecs.BOM_UTF8
WIDE = [f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-le", "-be")]


class TestDecodeText:
    @given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    @example("\ufeff")
    def test_utf8(self, text: str) -> None:
        """One mark is dropped, and no other character; zeros, as in "0\\0", are what tells other encodings."""
        assert decode_text(MARK + text.encode(), "a") == text
        if not text.startswith("\ufeff"):
            assert decode_text(text.encode(), "a") == text

    @pytest.mark.parametrize("encoding", WIDE)
    @pytest.mark.parametrize("text", ["a", "def f():\r\n    return '─é🎅'\n"])
    def test_other_encodings(self, encoding: str, text: str) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            decode_text(text.encode(encoding), "a.py")
        assert str(caught.value) == f"a.py is {encoding[:6].upper()}, but it must be UTF-8"

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
    def test_other_letters(self, encoding: str) -> None:
        """Recognised only by their mark."""
        with pytest.raises(InvalidRequestError, match=f"is {encoding.upper()}, but"):
            decode_text("名前\u2500".encode(encoding), "a.py")

    @pytest.mark.parametrize("data", [b"", b"\0", b"\0\0", b"\0\0\0\0", b"a\0b\n", b"ab\0\0\0\0", b"aaaa"])
    def test_nul_is_a_character(self, data: bytes) -> None:
        assert decode_text(data, "a") == data.decode("ascii")

    @pytest.mark.parametrize(("data", "at"), [(b"\xff", 0), (b"a\xff", 1), (MARK + b"a\xff", 4), (MARK[:2], 0)])
    def test_place_of_a_wrong_byte(self, data: bytes, at: int) -> None:
        with pytest.raises(ModelFormatError) as caught:
            decode_text(data, "a.json", ModelFormatError)
        assert str(caught.value) == f"a.json is not UTF-8 at byte {at}"


class Outputs:
    """Runs commands in this process, with bytes as their standard input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self._patch, self._captured = monkeypatch, capfdbinary

    def __call__(self, *args: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._patch.setenv("SANTACODER_MODEL", str(FILE))
        status = main(args)
        out, err = self._captured.readouterr()
        return status, out, err.decode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Outputs:
    """See `Outputs`."""
    return Outputs(monkeypatch, capfdbinary)


FEW = ("--temperature", "0", "-n", "4", "--echo")


class TestDoors:
    @pytest.mark.parametrize(
        "command", [("complete", *FEW), ("complete", "-", *FEW), ("tokenize", "--json"), ("infill", "-", *FEW)]
    )
    def test_standard_input(self, run: Outputs, command: tuple[str, ...]) -> None:
        text = "é = <FILL_ME>\n".encode()
        expected = run(*command, stdin=text)
        assert expected[0] == 0
        assert run(*command, stdin=MARK + text) == expected
        for encoding in ("UTF-16", "UTF-32"):
            message = f"santacoder: standard input is {encoding}, but it must be UTF-8\n"
            assert run(*command, stdin=text.decode().encode(encoding)) == (1, b"", message)

    @pytest.mark.parametrize("command", [
        ("infill", "FILE", *FEW), ("eval", "bpb", "--xz", "FILE"), ("eval", "ppl", "FILE"),
        ("eval", "kl", "-r", str(FILE), "FILE"), ("eval", "ppl", "--files-from", "LIST"),
        ("quantize", "SOURCE", "TARGET", "--calibrate", "FILE"),
    ])  # fmt: skip
    def test_files(self, run: Outputs, tmp_path: Path, command: tuple[str, ...]) -> None:
        names = {name: tmp_path / name.lower() for name in ("FILE", "LIST", "SOURCE", "TARGET")}
        names["SOURCE"].write_bytes(tiny_builder(weight_type="F32").build())
        args = [str(names.get(arg, arg)) for arg in command]
        read = names["LIST" if "LIST" in command else "FILE"]
        names["FILE"].write_text("é = <FILL_ME>\n", encoding="utf-8")
        names["LIST"].write_text(f"{names['FILE']}\n", encoding="utf-8")
        expected = run(*args)
        if command[0] == "quantize":
            assert "the calibration texts have 15 tokens" in expected[2]  # the text was read, and it is too short
        else:
            assert expected[0] == 0
        read.write_bytes(MARK + read.read_bytes())
        assert run(*args) == expected
        for encoding in ("UTF-16", "UTF-32"):
            read.write_bytes("a = <FILL_ME>\n".encode(encoding))
            assert run(*args) == (1, b"", f"santacoder: {read} is {encoding}, but it must be UTF-8\n")

    def test_a_file_with_nothing_but_a_mark(self, run: Outputs, tmp_path: Path) -> None:
        path = tmp_path / "a.py"
        path.write_bytes(MARK)
        message = f"santacoder: {path} is empty: there is nothing to measure\n"
        assert run("eval", "bpb", str(path)) == (1, b"", message)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_benchmarks(self, tmp_path: Path, compressed: bool) -> None:
        row: dict[str, Any] = {"name": "a", "prompt": "p", "suffix": "s", "canonical_solution": "c", "language": "py"}
        path = tmp_path / ("a.jsonl.gz" if compressed else "a.jsonl")
        pack = gzip.compress if compressed else bytes
        line = f"{json.dumps(row)}\n"
        path.write_bytes(pack(MARK + line.encode()))
        [problem] = read_problems(find_task("fim"), path)
        assert (problem.prompt, problem.suffix) == ("p", "s")
        path.write_bytes(pack(line.encode("utf-16")))
        with pytest.raises(InvalidRequestError) as caught:
            read_problems(find_task("fim"), path)
        assert str(caught.value) == f"{path} is UTF-16, but it must be UTF-8"

    def test_json_of_checkpoints(self, tmp_path: Path) -> None:
        path = tmp_path / "config.json"
        path.write_bytes(MARK + b'{"a": "\xc3\xa9"}')
        assert read_object(path) == {"a": "é"}
        path.write_bytes('{"a": 1}'.encode("utf-16"))
        with pytest.raises(ModelFormatError) as caught:
            read_object(path)
        assert str(caught.value) == f"{path} is UTF-16, but it must be UTF-8"
