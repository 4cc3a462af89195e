"""The files of the page: all there, small, with nothing from other hosts and nothing inline; readable colors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from typing import Final

import pytest

FOLDER: Final = files("santacoder") / "server" / "page"
NAMES: Final = ("index.html", "page.css", "page.js")
TEXTS: Final = {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES}


class Elements(HTMLParser):
    """All elements of a page, each with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


ELEMENTS: Final = Elements(TEXTS["index.html"])
IDS: Final = [str(attributes["id"]) for _, attributes in ELEMENTS.found if "id" in attributes]


def test_the_package_has_them_and_no_others() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(NAMES)
    assert sum(len(text.encode()) for text in TEXTS.values()) < 40_000


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    text = re.sub(r'"data:image/png;base64,[^"]+"', "", TEXTS[name])
    assert re.findall(r"https?:|wss?:|ftp:|[\"']//\w|@import|\burl\(|^import\b|\bimport\(", text, re.MULTILINE) == []


def test_addresses_are_relative() -> None:
    """So that a proxy may put a folder before them."""
    addresses = [
        value for _, attributes in ELEMENTS.found for name, value in attributes.items() if name in ("src", "href")
    ]
    assert [value for value in addresses if not str(value).startswith("data:image/png;")] == ["page.css", "page.js"]
    assert re.findall(r'(?:ask|fetch|URL)\("([^"]+)"', TEXTS["page.js"]) == [
        "v1/completions", "v1/completions", "./", "health"
    ]  # fmt: skip


def test_nothing_is_inline() -> None:
    """The server's policy forbids it."""
    assert ELEMENTS.inline == []
    forbidden = [
        name for _, attributes in ELEMENTS.found for name in attributes if name == "style" or name.startswith("on")
    ]
    assert forbidden == []
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\bFunction\(", TEXTS["page.js"])
        == []
    )


def test_nothing_is_kept() -> None:
    """A key stays in memory."""
    assert re.findall(r"localStorage|sessionStorage|cookie|indexedDB", TEXTS["page.js"]) == []


def test_script_and_style_sheet_name_what_is_there() -> None:
    assert len(IDS) == len(set(IDS))
    assert set(re.findall(r'\$\("([\w-]+)"\)', TEXTS["page.js"])) <= set(IDS)
    assert set(re.findall(r"#([a-z][\w-]*)(?![\w-]*;)", TEXTS["page.css"])) <= set(IDS)


def test_all_that_can_be_used_has_a_name() -> None:
    named = {attributes.get("for") for tag, attributes in ELEMENTS.found if tag == "label"}
    for tag, attributes in ELEMENTS.found:
        if tag in ("input", "select", "textarea"):
            assert attributes.get("id") in named or attributes.get("aria-label"), attributes
    references = [
        attributes.get(name)
        for _, attributes in ELEMENTS.found
        for name in ("for", "data-for", "aria-describedby", "aria-labelledby")
    ]
    assert {reference for reference in references if reference} <= set(IDS)


@pytest.mark.parametrize(
    ("name", "least", "most", "value"),
    [
        ("max_tokens", "8", "1024", "48"),
        ("temperature", "0", "2.5", "0.2"),
        ("top_p", "0", "1", "0.95"),
        ("repetition_penalty", "1", "2", "1"),
        ("n", "1", "16", "1"),
    ],
)
def test_settings(name: str, least: str, most: str, value: str) -> None:
    """The slider has the range of its number."""
    [number] = [attributes for _, attributes in ELEMENTS.found if attributes.get("id") == name]
    assert (number["min"], number["max"], number["value"]) == (least, most, value)
    for slider in [attributes for _, attributes in ELEMENTS.found if attributes.get("data-for") == name]:
        assert (slider["min"], slider["max"]) == (least, most)


def luminance(color: Sequence[float]) -> float:
    """Of a color in sRGB, 0 to 255 each, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def read_colors(block: str, below: str) -> dict[str, tuple[float, ...]]:
    """The custom properties of a block; a color that lets others through lies on the color named `below`."""
    colors: dict[str, tuple[float, ...]] = {}
    for name, digits in re.findall(r"--([\w-]+): #([0-9a-f]{6});", block):
        colors[name] = tuple(bytes.fromhex(digits))
    for name, *values, alpha in re.findall(r"--([\w-]+): rgba\((\d+), (\d+), (\d+), ([\d.]+)\);", block):
        share = float(alpha)
        colors[name] = tuple(int(a) * share + b * (1 - share) for a, b in zip(values, colors[below], strict=True))
    return colors


BLOCKS: Final = re.findall(r":root \{(.*?)\}", TEXTS["page.css"], re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["light", "dark"])
def test_colors_can_be_read(block: str) -> None:
    """By WCAG 2.2 AA: 4.5 for text, 3 for the borders of what can be filled in."""
    colors = read_colors(block, "sheet")
    pairs = [(text, ground) for text in ("ink", "quiet", "made", "main", "wrong") for ground in ("paper", "sheet")]
    pairs += [("made", f"doubt-{k}") for k in (1, 2, 3, 4)]
    pairs += [("on-main", "main")]
    assert {
        pair: contrast(colors[pair[0]], colors[pair[1]])
        for pair in pairs
        if contrast(colors[pair[0]], colors[pair[1]]) < 4.5
    } == {}
    assert contrast(colors["edge"], colors["paper"]) >= 3
    assert contrast(colors["edge"], colors["sheet"]) >= 3


def test_colors_are_checked_in_both_schemes() -> None:
    assert len(BLOCKS) == 2
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert {len(read_colors(block, "sheet")) for block in BLOCKS} == {14}
