"""The documentation site: what tools/site.py makes of the documents, what these cover, and how links are checked."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import santacoder
import santacoder.hf
import santacoder.quantize
from santacoder.cli import make_parser
from santacoder.gguf.types import TYPES
from tests.support.documents import Document
from tests.support.paths import ROOT
from tools import check_site, site

PACKAGE = Path(santacoder.__file__).parent
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    site.write(tmp_path / "source")
    return tmp_path / "source"


def links(source: Path, page: str) -> set[str]:
    """The pages that a page of the site links."""
    found = Document.read(source / page).links
    paths = {(source / page).parent / link.partition("#")[0] for link in found if "://" not in link}
    return {path.resolve().relative_to(source.resolve()).as_posix() for path in paths if path.suffix == ".md"}


def test_links_stay_on_the_site(source: Path) -> None:
    """To pages and their headings, or to files that are copied along."""
    pages = sorted(source.rglob("*.md"))
    assert len(pages) == len(site.pages()) >= 40
    for page in pages:
        for link in Document.read(page).links:
            target, _, anchor = link.partition("#")
            if "://" in link:
                continue
            path = (page.parent / target).resolve() if target else page
            assert path.is_relative_to(source.resolve()), f"{page}: {link}"
            assert path.is_file(), f"{page}: {link}"
            assert not anchor or anchor in Document.read(path).anchors, f"{page}: {link}"


def test_every_page_is_in_the_contents_once(source: Path) -> None:
    trees = re.findall(
        r"^\.\. toctree::\n(?:   :.*\n)+\n((?:   .+\n)+)", (source / "index.md").read_text(), re.MULTILINE
    )
    listed = [f"{line.strip()}.md" for tree in trees for line in tree.splitlines()]
    assert sorted([*listed, "index.md"]) == sorted(site.pages().values())


def test_comments_are_not_on_the_site(source: Path) -> None:
    assert [page for page in source.rglob("*.md") if "\n<!--" in Document.read(page).prose] == []


def test_a_page_of_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links follow their pages, files are copied, folders are text; blocks of code stay as they are."""
    (tmp_path / "docs" / "howto").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "docs" / "howto" / "a.md").write_text(
        "# A\n\n[x](../../SECURITY.md#a) [y\nz](../../run.py) [folder](../../tools) ![i](i.svg) "
        "[w](https://w) [h](#a)\n"
        "`[no](x.md)` `<!-- kept -->`\n\n<!-- not run: no -->\n```sh\n[no](../x.md) <!-- kept -->\n```\n"
        "<!-- sphinx\n.. note::\n-->\n"
    )
    monkeypatch.setattr(site, "ROOT", tmp_path)
    made = site.page("docs/howto/a.md", lambda file: f"files/{file}")
    assert made == (
        "# A\n\n[x](../project/security.md#a) [y\nz](../files/run.py) folder ![i](../files/docs/howto/i.svg) "
        "[w](https://w) [h](#a)\n"
        "`[no](x.md)` `<!-- kept -->`\n\n```sh\n[no](../x.md) <!-- kept -->\n```\n```{eval-rst}\n.. note::\n```\n"
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("How do I stop at a blank line?", 'stop="\\n\\n"'),
        ("What does `top_p` default to?", "| `top_p` | `--top-p` | `float` | `0.95` |"),
        ("Does it run on my Raspberry Pi?", "A Raspberry Pi 3, 4 or 5 with a 64-bit system"),
    ],
)
def test_questions_of_strangers(source: Path, words: str, answer: str) -> None:
    """Asked on the first page, and answered on a page that its row links: one click."""
    [row] = [line for line in (source / "index.md").read_text().splitlines() if words in line]
    pages = [source / link.partition("#")[0] for link in re.findall(r"\]\(([^)]*)\)", row)]
    assert any(answer in page.read_text() for page in pages)


def test_most_pages_are_one_click_away(source: Path) -> None:
    assert links(source, "index.md") == set(site.pages().values()) - {"index.md"}


def documented(name: str) -> list[str]:
    """What the page of the reference documents from docstrings."""
    text = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    return re.findall(r"^\.\. auto(?:class|function|exception|data):: (\S+)$", text, re.MULTILINE)


def test_python_reference_is_complete() -> None:
    """Every public name is documented, once."""
    names = [name for page in REFERENCE.glob("python-*.md") for name in documented(page.stem)]
    public = {f"santacoder.{name}" for name in santacoder.__all__} - {"santacoder.__version__"}
    public |= {f"santacoder.hf.{name}" for name in santacoder.hf.__all__}
    public |= {f"santacoder.quantize.{name}" for name in santacoder.quantize.__all__}
    assert sorted(names) == sorted(public)


def test_environment_reference_is_complete() -> None:
    """It has every variable that the package reads."""
    named = set(re.findall(r"^\| `(\w+)` \|", (REFERENCE / "environment.md").read_text(encoding="utf-8"), re.MULTILINE))
    read = set[str]()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        read |= set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text))
        read |= set(re.findall(r'^\w*VARIABLE\b.* = "(\w+)"$', text, re.MULTILINE))
    assert named == read


def test_file_reference_has_every_type() -> None:
    text = (REFERENCE / "files.md").read_text(encoding="utf-8")
    rows = [re.findall(r"\b[A-Z][A-Z0-9_]*\b", row.split("|")[1]) for row in text.splitlines() if row.startswith("| ")]
    groups = [set[str](), set[str](), set[str]()]
    for kind in TYPES.values():
        groups[("OWN", "CONVERTED", "REFUSED").index(kind.packing.name)].add(kind.name)
    assert [set(row) for row in rows[1:]] == groups


def test_dead_links_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="a/b.html#x">1</a><a href="a/b.html">2</a><a href="https://w/x">3</a>'
    )
    (tmp_path / "a" / "b.html").write_text(
        '<p id="x"><img src="../i.png"><a href="../index.html#no">4</a><a href="#x">'
    )
    (tmp_path / "i.png").touch()
    assert check_site.dead_links(tmp_path) == ["a/b.html: ../index.html#no"]
    assert check_site.main(tmp_path) == 1
    assert capsys.readouterr().out == "a/b.html: ../index.html#no: leads nowhere\n"
    assert check_site.main(tmp_path / "a") == 1


def test_backslashes_of_help() -> None:
    """reStructuredText reads two as one."""
    plain, escaped = make_parser(["complete"]).parse_args(["complete"]), site.command_line()
    assert plain.run is escaped.parse_args(["complete"]).run
    helps = [
        {action.dest: action.help for action in parser._actions}
        for parser in (_command(make_parser(), "complete"), _command(escaped, "complete"))
    ]
    assert "\\n" in (helps[0]["stop"] or "")
    assert helps[1] == {name: (text or "").replace("\\", "\\\\") for name, text in helps[0].items()}


def _command(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    [commands] = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = commands[name]
    return found
