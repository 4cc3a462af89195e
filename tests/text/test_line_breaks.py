"""Line breaks: read as LF in every interface that infills, and given back as the file has them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import santacoder
from santacoder import Completion, Piece
from santacoder.batching.scheduler import Scheduler
from santacoder.cli import main
from santacoder.text.filters import FilterChain
from santacoder.text.infill_filters import infill_filters
from santacoder.text.line_breaks import ReadLineBreaks, WriteCRLF, as_lf, uses_crlf
from santacoder.text.stream import StopFilter
from tests.support.filter_splits import every_split
from tests.support.paths import FILE
from tests.support.scripted_model import EOT, Script, infilled, scripted_sequence, tokens_of

#: Code without CRLF, but with single CRs.
LF_PARTS = ["\n", "\n\n", "\n    ", "return x", "abcd", "a", "é🎅", ")", " ", "\rb", "<fim-middle>"]
LF_TEXT = st.lists(st.sampled_from(LF_PARTS), max_size=7).map("".join)
ANY_PARTS = ["\n", "\r", "\r\n", "\r\r\n", "abcd", "    ", "return x", ")", "é"]
ANY_TEXT = st.lists(st.sampled_from(ANY_PARTS), max_size=8).map("".join)


def crlf(text: str) -> str:
    """A text of LF lines with CRLF."""
    return text.replace("\n", "\r\n")


class TestReading:
    @pytest.mark.parametrize(("text", "expected"), [
        ("", ""), ("a", "a"), ("a\n", "a\n"), ("a\r\nb\r\n", "a\nb\n"), ("a\r\n\nb\n", "a\n\nb\n"), ("\r\n", "\n"),
        ("a\rb\r", "a\rb\r"), ("\n\r", "\n\r"), ("a\r\r\nb", "a\nb"), ("\r\r\r\n\r", "\n\r"),
    ])  # fmt: skip
    def test_as_lf(self, text: str, expected: str) -> None:
        assert as_lf(text) == expected
        assert every_split(ReadLineBreaks, text) == (expected, False)

    @given(text=ANY_TEXT)
    def test_no_crlf_is_left(self, text: str) -> None:
        assert "\r\n" not in as_lf(text)
        assert as_lf(text).replace("\r", "") == text.replace("\r", "")
        assert every_split(ReadLineBreaks, text) == (as_lf(text), False)

    def test_many_crs_take_no_longer_than_they_are(self) -> None:
        """Nor does a regular expression backtrack: this would take hours."""
        assert as_lf("\r" * 3_000_000 + "a\n") == "\r" * 3_000_000 + "a\n"

    @pytest.mark.parametrize(("text", "expected"), [("a\r", "a\n"), ("a\r\r", "a\n"), ("a\r\n", "a\n"), ("a", "a")])
    def test_half_a_line_break_at_the_cut(self, text: str, expected: str) -> None:
        assert every_split(ReadLineBreaks, text, cut_off=True) == (expected, False)

    def test_only_crs_are_held_back(self) -> None:
        filter_ = ReadLineBreaks()
        parts = {"a": "a", "b\r": "b", "\r": "", "c": "\r\rc", "\r\n": "\n", "d\r": "d"}
        assert [filter_.feed(part) for part in parts] == list(parts.values())
        assert filter_.flush() == "\r"

    @pytest.mark.parametrize(("texts", "expected"), [
        ([""], False), (["a"], False), (["a\n"], False), (["a\r"], False), (["a\r\n"], True), (["", "\r\n"], True),
        (["a\r\nb\n"], False), (["a\r\nb\n", "\r\n"], True), (["a\r\n", "\n\n"], False), (["\r", "\n"], False),
        (["a\r\r\n"], True),
    ])  # fmt: skip
    def test_convention(self, texts: list[str], expected: bool) -> None:
        assert uses_crlf(*texts) is expected

    def test_writing(self) -> None:
        assert every_split(WriteCRLF, "\na\rb\n\n") == ("\r\na\rb\r\n\r\n", False)


class TestFilters:
    """The filters of an infilled text, whatever line breaks file and model have."""

    @pytest.mark.parametrize("writes", [str, crlf])
    @pytest.mark.parametrize("has", [str, crlf])
    @pytest.mark.parametrize(("prefix", "suffix", "text", "expected", "single_line"), [
        ("a = 1", "\n    return b\n", "\n    b = a\n    return b\n", "\n    b = a", False),
        ("a = 1", "\n    return b\n", "\n    return b\n", "", False),
        ("a = 1", "\n\n\ndef g():\n", "\n    b\n\n\ndef g():\n", "\n    b", False),
        ("a = 1", "\n    return b\n", "\n    b = a\n    c = a\n", "\n    b = a\n    c = a\n", False),
        ("def f():\n    ", "\n    return x\n", "return x\n", "", False),
        ("{", "\n}\n", "\n  f();\n}", "\n  f();", False), ("{", "\n}\n", "\n  f();\n}\n", "\n  f();", False),
        ("a\n", "\n", "b\nc", "b", True), ("a\n", "\n", "\n\n  b\nc", "  b", True), ("a", "\n", "\nb", "", True),
    ])  # fmt: skip
    def test_ends(
        self, prefix: str, suffix: str, text: str, expected: str, single_line: bool,
        has: Callable[[str], str], writes: Callable[[str], str],
    ) -> None:  # fmt: skip
        make = lambda: FilterChain(infill_filters(has(prefix), has(suffix), single_line, ()))  # noqa: E731
        assert every_split(make, writes(text))[0] == has(expected)

    @pytest.mark.parametrize("stop", ["\n\n", "\r\n\r\n", "\n\r\n"])
    @pytest.mark.parametrize("text", ["a\n\nb", "a\r\n\r\nb", "a\r\n\nb"])
    @pytest.mark.parametrize("suffix", ["\n", "\r\n"])
    def test_stop_strings(self, suffix: str, text: str, stop: str) -> None:
        assert every_split(lambda: FilterChain(infill_filters("", suffix, False, [stop])), text) == ("a", True)

    def test_a_lone_cr(self) -> None:
        """Not a line break for a stop string or a repeat, but it ends a single line."""

        def make(stop: list[str], single: bool) -> FilterChain:
            return FilterChain(infill_filters("x", "\r\nabcd\r\n", single, stop))

        assert every_split(lambda: make(["\n"], False), "a\rabcd\rb") == ("a\rabcd\rb", False)
        assert every_split(lambda: make(["\r"], False), "a\r\nb\rc") == ("a\r\nb", True)
        assert every_split(lambda: make([], True), "a\rb") == ("a", True)
        assert every_split(lambda: make([], True), "a\r", cut_off=True) == ("a", True)

    @pytest.mark.parametrize(("prefix", "suffix", "expected"), [
        ("\r\n", "\nabcd\n", "b\nc"), ("\n\r\n", "\r\nabcd", "b\r\nc"), ("x\r", "\nabcd", "b\nc"), ("", "", "b\nc"),
    ])  # fmt: skip
    def test_mixed_files(self, prefix: str, suffix: str, expected: str) -> None:
        make = lambda: FilterChain(infill_filters(prefix, suffix, False, ()))  # noqa: E731
        for text in ("b\nc", "b\r\nc"):
            assert every_split(make, text) == (expected, False)

    @settings(max_examples=200, deadline=None)
    @given(prefix=LF_TEXT, suffix=LF_TEXT, text=ANY_TEXT, single_line=st.booleans(), cut_off=st.booleans())
    @example("a = 1", "\n    return b\n", "\r\n    return b\r\n", False, False)
    @example("a\n", "", "b\r", False, True)
    def test_crlf_is_lf_converted(self, prefix: str, suffix: str, text: str, single_line: bool, cut_off: bool) -> None:
        def result(prefix: str, suffix: str, *stops: str) -> tuple[str, bool]:
            return every_split(lambda: FilterChain(infill_filters(prefix, suffix, single_line, stops)), text, cut_off)

        found, stopped = result(prefix, suffix, "abcd\n")
        assert "\r\n" not in found
        expected = crlf(found) if "\n" in prefix + suffix else found
        assert result(crlf(prefix), crlf(suffix), "abcd\r\n") == (expected, stopped)


class TestPieces:
    def test_a_line_break_comes_whole(self) -> None:
        """With the token that completes it."""
        for restore in (False, True):
            pieces = infilled("\r\n", "", "a\nb\r\n\rc\r", restore).pieces
            assert [(piece.text, len(piece.tokens)) for piece in pieces if piece.text or piece.tokens] == [
                ("a", 1), ("\r\n", 1), ("b", 1), ("\r\n", 2), ("\rc", 2), ("\r", 1),
            ]  # fmt: skip

    @pytest.mark.parametrize(("prefix", "expected"), [("\n", "a\n"), ("\r\n", "a\r\n")])
    def test_max_tokens_between_cr_and_lf(self, prefix: str, expected: str) -> None:
        pieces = infilled(prefix, "", "a\r\n", max_tokens=2).pieces
        assert "".join(piece.text for piece in pieces) == expected
        assert pieces[-1].finish_reason == "length"

    def test_logprobs_stay_with_their_tokens(self) -> None:
        for piece in infilled("\r\n", "", "a\nb\r\n\rc\r", logprobs=0).pieces:
            assert piece.logprobs is not None
            assert tuple(entry.token for entry in piece.logprobs) == piece.tokens


def facts(completion: Completion) -> tuple[Any, ...]:
    """All but the text and the time."""
    return completion.tokens, completion.finish_reason, completion.usage, completion.logprobs, completion.seed


def streamed(pieces: Any) -> tuple[list[Piece], Completion]:
    """The pieces, and the completion at their end."""
    found = []
    try:
        while True:
            found.append(next(pieces))
    except StopIteration as end:
        return found, end.value


class TestDoors:
    @settings(max_examples=25, deadline=None)
    @given(data=st.data(), prefix=LF_TEXT, suffix=LF_TEXT)
    def test_crlf_is_lf_converted(
        self, model: santacoder.SantaCoder, data: st.DataObject, prefix: str, suffix: str
    ) -> None:
        """Every interface gives the same tokens, and the same text but for line breaks; one-shot equals streamed."""
        breaks = [model.tokenizer.encode(letter)[0] for letter in "\r\n"]
        options: dict[str, Any] = {
            "mode": data.draw(st.sampled_from(["psm", "spm"])), "single_line": data.draw(st.booleans()),
            "echo": data.draw(st.booleans()), "seed": data.draw(st.integers(0, 9)), "temperature": 2,
            "max_tokens": data.draw(st.integers(1, 12)), "logit_bias": dict.fromkeys(breaks, 4), "logprobs": 1,
            "stop": data.draw(st.sampled_from([(), ("\n\n",), ("\r\n\n", "a")])), "ignore_eos": True,
        }  # fmt: skip
        convert = crlf if "\n" in prefix + suffix else str
        session = model.session()
        expected = model.infill(prefix, suffix, **options)
        pieces = list(model.stream_infill(prefix, suffix, **options))
        for door in (model, session):
            found = door.infill(convert(prefix), convert(suffix), **options)
            assert (found.text, *facts(found)) == (convert(expected.text), *facts(expected))
            parts, whole = streamed(door.stream_infill(convert(prefix), convert(suffix), **options))
            assert (whole.text, *facts(whole)) == (found.text, *facts(found))
            assert [part.text for part in parts] == [convert(piece.text) for piece in pieces]
            assert [part.tokens for part in parts] == [piece.tokens for piece in pieces]
            assert [part.logprobs for part in parts] == [piece.logprobs for piece in pieces]
        assert "\r\n" not in expected.text

    def test_echo_is_the_callers_text(self, model: santacoder.SantaCoder) -> None:
        for prefix in ("a\r\nb\nc\r\n", "a\nb\r\n\n", "a\r", "a\r\r\n"):
            for door in (model, model.session()):
                completion = door.infill(prefix, "", echo=True, max_tokens=1)
                assert completion.text.startswith(prefix)
                assert next(door.stream_infill(prefix, "", echo=True, max_tokens=1)).text == prefix

    def test_errors_name_places_of_the_callers_text(self, model: santacoder.SantaCoder) -> None:
        for texts in (("a\r\n\r\n\ud800", ""), ("", "a\r\n\r\n\ud800")):
            with pytest.raises(santacoder.InvalidRequestError, match=r"^character 5 of the text is the lone surrogate"):
                model.infill(*texts)

    def test_completions_are_true_to_the_byte(self, model: santacoder.SantaCoder) -> None:
        """A prompt by itself may be anything."""
        prompt = "def f():\r\n    "
        for door in (model, model.session()):
            completion = door.complete(prompt, max_tokens=4, temperature=0, echo=True)
            assert completion.usage.prompt_tokens == len(model.tokenizer.encode(prompt))
            assert completion.text.startswith(prompt)
            tokens = model.tokenizer.encode("\r\n")
            bias = dict.fromkeys(tokens, 100)
            text = door.complete("a\n", max_tokens=40, logit_bias=bias, temperature=5, seed=1).text
            assert "\r\n" in text


class ScriptedModel(contextlib.nullcontext[Any]):
    """As much of a model as `santacoder complete` uses, which writes a text byte by byte."""

    config = SimpleNamespace(sampling_defaults={})

    def __init__(self, text: str) -> None:
        super().__init__(self)
        self._text = text
        self.prompts: list[str] = []

    def stream(self, prompt: str, **options: Any) -> Any:
        self.prompts.append(prompt)
        return Scheduler(Script([*tokens_of(self._text), EOT])).stream(scripted_sequence(**options))

    def complete(self, prompt: str, **options: Any) -> Completion:
        return streamed(self.stream(prompt, **options))[1]


class TestCommandLine:
    OPTIONS = ("-m", str(FILE), "--temperature", "2", "--seed", "4", "-n", "24", "--ignore-eos")
    CODE = "def f():\n    <FILL_ME>\n    return 1\n"

    @pytest.fixture
    def bias(self, model: santacoder.SantaCoder) -> list[str]:
        """Options with which line breaks are common."""
        ids = [model.tokenizer.encode(letter)[0] for letter in "\r\n"]
        return [argument for token in ids for argument in ("--logit-bias", f"{token}=9")]

    @pytest.mark.parametrize("more", [(), ("--echo",), ("--json", "--logprobs", "0", "--echo"), ("--stop", "\r\n\n")])
    def test_infill(
        self, bias: list[str], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], more: tuple[str, ...]
    ) -> None:
        path = tmp_path / "a.py"
        outputs = []
        for text in (self.CODE, crlf(self.CODE)):
            path.write_bytes(text.encode())
            assert main(["infill", str(path), *self.OPTIONS, *bias, *more]) == 0
            outputs.append(capfdbinary.readouterr().out)
        self.check(outputs, "--json" in more)

    @pytest.mark.parametrize("more", [(), ("--echo",), ("--json", "--logprobs", "0", "--echo")])
    def test_complete(self, bias: list[str], capfdbinary: pytest.CaptureFixture[bytes], more: tuple[str, ...]) -> None:
        outputs = []
        for text in ("def f():\n    ", "def f():\r\n    "):
            assert main(["complete", text, *self.OPTIONS, *bias, *more]) == 0
            outputs.append(capfdbinary.readouterr().out)
        self.check(outputs, "--json" in more)

    def check(self, outputs: list[bytes], is_json: bool) -> None:
        """The second is the first with its line breaks converted."""
        if is_json:
            results = [json.loads(output) for output in outputs]
            texts = [result.pop("text") for result in results]
            for name in ("tokens", "finish_reason", "usage", "logprobs"):
                assert results[0][name] == results[1][name]
        else:
            texts = [output.decode() for output in outputs]
        assert texts[1] == crlf(as_lf(texts[0]))
        assert "\r\n" in texts[1]

    @pytest.mark.parametrize(("text", "options", "expected"), [
        ("a\nb\r\n\rc\r", (), "a\r\nb\r\n\rc\r"), ("a\r\n", ("-n", "2"), "a\r\n"), ("", (), ""),
        ("a\r\nb", ("--stop", "\n"), "a"), ("a\r\nb", ("--stop", "\r\n"), "a"), ("a\nb", ("--stop", "\r\n"), "a"),
    ])  # fmt: skip
    def test_ends_of_complete(
        self, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes],
        text: str, options: tuple[str, ...], expected: str,
    ) -> None:  # fmt: skip
        model = ScriptedModel(text)
        monkeypatch.setattr("santacoder.cli.options.load_model", lambda *_: model)
        for more in ((), ("--json",)):
            assert main(["complete", "p\r\n", "-m", str(FILE), "--temperature", "0", *options, *more]) == 0
            out = capfdbinary.readouterr().out.decode()
            assert (json.loads(out)["text"] if more else out) == expected
        assert model.prompts == ["p\n", "p\n"]

    def test_a_mixed_prompt_is_echoed_as_it_is(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        for more in ((), ("--json",)):
            assert main(["complete", "a\r\nb\nc\r\n", "-m", str(FILE), "-n", "1", "--echo", *more]) == 0
            out = capfdbinary.readouterr().out.decode()
            assert (json.loads(out)["text"] if more else out).startswith("a\r\nb\nc\r\n")


def test_stop_strings_of_completions_are_compared_as_they_are() -> None:
    assert every_split(lambda: StopFilter(["\n\n"]), "a\r\n\r\nb") == ("a\r\n\r\nb", False)
