"""The page on the real server: its texts are the library's, and a link gives them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

import santacoder
from tests.support.browser import new_page, open_browser, read_clipboard
from tests.support.http_server import LiveServer, serving

pytestmark = pytest.mark.browser
SETTINGS: dict[str, Any] = {"max_tokens": 24, "temperature": 0.9, "top_p": 0.95, "seed": 18446744073709551615}


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    """The packaged model: its tokens are those of code."""
    with santacoder.load() as model:
        yield model


@pytest.fixture(scope="module")
def server(model: santacoder.SantaCoder) -> Iterator[LiveServer]:
    with serving(model) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


def visit(browser: Any, server: LiveServer, fragment: str = "") -> Any:
    page = new_page(browser)
    page.goto(f"http://127.0.0.1:{server.port}/{fragment}")
    page.locator("#model", has_text="parameters").wait_for()
    return page


def generate(page: Any) -> None:
    page.get_by_role("button", name="Generate").click()
    page.locator("#done").wait_for()


def samples(page: Any, count: int) -> list[str]:
    texts = []
    for _ in range(count):
        texts.append(page.text_content("#made"))
        page.locator("#result").press("n")
    return texts


@pytest.mark.parametrize("gap", [False, True])
def test_texts_are_those_of_the_library(
    browser: Any, server: LiveServer, model: santacoder.SantaCoder, gap: bool
) -> None:
    """With probabilities and without, and again by a link; each token's shade lies on its own characters."""
    before, after = "def areas(shapes):\n    return [shape.ar", "]\n"
    if gap:
        [expected] = model.infill_many([(before, after)], n=3, **SETTINGS)
    else:
        [expected] = model.complete_many([before], n=3, **SETTINGS)
    page = visit(browser, server)
    page.fill("#code", f"{before}<FILL-HERE>{after}" if gap else before)
    for name, value in {**SETTINGS, "n": 3}.items():
        page.fill(f"#{name}", str(value))
    generate(page)
    assert samples(page, 3) == [completion.text for completion in expected]
    spans = page.locator("#made span").all_text_contents()
    assert "".join(spans) == expected[0].text
    tokens = [model.tokenizer.decode([token]) for token in expected[0].tokens]
    assert [span for span in spans if span][1:-1] == [token for token in tokens if token][-len(spans) :][1:-1]
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("Copied").first.wait_for()
    link = urlsplit(read_clipboard(page))

    other = visit(browser, server, f"#{link.fragment}")
    other.select_option("#shade", "never")
    generate(other)
    assert samples(other, 3) == [completion.text for completion in expected]
    assert "to the byte the text of the link" in other.text_content("#status")
    for each in (page, other):
        each.context.close()
