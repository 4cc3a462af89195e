"""Filters that end a text at a line break."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.sequence import Sequence
from santacoder.text.filters import FilterChain
from santacoder.text.infill_filters import infill_filters
from santacoder.text.line_filters import LineDeadline, MinIndent, line_filters
from santacoder.text.stream import stop_filters
from tests.support.filter_splits import every_split, run
from tests.support.scripted_model import EOT, Script, scripted_sequence, tokens_of

TEXT = st.text(alphabet="a \t\r\n\f\u00a0", max_size=24)


class TestMinIndent:
    @pytest.mark.parametrize(("text", "expected"), [
        ("x\n    y\nz", "x\n    y"), ("x\n  y", "x"), ("x\n\n\n  y\n", "x\n\n"),
        ("x\n\t\t\t\ty\n\t  z", "x\n\t\t\t\ty"),
        ("x\r\n    y\r\nz", "x\r\n    y"), ("\nx", ""), ("x\n    \n  \n    y\n\nz", "x\n    \n  \n    y\n"),
    ])  # fmt: skip
    def test_ends_before_the_line(self, text: str, expected: str) -> None:
        assert every_split(lambda: MinIndent(4), text) == (expected, True)

    @pytest.mark.parametrize(
        "text", ["", "x", "x\n", "x\n   ", "x\n\n \n", "x\n    y\n        z", "x\ry", "x\r", "\r\n  \r\n"]
    )
    @pytest.mark.parametrize("cut_off", [False, True])
    def test_passes_everything_else(self, text: str, cut_off: bool) -> None:
        assert every_split(lambda: MinIndent(4), text, cut_off) == (text, False)

    def test_holds_no_more_back_than_the_beginning_of_a_line(self) -> None:
        filters = MinIndent(2)
        assert [filters.feed(part) for part in ("a", "b\n", " ", " ", "c", "\n\n", "   d")] == [
            "a", "b", "", "", "\n  c", "\n", "\n   d",
        ]  # fmt: skip

    @settings(max_examples=300)
    @given(TEXT, st.integers(1, 3))
    def test_by_lines(self, text: str, least: int) -> None:
        lines = text.split("\n")
        bad = [
            at for at, line in enumerate(lines) if at and line.strip() and len(line) - len(line.lstrip(" \t")) < least
        ]
        kept = lines[: bad[0]] if bad else lines
        expected = "\n".join(kept)
        if bad:
            expected = expected.rstrip("\r")
        assert every_split(lambda: MinIndent(least), text) == (expected, bool(bad))


class Clock:
    """Tells a time that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class TestLineDeadline:
    def test_before_the_last_line_break_once_the_time_is_over(self) -> None:
        clock = Clock()
        line = LineDeadline(2.0, clock)
        assert line.feed("") == ""
        clock.now += 1.0
        assert [line.feed(part) for part in ("a", "b\n", "c", "\n", "d")] == ["a", "b", "", "\nc", ""]
        clock.now += 0.75
        assert (line.feed("e"), line.stopped) == ("", False)
        clock.now += 0.25  # from the first feed, even of ""
        assert (line.feed("f"), line.stopped) == ("", True)

    def test_the_first_line_is_whole(self) -> None:
        clock = Clock()
        line = LineDeadline(0.0, clock)
        assert [(line.feed(part), line.stopped) for part in ("a", " b")] == [("a", False), (" b", False)]
        assert (line.feed(" c\n\n  d"), line.stopped) == (" c\n", True)

    def test_a_text_that_ends_by_itself_is_whole(self) -> None:
        clock = Clock()
        line = LineDeadline(1.0, clock)
        chain = FilterChain([line])
        assert chain.feed("a\nb") == "a"
        clock.now += 5
        assert (chain.flush(), chain.stopped) == ("\nb", False)
        line = LineDeadline(1.0, clock)
        assert line.feed("a\nb") == "a"
        clock.now += 5
        assert (line.flush(), line.stopped) == ("\nb", False)

    @given(TEXT)
    def test_in_time_everything_passes(self, text: str) -> None:
        assert every_split(lambda: LineDeadline(9.0, Clock()), text) == (text, False)

    @given(TEXT)
    def test_too_late_character_by_character(self, text: str) -> None:
        first = text.partition("\n")[0]
        assert run(LineDeadline(0.0, Clock()), list(text)) == (
            first.rstrip("\r") if "\n" in text else text,
            "\n" in text,
        )


class TestRequests:
    def finished(self, text: str, **params: Any) -> Sequence:
        lines = partial(line_filters, params.get("min_indent", 0), params.get("line_deadline"))
        sequence = scripted_sequence(partial(stop_filters, lines=lines), temperature=0, lookup=False, **params)
        scheduler = Scheduler(Script([*tokens_of(*text), EOT]))
        scheduler.submit(Call(), [sequence])
        while not sequence.ended:
            scheduler.step()
        return sequence

    def test_min_indent(self) -> None:
        completion = self.finished("a\n    b\nc = 1", min_indent=4).completion()
        assert (completion.text, completion.finish_reason) == ("a\n    b", "stop")
        assert (completion.end_token, completion.stop_text) == (None, None)
        assert completion.tokens == tokens_of(*"a\n    b\nc")

    def test_line_deadline(self) -> None:
        completion = self.finished("a = 1\n    b\nc", line_deadline=0.0).completion()
        assert (completion.text, completion.finish_reason) == ("a = 1", "deadline")
        completion = self.finished("a = 1\n    b\nc", line_deadline=1e9).completion()
        assert (completion.text, completion.finish_reason) == ("a = 1\n    b\nc", "stop")
        completion = self.finished("a = 1", line_deadline=0.0).completion()
        assert (completion.text, completion.finish_reason) == ("a = 1", "stop")

    def test_an_interruption_before_each_token(self) -> None:
        lines = partial(line_filters, 4, None)
        sequence = scripted_sequence(partial(stop_filters, lines=lines), temperature=0, lookup=False)
        scheduler = Scheduler(Script([*tokens_of(*"a\n    b\n\nc = 1"), EOT]))
        scheduler.submit(Call(), [sequence])
        while not sequence.ended:
            scheduler.step()
            if not sequence.ended:
                sequence.restore()
        assert sequence.completion().text == "a\n    b\n"

    @pytest.mark.parametrize("cut", [0, 4])
    def test_with_the_other_rules_of_infilling(self, cut: int) -> None:
        lines = partial(line_filters, cut, 9.0)
        make = lambda: FilterChain(infill_filters("(", ")\n    return x\n", False, ["#"], lines))  # noqa: E731
        assert every_split(make, "a)\n    return x\n") == ("a", True)
        assert every_split(make, "a)\n  b # c") == ("a)" if cut else "a)\n  b ", True)

    def test_calls_take_them(self, model: santacoder.SantaCoder) -> None:
        [letter], [line_break] = model.tokenizer.encode("a"), model.tokenizer.encode("\n")
        options: dict[str, Any] = {
            "max_tokens": 40, "temperature": 1.0, "seed": 1, "logit_bias": {letter: 90.0, line_break: 90.0},
        }  # fmt: skip
        whole = model.complete("def f():", **options)
        assert whole.text.count("\n") > 1
        cut = model.complete("def f():", line_deadline=0, **options)
        assert (cut.text, cut.finish_reason) == (whole.text[: len(cut.text)], "deadline")
        assert "\n" not in cut.text.rstrip("\n")
        pieces = [*model.stream("def f():", min_indent=3, **options)]
        assert "".join(piece.text for piece in pieces) == model.complete("def f():", min_indent=3, **options).text
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^min_indent is -1, but it must be an integer of 0 or"
        ):
            model.infill("", "", min_indent=-1)
