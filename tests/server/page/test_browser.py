"""The page in Chromium: what it asks for, what it shows, by keyboard, by link and by curl."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.browser import expect, new_page, open_browser, read_clipboard
from tests.support.page_server import Cut, PageServer, Refusal, ending, events
from tests.support.waiting import HANG, wait_for

pytestmark = pytest.mark.browser
FAILED = "Failed to load resource"  # what Chromium writes of every answer with an error
CODE = "def add(a, b):\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests of this file."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A server that does what a test says."""
    with PageServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser: Any, server: PageServer) -> Iterator[Callable[..., Any]]:
    """Open the page anew, as another person would; in the end, nothing was wrong in any of them."""
    pages, mistakes = [], list[str]()

    def visit(fragment: str = "", **options: Any) -> Any:
        page = new_page(browser, **options)
        pages.append(page)
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("console", lambda message: mistakes.append(message.text) if FAILED not in message.text else None)
        page.goto(server.address + fragment)
        return page

    yield visit
    for page in pages:
        page.context.close()
    assert mistakes == []


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    """The page, with the model's name and a little code."""
    page = visit()
    expect(page.locator("#model")).to_contain_text("some-model")
    page.fill("#code", CODE)
    return page


def generate(page: Any) -> None:
    page.locator("#code").press("Control+Enter")


def generate_all(page: Any) -> None:
    generate(page)
    expect(page.locator("#done")).to_be_visible()


def digest(text: str) -> str:
    """FNV-1a with 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def test_first_view(page: Any, visit: Callable[..., Any], server: PageServer) -> None:
    expect(page).to_have_title("some-model - santacoder")
    expect(page.locator("#model")).to_have_text("some-model · 1.12 billion parameters · license some-license")
    expect(page.locator("#limits")).to_have_text("Code and new text together have 2048 tokens at most.")
    fresh = visit()
    expect(fresh.locator("#code")).to_be_focused()
    assert fresh.input_value("#code").startswith("def is_palindrome(")
    assert {path for path, _ in server.headers} == {"/", "/page.js", "/page.css", "/health", "/v1/models", "/props"}


def test_text_comes_into_place(page: Any, server: PageServer) -> None:
    """Piece by piece, in another color; the request says all settings."""
    gate = threading.Event()
    first, second = events(["    return", " a + b"], at=len(CODE))
    server.script = [": a comment", first, gate, second, *ending(2)]
    page.fill("#seed", "18446744073709551615")
    generate(page)
    expect(page.locator("#result")).to_have_text(CODE + "    return", use_inner_text=False)
    expect(page.locator("#go")).to_have_text("Stop")
    expect(page.locator("#status")).to_contain_text("1 token · ")
    gate.set()
    expect(page.locator("#made")).to_have_text("    return a + b")
    expect(page.locator("#status")).to_contain_text("2 tokens · ")
    expect(page.locator("#status")).to_contain_text(" a second · seed 18446744073709551615 · ended by itself")
    expect(page.locator("#go")).to_have_text("Generate")
    expect(page.locator("#spoken")).to_contain_text("Done. 2 tokens")
    colors = [
        page.evaluate(f"getComputedStyle(document.getElementById('{name}')).color") for name in ("before", "made")
    ]
    assert colors == ["rgb(36, 40, 44)", "rgb(10, 102, 80)"]
    assert server.bodies == [
        b'{"prompt":"def add(a, b):\\n","max_tokens":48,"temperature":0.2,"top_p":0.95,"repetition_penalty":1,"n":1,'
        b'"seed":18446744073709551615,"logprobs":5,"stream":true,"stream_options":{"include_usage":true}}'
    ]


@pytest.mark.parametrize("gap", ["<FILL-HERE>", "<FILL_HERE>"])
def test_gap(page: Any, server: PageServer, gap: str) -> None:
    server.script = [*events(["b"], at=11), *ending(1)]
    page.fill("#code", f"return a + {gap}\n")
    page.locator("#single_line").check()
    generate_all(page)
    expect(page.locator("#result")).to_have_text("return a + b\n", use_inner_text=False)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    body = json.loads(server.bodies[0])
    assert (body["prompt"], body["suffix"], body["single_line"], "stop" in body) == ("return a + ", "\n", True, False)
    page.keyboard.press("Escape")
    expect(page.locator("#code")).to_be_focused()
    expect(page.locator("#code")).to_have_value(f"return a + {gap}\n")
    assert page.evaluate("getSelection().toString()") == gap


def test_gap_is_marked_once(page: Any, server: PageServer) -> None:
    page.locator("#code").press("Control+Home")
    page.keyboard.press("Control+g")
    expect(page.locator("#code")).to_have_value("<FILL-HERE>" + CODE)
    page.locator("#code").press("Control+End")
    page.get_by_role("button", name="Mark a gap").click()
    expect(page.locator("#code")).to_have_value("<FILL-HERE>" + CODE)
    assert page.evaluate("getSelection().toString()") == "<FILL-HERE>"
    page.fill("#code", "<FILL-HERE> + <FILL_HERE>")
    generate(page)
    expect(page.get_by_role("alert")).to_have_text("The code has 2 gaps, but one is the most.")
    assert server.bodies == []


def test_without_a_gap_the_line_ends_at_a_line_break(page: Any, server: PageServer) -> None:
    server.script = ending(0)
    page.locator("#single_line").check()
    page.fill("#seed", "007")
    page.select_option("#shade", "never")
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("0 tokens")
    body = json.loads(server.bodies[0])
    assert (body["stop"], body["seed"], "single_line" in body, "logprobs" in body) == (["\n"], 7, False, False)


@pytest.mark.parametrize("stop", ["button", "Escape"])
def test_stop(page: Any, server: PageServer, stop: str) -> None:
    """The server notices it; what is there stays, and a second Escape brings back the code."""
    server.script = [events(["    return", ""], at=len(CODE))[0], threading.Event()]
    generate(page)
    expect(page.locator("#made")).to_have_text("    return")
    if stop == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")
    wait_for(server.gone.is_set)
    expect(page.locator("#status")).to_contain_text(" a second · seed ")
    expect(page.locator("#status")).to_contain_text(" · stopped")
    expect(page.locator("#made")).to_have_text("    return")
    page.keyboard.press("Escape")
    expect(page.locator("#code")).to_be_focused()
    expect(page.locator("#code")).to_have_value(CODE)


def test_samples(page: Any, server: PageServer) -> None:
    """Their events interleave; one leafs through them by buttons and by keys."""
    (one, two), (three, four) = events(["a", "b"]), events(["c", "d"], index=1, finish="length")
    server.script = [one, three, two, four, *ending(4)]
    page.fill("#n", "2")
    generate_all(page)
    expect(page.locator("#which")).to_have_text("Sample 1 of 2")
    expect(page.locator("#made")).to_have_text("ab")
    page.get_by_role("button", name="Next sample").click()
    expect(page.locator("#made")).to_have_text("cd")
    expect(page.locator("#status")).to_contain_text("this sample ended at the limit")
    page.locator("#result").press("n")
    expect(page.locator("#which")).to_have_text("Sample 1 of 2")
    page.locator("#result").press("p")
    expect(page.locator("#which")).to_have_text("Sample 2 of 2")
    expect(page.locator("#spoken")).to_have_text("Sample 2 of 2: cd")


def test_keep(page: Any, server: PageServer) -> None:
    """The text becomes code, which can be undone."""
    server.script = [*events(["b"], at=11), *ending(1)]
    page.fill("#code", "return a + <FILL-HERE>\n")
    generate_all(page)
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#code")).to_have_value("return a + b\n")
    page.keyboard.type("c")
    expect(page.locator("#code")).to_have_value("return a + bc\n")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(page.locator("#code")).to_have_value("return a + <FILL-HERE>\n")


def test_tokens_are_shaded_by_probability(page: Any, server: PageServer) -> None:
    """On hover only, or always; what is certain is not."""
    server.script = [*events(["a", "b", "c", "d", "e"], at=len(CODE), logprob=-0.8), *ending(5)]
    generate_all(page)
    spans = page.locator("#made span")
    expect(spans).to_have_count(5)
    assert [spans.nth(i).get_attribute("class") for i in range(5)] == ["p2", "p2", "p3", "p4", "p4"]
    clear, shade = "rgba(0, 0, 0, 0)", "rgba(214, 134, 16, 0.18)"
    ground = "getComputedStyle(document.querySelector('#made span')).backgroundColor"
    page.locator("#go").focus()
    assert page.evaluate(ground) == clear
    page.locator("#result").hover(position={"x": 5, "y": 100})
    assert page.evaluate(ground) == shade
    page.locator("h1").hover()
    assert page.evaluate(ground) == clear
    page.select_option("#shade", "always")
    assert page.evaluate(ground) == shade


def test_tokens_are_explained(page: Any, server: PageServer) -> None:
    """By keys and by hovering: the alternatives, the best first; blanks are visible."""
    server.script = [*events([" a", "\n"], at=len(CODE)), *ending(2)]
    generate_all(page)
    expect(page.locator("#made span")).to_have_count(2)
    page.locator("#result").press("ArrowRight")
    cells = page.locator("#token td")
    assert cells.all_inner_texts() == ["·a", "90.5 %", "", "·other", "1.1 %", ""]
    expect(page.locator("#token p")).to_have_text("log-probability -0.1000")
    expect(page.locator("#spoken")).to_have_text("·a, 90.5 %")
    page.locator("#result").press("ArrowRight")
    assert cells.all_inner_texts()[0] == "↵"
    page.locator("#result").press("ArrowRight")
    assert cells.all_inner_texts()[0] == "↵"
    page.locator("#go").focus()
    expect(page.locator("#token")).to_be_hidden()
    page.locator("#made span").first.hover()
    assert cells.all_inner_texts()[0] == "·a"
    page.locator("h1").hover()
    expect(page.locator("#token")).to_be_hidden()


def test_offsets_count_characters(page: Any, server: PageServer) -> None:
    """Of which JavaScript counts some as two; parts of a character share its place, and so does the end of the text."""
    code = "🎅 = '"
    choice = {
        "index": 0, "text": "🎄x", "finish_reason": "stop",
        "logprobs": {
            "tokens": ["'", "bytes:\\xf0\\x9f", "bytes:\\x8e\\x84", "x", "<|endoftext|>"],
            "token_logprobs": [-0.1] * 5, "top_logprobs": [{}] * 5, "text_offset": [4, 5, 5, 6, 7],
        },
    }  # fmt: skip
    server.script = [{"choices": [choice]}, *ending(4)]
    page.fill("#code", code)
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    assert page.locator("#made span").all_inner_texts() == ["", "", "🎄", "x", ""]
    page.locator("#result").press("ArrowRight")
    assert page.locator("#token td").all_inner_texts()[0] == "bytes:\\x8e\\x84"


def test_text_is_text(page: Any, server: PageServer) -> None:
    """And never markup."""
    markup = "<img src=x onerror=alert(1)></pre><b>"
    server.script = [*events([markup]), *ending(1)]
    page.fill("#code", markup)
    generate_all(page)
    expect(page.locator("#result")).to_have_text(markup * 2)
    page.locator("#result").press("ArrowRight")
    assert page.locator("#token td").all_inner_texts()[0] == markup.replace(" ", "·")


@pytest.mark.parametrize("shade", ["hover", ""])
def test_copies_are_marked(page: Any, server: PageServer, shade: str) -> None:
    """With where they stand, and whether probabilities are asked for or not; common ones are not."""
    source = {
        "repository": "pkg:pypi/<b>", "revision": "1.0", "path": "a.py", "start_line": 3, "end_line": 4,
        "licence": "MIT", "licence_source": "file", "kind": "exact",
    }  # fmt: skip
    match = {"start": -2, "end": 2, "lexemes": 40, "common": False, "files": 3, "sources": [source]}
    last = {**match, "start": 3, "end": 4, "files": 1, "sources": [{**source, "licence": "NOASSERTION"}]}
    script = events(["a", "b", "c", "d"], at=len(CODE), finish="content_filter")
    script[-1]["choices"][0]["attribution"] = [match, last, {**match, "start": 2, "end": 3, "common": True}]
    if not shade:
        for event in script:
            event["choices"][0]["logprobs"] = None
    server.script = [*script, *ending(4)]
    page.select_option("#shade", shade)
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended before it would be a copy")
    assert "".join(page.locator("#made .copied").all_inner_texts()) == "abd"
    assert page.locator("#made").inner_text() == "abcd"
    assert page.locator("#copies li").all_inner_texts() == [
        "40 words and signs, with “ab”, stand in a.py of pkg:pypi/<b>@1.0, lines 3 to 4 (MIT); and 2 more",
        "40 words and signs, with “d”, stand in a.py of pkg:pypi/<b>@1.0, lines 3 to 4 (no licence named)",
    ]
    page.locator("#made .copied").first.hover()
    page.locator("#result").press("ArrowRight")
    page.click("#edit")
    expect(page.locator("#copies")).to_be_hidden()


def test_link_reproduces_the_text(page: Any, visit: Callable[..., Any], server: PageServer) -> None:
    """Elsewhere, the same request; the page says whether the text is the same to the byte."""
    server.script = [*events(["é\n", "b"]), *events(["c", "d"], index=1), *ending(4)]
    code = "# 100% sure? a+b & 'c' #🎅\n<FILL_HERE>\t\n"
    page.fill("#code", code)
    for name, value in (("max_tokens", "9"), ("temperature", "0.75"), ("top_p", "0.5"), ("repetition_penalty", "1.1")):
        page.fill(f"#{name}", value)
    page.fill("#n", "2")
    page.locator("#single_line").check()
    generate_all(page)
    page.get_by_role("button", name="Next sample").click()
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#link")).to_have_text("Copied")
    link = urlsplit(read_clipboard(page))
    assert f"{link.scheme}://{link.netloc}{link.path}" == server.address
    fields = parse_qs(link.fragment)
    assert fields["code"] == [code]
    assert fields["seed"] == [str(json.loads(server.bodies[0])["seed"])]
    assert (fields["model"], fields["text"]) == (["model-a"], [digest("é\nb\0cd")])

    other = visit(f"#{link.fragment}")
    expect(other.locator("#status")).to_have_text("From a link: generate to get its text")
    assert len(server.bodies) == 1
    other.get_by_role("button", name="Generate").click()
    expect(other.locator("#status")).to_contain_text("to the byte the text of the link")
    expect(other.locator("#which")).to_have_text("Sample 2 of 2")
    assert server.bodies[0] == server.bodies[1]

    server.script = [*events(["é\n", "B"]), *events(["c", "d"], index=1), *ending(4)]
    other.get_by_role("button", name="Generate").click()
    expect(other.locator("#status")).to_contain_text(" · not the text of the link")
    server.script = [*server.script[:-2], {"choices": [], "system_fingerprint": "model-b"}, "data: [DONE]"]
    other.get_by_role("button", name="Generate").click()
    expect(other.locator("#status")).to_contain_text("not the text of the link, which came from another model")
    other.get_by_role("button", name="Edit").click()
    other.fill("#temperature", "0.7")
    expect(other.locator("#status")).to_have_text("")
    assert urlsplit(other.url).fragment == ""


def test_begins_with_the_defaults_of_the_server(visit: Callable[..., Any], server: PageServer) -> None:
    """A link keeps its own, and "Defaults" goes back to the server's."""
    server.params = {"temperature": 0.5, "top_p": 0.875, "repeat_penalty": 1.125}
    page = visit()
    expect(page.locator("#temperature")).to_have_value("0.5")
    assert [page.input_value(f"#{name}") for name in ("top_p", "repetition_penalty")] == ["0.875", "1.125"]
    assert '"temperature":0.5,"top_p":0.875,"repetition_penalty":1.125' in page.text_content("#curl")
    page.fill("#temperature", "0.75")
    page.locator("#defaults").click()
    expect(page.locator("#temperature")).to_have_value("0.5")
    linked = visit("#code=x&temperature=0.2&top_p=0.6")
    expect(linked.locator("#repetition_penalty")).to_have_value("1.125")
    assert [linked.input_value(f"#{name}") for name in ("temperature", "top_p")] == ["0.2", "0.6"]


def test_curl_asks_the_same(page: Any, server: PageServer) -> None:
    """A shell takes the command apart into the request that is on the screen."""
    server.script = [*events(["x"]), *ending(1)]
    page.fill("#code", "it's \"$HOME\" `id` \\n !! %s\n\t🎅<FILL-HERE>' \\\n'")
    page.get_by_text("The same with curl").click()
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    page.locator("#copy-curl").click()
    expect(page.locator("#copy-curl")).to_have_text("Copied")
    show = "curl() { for word; do printf '%s\\0' \"$word\"; done; }\n"
    for shell in ("sh", "bash"):
        done = subprocess.run(
            [shell, "-c", show + read_clipboard(page)], capture_output=True, text=True, check=True, timeout=HANG
        )
        address, flag, kind, data, body, end = done.stdout.split("\0")
        assert (address, flag, kind, data, end) == (
            f"{server.address}v1/completions", "-H", "Content-Type: application/json", "-d", ""
        )  # fmt: skip
        sent = json.loads(server.bodies[0])
        assert sent.pop("stream") is True
        del sent["stream_options"]
        assert json.loads(body) == sent


def test_key(visit: Callable[..., Any], server: PageServer) -> None:
    """It is asked for, sent, and in no place that outlives the page."""
    server.key = "sk-very-secret"
    page = visit()
    expect(page.locator("#key")).to_be_focused()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The key is missing or wrong.")
    page.locator("#key").fill("sk-very-secret")
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_contain_text("some-model")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_hidden()
    server.script = [*events(["x"]), *ending(1)]
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#link")).to_have_text("Copied")
    assert '-H "Authorization: Bearer $SANTACODER_API_KEY"' in page.text_content("#curl")
    kept = [read_clipboard(page), page.content(), page.url, page.input_value("#key")]
    kept += [
        str(page.evaluate(f"JSON.stringify({place})"))
        for place in ("localStorage", "sessionStorage", "document.cookie")
    ]
    assert "sk-very-secret" not in "".join(kept)
    page.reload()
    expect(page.locator("#key")).to_be_focused()


def test_key_is_asked_for_when_it_is_needed(page: Any, server: PageServer) -> None:
    """Also if the server got one since."""
    server.key = "new"
    generate(page)
    expect(page.get_by_role("alert")).to_have_text("The key is missing or wrong.")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#code")).to_have_value(CODE)


@pytest.mark.parametrize(
    ("script", "sentence", "text"),
    [
        (Refusal(400, "top_p is 7, but it must be 0..1"), "Top_p is 7, but it must be 0..1.", None),
        (Refusal(429, "64 samples wait already"), "64 samples wait already.", None),
        ([*events(["a", "b"])[:1], {"error": {"message": "shutting down"}}], "Shutting down.", "a"),
        ([*events(["a", "b"])[:1], Cut()], "The answer broke off: the connection to the server was lost.", "a"),
    ],
    ids=["refused", "full", "error event", "cut"],
)
def test_errors_are_one_sentence(page: Any, server: PageServer, script: Any, sentence: str, text: str | None) -> None:
    """What came before an error stays; without any, the code comes back. The next request works."""
    server.script = script
    generate(page)
    expect(page.get_by_role("alert")).to_have_text(sentence)
    if text is None:
        expect(page.locator("#code")).to_have_value(CODE)
    else:
        expect(page.locator("#made")).to_have_text(text)
    server.script = [*events(["x"]), *ending(1)]
    page.keyboard.press("Control+Enter")
    expect(page.locator("#made")).to_have_text("x")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_server_that_is_gone(page: Any, server: PageServer) -> None:
    page.context.set_offline(True)
    generate(page)
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached: is it still running?")


def test_settings_out_of_range_are_not_sent(page: Any, server: PageServer) -> None:
    page.fill("#temperature", "3")
    page.locator("#go").click()
    assert page.evaluate("document.getElementById('temperature').validity.rangeOverflow")
    expect(page.locator("#temperature")).to_be_focused()
    assert server.bodies == []
    page.get_by_role("button", name="Defaults").click()
    expect(page.locator("#temperature")).to_have_value("0.2")


def test_sliders_and_numbers_agree(page: Any) -> None:
    slider = page.get_by_role("slider", name="Temperature")
    page.fill("#temperature", "1.5")
    expect(slider).to_have_value("1.5")
    slider.press("ArrowRight")
    expect(page.locator("#temperature")).to_have_value("1.55")


def test_loading(visit: Callable[..., Any], server: PageServer) -> None:
    server.loading = 1
    page = visit()
    expect(page.locator("#model")).to_have_text("The model is being loaded…")
    expect(page.locator("#model")).to_contain_text("some-model")


def test_examples(page: Any) -> None:
    """Each takes the place of the code, which can be undone."""
    for name, begin in (("Python", "def "), ("Java", "/** "), ("JavaScript", "// "), ("Infilling", "import os")):
        page.get_by_role("button", name=name, exact=True).click()
        assert page.input_value("#code").startswith(begin)
    assert page.evaluate("getSelection().toString()") == "<FILL-HERE>"
    for _ in range(4):
        page.keyboard.press("Control+z")
    expect(page.locator("#code")).to_have_value(CODE)


def test_keyboard_reaches_everything(page: Any, server: PageServer) -> None:
    """In the order of the page, and with a visible mark."""
    server.script = [*events(["a"]), *events(["b"], index=1), *ending(2)]
    page.fill("#n", "2")
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    look = """() => {
        const {id, ariaLabel, textContent} = document.activeElement;
        const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
        return [id || ariaLabel || textContent, `${outlineStyle} ${outlineWidth}`];
    }"""
    expect(page.locator("#result")).to_be_focused()
    found, marks = [], set()
    for _ in range(20):
        name, mark = page.evaluate(look)
        found.append(name)
        marks.add(mark)
        page.keyboard.press("Tab")
    assert found == [
        "result", "go", "previous", "next", "edit", "keep", "copy", "link", "max_tokens", "New tokens", "temperature",
        "Temperature", "top_p", "Top-p", "repetition_penalty", "Repetition penalty", "n", "seed", "shade",
        "single_line",
    ]  # fmt: skip
    assert marks == {"solid 2px"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens(visit: Callable[..., Any], server: PageServer, scheme: str) -> None:
    """With 360 px nothing is wider, neither before nor after; colors follow the system."""
    server.script = [*events(["x" * 300, " b"]), *ending(2)]
    page = visit(viewport={"width": 360, "height": 640}, color_scheme=scheme)
    expect(page.locator("#model")).to_contain_text("some-model")
    page.get_by_text("The same with curl").click()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    generate_all(page)
    expect(page.locator("#status")).to_contain_text("ended by itself")
    page.locator("#result").press("ArrowRight")
    assert page.evaluate(width) == 360
    box = page.locator("#token").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(247, 246, 242)", "dark": "rgb(21, 24, 27)"}[scheme]
