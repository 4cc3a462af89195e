"""Completions in notebooks: every character is there, escaped, and each token has the shade of its probability."""

from __future__ import annotations

import copy
import math
import pickle
from html.parser import HTMLParser

import pytest

import santacoder
from santacoder.decoding.logprobs import TokenLogprobs
from santacoder.decoding.shading import as_html


class Reader(HTMLParser):
    """The text of a page as a browser shows it, and the tokens in it with their titles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tokens: list[tuple[str, str]] = []
        self._title: str | None = None
        self.feed(page.replace("\r\n", "\n").replace('<pre style="white-space: pre-wrap">\n', "<pre>"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("pre", "span")
        self._title = dict(attrs).get("title")

    def handle_endtag(self, tag: str) -> None:
        self._title = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._title is not None:
            self.tokens.append((data, self._title))


@pytest.fixture(scope="module")
def packaged() -> santacoder.SantaCoder:
    return santacoder.load(threads=1)


def titles(completion: santacoder.Completion) -> list[str]:
    assert completion.logprobs is not None
    values = [each.logprob for each in completion.logprobs]
    return [f"{math.exp(value):.1%}, log-probability {value:.2f}" for value in values]


@pytest.mark.parametrize("echo", [False, True])
def test_tokens(packaged: santacoder.SantaCoder, echo: bool) -> None:
    prompt = "def add(a, b):\n    ret"  # of which token healing takes back the end
    completion = packaged.complete(prompt, max_tokens=12, temperature=0, logprobs=0, stop="d(", echo=echo)
    assert completion.healed > 0
    assert completion.text == (prompt if echo else "") + "urn a.ad"
    page = Reader(completion._repr_html_())
    assert page.text == completion.text
    assert page.tokens == list(zip(["urn", " a", ".", "ad"], titles(completion), strict=False))


@pytest.mark.parametrize("single_line", [False, True])
def test_infilling(packaged: santacoder.SantaCoder, single_line: bool) -> None:
    """Line breaks are those of the file."""
    completion = packaged.infill(
        "def add(a, b):\r\n    ", "\r\n\r\n", max_tokens=12, temperature=0, logprobs=0, single_line=single_line
    )
    assert ("\r\n" in completion.text) == (not single_line)
    page = Reader(completion._repr_html_())
    assert page.text == completion.text.replace("\r\n", "\n")
    assert [title for _, title in page.tokens] == titles(completion)[: len(page.tokens)]
    assert "".join(text for text, _ in page.tokens) == page.text


def test_all_that_is_special(model: santacoder.SantaCoder) -> None:
    """Random tokens, so characters in pieces and those that HTML gives a meaning."""
    for seed in range(20):
        completion = model.complete("x", max_tokens=60, temperature=50, logprobs=0, seed=seed, ignore_eos=True)
        page = Reader(completion._repr_html_())
        assert page.text.replace("\r", "\n") == completion.text.replace("\r\n", "\n").replace("\r", "\n")
        assert len(page.tokens) > 30


def test_escaping() -> None:
    text = "<script>alert('&amp;')</script>"
    entry = TokenLogprobs(1, math.log(0.5), ())
    for page in (as_html(text), as_html(text, 0, ["<script>", "alert"], [entry, entry]), as_html(text, len(text))):
        assert "<script" not in page
        assert Reader(page).text == text
    assert 'style="background: rgba(255, 99, 71, 0.35)"' in as_html("a", 0, ["a"], [entry])


def test_without_logprobs(packaged: santacoder.SantaCoder) -> None:
    completion = packaged.complete("def add(a, b):", max_tokens=4, temperature=0)
    page = Reader(completion._repr_html_())
    assert (page.text, page.tokens) == (completion.text, [])


def test_is_no_part_of_the_value(packaged: santacoder.SantaCoder) -> None:
    completion = packaged.complete("def add(a, b):", max_tokens=4, temperature=0, logprobs=0)
    for other in (pickle.loads(pickle.dumps(completion)), copy.deepcopy(completion)):
        assert other == completion
        assert repr(other) == repr(completion)
        assert Reader(other._repr_html_()).text == completion.text
