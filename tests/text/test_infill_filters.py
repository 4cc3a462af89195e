"""Where an infilled text ends: repeats of the suffix, single lines, and chained filters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.text.filters import FilterChain
from santacoder.text.infill_filters import FirstLine, SuffixTrimmer, infill_filters, split_suffix
from santacoder.text.stream import TextStream
from tests.support.filter_splits import every_split, run
from tests.support.scripted_model import TOKENIZER

SUFFIX = ")\n    return x\n"


def pieces(text: str, ends: Sequence[int]) -> list[str]:
    """The text cut at these places."""
    places = [0, *sorted(ends), len(text)]
    return [text[a:b] for a, b in pairwise(places)]


class TestSplitSuffix:
    @pytest.mark.parametrize(("suffix", "blank", "lead"), [
        ("", "", ""), ("\n", "\n", ""), (" \n\t\n", " \n\t\n", ""),
        (")", "", ")\n"), ("\n}\n", "", "\n}\n"), (SUFFIX, "", SUFFIX), ("\n    return x", "", "\n    return x\n"),
        ("\n\n\ndef g():\n    pass\n", "\n\n", "\ndef g():\n"), ("  \n    x = 1\n", "  ", "\n    x = 1\n"),
        ("\n    i += 1\n    go()\n", "", "\n    i += 1\n    go()\n"), ("    return x\n", "", "    return x\n"),
        ("\n名前 = 値\n", "", "\n名前 = 値\n"), ("\n    pass\rx", "", "\n    pass\rx\n"),
        ("a" * 300, "", "a" * 200), ("\n" + "a" * 199 + "\n", "", "\n" + "a" * 199), ("-" * 300, "", "-" * 200),
    ])  # fmt: skip
    def test_lead(self, suffix: str, blank: str, lead: str) -> None:
        assert split_suffix(suffix) == (blank, lead)


class TestSuffixTrimmer:
    @pytest.mark.parametrize(("prefix", "suffix", "text", "expected"), [
        ("print(", SUFFIX, "len(a))\n    return x\n    more", "len(a)"),
        ("print(", SUFFIX, "len(a))\n    return xyz\n", None),  # another line
        ("a = 1", "\n    return x\n", "\n    b = 2\n    return x\n", "\n    b = 2"),
        ("a = 1", "\n    return x", "\n    b = 2\n    return x\n", "\n    b = 2"),  # the suffix has no line break
        ("a = 1", "\n    return x\n", "\n    return x\n", ""),  # nothing belongs there
        ("a = 1", "\n    return x\n", "\n    if b:\n        return x\n    c()\n", None),  # indented deeper
        ("a\n", "    return x\n", "    if b:\n        return x\n    return x\n", "    if b:\n        return x\n"),
        ("a = 1", "\n\n\ndef g():\n", "\n    b\n\n\ndef g():\n", "\n    b"),  # its blank lines go too
        ("a = 1", "\n\n\ndef g():\n", "\n    b\ndef g():\n", "\n    b"),  # as many as there are
        ("a = 1", "\n\n\ndef g():\n", "\n    b\n\n\n\ndef g():\n", "\n    b\n"),  # but no more
        ("def f():\n    ", "\n    return x\n", "return x\n", ""),  # the cursor's line repeats the next
        ("def f():\n", "\n    return x\n", "    return x\n", ""),
        ("", "import os\n", "import re\nimport os\n", "import re\n"),
        ("a", "\n    i += 1\n    go()\n", "\n    i += 1\n    stop()\n", None),  # a short line may be there twice
        ("a", "\n    i += 1\n    go()\n", "\n    b\n    i += 1\n    go()\n", "\n    b"),
        ("f(", "name, é)\n", "x, name, é)\n", "x, "),
        ("a = '", "🎅🎁é'\nb = 12\n", "é🎅🎁🎅🎁é'\nb = 12\n", "é🎅🎁"),
        ("<fim-middle>", "<fim-middle>\n", "a<fim-middle>\n", "a"),
    ])  # fmt: skip
    @pytest.mark.parametrize("cut_off", [False, True])
    def test_while_text_comes(self, prefix: str, suffix: str, text: str, expected: str | None, cut_off: bool) -> None:
        got = every_split(lambda: SuffixTrimmer(prefix, suffix), text, cut_off)
        assert got == (text if expected is None else expected, expected is not None)

    @pytest.mark.parametrize(("prefix", "suffix", "text", "expected"), [
        ("print(", SUFFIX, "len(a))\n    return x", "len(a)"),
        ("print(", SUFFIX, "len(a))", None), ("print(", ")", "len(a)", None), ("print(", ")\n", "len(a))\n", None),
        ("if x", " == 0:\n        raise\n", " + y == 0:", " + y"),
        ("{", "\n}\n", "\n  f();\n}", "\n  f();"), ("{", "\n}\n", "\n  f();\n}\n", "\n  f();"),
        ("{", "\n}\n", "\n  f();\n}\nvoid g() {", None), ("{", "\n}\n", "\n  f();\n  }", None),
        ("{", "\n\n}\n", "\n  f();\n\n}", "\n  f();"), ("a", "\n", "b\n", None), ("a", "", "b", None),
        ("", "\nimport os.path as p\n", "import os", None),  # a whole line, but another one
        ("", "\nimport os\n", "import os", ""), ("a", "\nb\n", "x\nb", "x"), ("a", "\nb\r", "x\nb", None),
        ("a", "\n    i += 1\n    go()\n", "\n    b\n    i += 1", "\n    b"), ("a", "\n    b()\n", "", None),
    ])  # fmt: skip
    def test_own_end(self, prefix: str, suffix: str, text: str, expected: str | None) -> None:
        got = every_split(lambda: SuffixTrimmer(prefix, suffix), text)
        assert got == (text if expected is None else expected, expected is not None)

    @pytest.mark.parametrize(("prefix", "suffix", "text", "expected"), [
        ("print(", SUFFIX, "len(a))\n    retu", "len(a)"), ("print(", SUFFIX, "len(a))\n    ret", None),
        ("a = 1", "\n\n    return x\n", "\n    b\n\n    return", "\n    b"), ("a = 1", "\n    return x\n", "", None),
        ("{", "\n}\n", "\n  f();\n}", None), ("", "\nimport os.path\n", "import os", ""),
    ])  # fmt: skip
    def test_cut_off(self, prefix: str, suffix: str, text: str, expected: str | None) -> None:
        got = every_split(lambda: SuffixTrimmer(prefix, suffix), text, True)
        assert got == (text if expected is None else expected, expected is not None)

    def test_text_is_passed_on_at_once(self) -> None:
        trimmer = SuffixTrimmer("a", "\n\n    return x\n")
        steps = ["b", "\n", "\n    ", "retu", "n", "\n    return", " x"]
        assert [trimmer.feed(step) for step in steps] == ["b", "", "", "", "\n\n    retun", "", ""]
        assert trimmer.flush() == ""
        assert trimmer.stopped

    CODE = st.lists(st.sampled_from(["\n", "\n    ", " ", "ab", "abcd", "é", ")", "}", "\r", "d\n"]), max_size=7)

    @settings(max_examples=200)
    @given(data=st.data(), cut_off=st.booleans())
    def test_any_split_gives_the_same(self, data: st.DataObject, cut_off: bool) -> None:
        prefix, suffix = ("".join(data.draw(self.CODE)) for _ in range(2))
        text = "".join(data.draw(self.CODE)) + suffix[: data.draw(st.integers(0, 30))] + "".join(data.draw(self.CODE))
        whole = run(SuffixTrimmer(prefix, suffix), [text], cut_off)
        ends = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
        assert run(SuffixTrimmer(prefix, suffix), pieces(text, ends), cut_off) == whole
        assert run(SuffixTrimmer(prefix, suffix), list(text), cut_off) == whole
        out, stopped = whole
        assert text.startswith(out)
        assert stopped or out == text
        lead = split_suffix(suffix)[1]
        if sum(c.isalnum() for c in lead) >= 4 and not lead[0].isspace():
            assert lead not in out
        if stopped and prefix.strip(" ") and prefix[-1] not in " \n\r" and not split_suffix(suffix)[0]:
            assert (out + suffix + "\n").startswith(text[: len(out) + 3])


class TestFirstLine:
    @pytest.mark.parametrize(("prefix", "text", "expected"), [
        ("a = ", "1\nb", "1"), ("a = ", "1", None), ("def f():", "\n    x", ""), ("a = ", "1\r\n", "1"),
        ("    ", "\nx\n", ""), ("a\n", "\n\n  x = 'é'\ny", "  x = 'é'"), ("", " \r\n\tx\r", "\tx"),
        ("a\n", "  x", None), ("a = ", "", None), ("a = ", "  ", None),
    ])  # fmt: skip
    def test_line(self, prefix: str, text: str, expected: str | None) -> None:
        out, stopped = every_split(lambda: FirstLine(prefix), text)
        assert (out, stopped) == (text if expected is None else expected, expected is not None)

    def test_blank_text(self) -> None:
        assert every_split(lambda: FirstLine("a\n"), "\n  ") == ("  ", False)
        assert every_split(lambda: FirstLine(""), " \r\n") == ("", False)


class TestChain:
    def make(self, prefix: str, suffix: str, *stops: str, single_line: bool = False) -> FilterChain:
        return FilterChain(infill_filters(prefix, suffix, single_line, stops))

    def test_the_first_end_counts(self) -> None:
        text = "a)\n    return x\n# end"
        assert every_split(lambda: self.make("(", SUFFIX, "# end"), text) == ("a", True)
        assert every_split(lambda: self.make("(", SUFFIX, "a)\n"), text) == ("", True)
        assert every_split(lambda: self.make("(", SUFFIX, " x\n"), text) == ("a)\n    return", True)
        assert every_split(lambda: self.make("(", SUFFIX, single_line=True), text) == ("a)", True)

    def test_a_single_line_may_be_the_next_one(self) -> None:
        make = lambda: self.make("x\n", "\n    return x\n", single_line=True)  # noqa: E731
        assert every_split(make, "\n\n    return x\n") == ("", True)
        assert every_split(make, "\n    return y\n") == ("    return y", True)

    def test_what_is_held_back_comes_out(self) -> None:
        """Of every filter, when the text is cut off and when one before it ends the text."""
        assert every_split(lambda: self.make("(", SUFFIX, "STOP"), "a)\n  ST", True) == ("a)\n  ST", False)
        assert every_split(lambda: self.make("(", SUFFIX, "STOP"), "a)\n  STOP") == ("a)\n  ", True)
        assert every_split(lambda: self.make("(", SUFFIX, "\n"), "a)") == ("a)", False)

    def test_single_line_is_a_bool(self) -> None:
        with pytest.raises(santacoder.InvalidRequestError, match=r"^single_line is 1, but it must be True or False$"):
            infill_filters("", "", 1, ())  # type: ignore[arg-type]

    def test_characters_split_over_tokens(self) -> None:
        stream = TextStream(TOKENIZER, infill_filters("s = '", "é🎁abc'\n", False, ()))
        texts = [stream.feed(bytes([byte])) for byte in "🎅é🎁abc'\n".encode()]
        assert ("".join(texts), stream.stopped) == ("🎅", True)
