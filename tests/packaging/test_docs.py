"""Documents: their code runs and prints what they say, commands parse, links lead somewhere, named files exist."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import santacoder
from santacoder.cli import make_parser
from santacoder.decoding.options import SamplingOptions
from santacoder.hf import GenerationConfig
from tests.support.documents import Document
from tests.support.paths import ROOT
from tests.support.reader_desk import RUN, ReaderDesk, runnable

DOCUMENTS = {
    str(path.relative_to(ROOT)): Document.read(path)
    for path in (
        *(
            ROOT / f"{name}.md"
            for name in (
                "README",
                "CONTRIBUTING",
                "RELEASING",
                "SECURITY",
                "bench/README",
                "bench/results/RESULTS",
                "examples/README",
            )
        ),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / ".github").rglob("*.md")),
    )
}
PAGES = [name for name in DOCUMENTS if name == "README.md" or name.startswith("docs/")]
PACKAGE = Path(santacoder.__file__).parent
EXTRAS = importlib.metadata.metadata("santacoder").get_all("Provides-Extra") or []


def commands(document: Document) -> list[str]:
    """All command lines of blocks for a shell, without continuation lines."""
    lines = []
    for block in document.blocks:
        text = block.code.replace("\\\n", "")
        if block.language == "sh":
            lines += text.splitlines()
        elif block.language == "console":
            lines += [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return lines


def programs(line: str) -> list[list[str]]:
    """The words of each program that a command line starts."""
    programs: list[list[str]] = [[]]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    for word in lexer:
        if word in ("&&", "|"):
            programs.append([])
        elif word in ("<", ">"):
            next(lexer)
        else:
            programs[-1].append(word)
    return [words for words in programs if words]


COMMANDS = [words for document in DOCUMENTS.values() for line in commands(document) for words in programs(line)]


@pytest.mark.parametrize("name", PAGES)
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks run in order, in one folder, and print what the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SANTACODER_MODEL", raising=False)
    desk = ReaderDesk(tmp_path)
    try:
        for block, expected in runnable(DOCUMENTS[name]):
            printed = desk.run(block, str(ROOT / name))
            if block.language == "console":
                assert printed == block.code, f"{name}:{block.line}"
            if expected is not None:
                assert printed == expected.code, f"{name}:{expected.line}"
    finally:
        desk.close()


@pytest.mark.parametrize("name", PAGES)
def test_blocks_are_run_or_say_why_not(name: str) -> None:
    """Every block runs, except output and blocks that a comment marks."""
    blocks = DOCUMENTS[name].blocks
    assert [b.line for b in blocks if b.language not in RUN and not b.prints and b.not_run is None] == []
    assert [b.line for b in blocks if b.prints and b.language != "text"] == []


def test_most_blocks_run() -> None:
    blocks = [block for name in PAGES for block, _ in runnable(DOCUMENTS[name])]
    for language, least in (("python", 30), ("console", 3), ("sh", 5)):
        assert sum(block.language == language for block in blocks) >= least


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_parses(words: list[str]) -> None:
    """Ours are parsed by the command itself; others may only use a few programs."""
    program, *arguments = words
    if program == "santacoder":
        assert make_parser(arguments).parse_args(arguments)
    elif program == "pip":
        [what] = arguments[1:]
        assert arguments[0] == "install"
        assert what == "pre-commit" or set(re.findall(r"[\w-]+", what)) <= {*EXTRAS, "santacoder"}
    else:
        assert Path(program).name in ("python", "pytest", "pre-commit", "make", "grep", "llm")


def test_there_are_commands() -> None:
    assert {words[0] for words in COMMANDS} >= {"santacoder", "pip", "pytest"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """To a file of the checkout, and to a heading of it; links to other places are not followed."""
    dead = []
    for link in DOCUMENTS[name].links:
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        if not path.exists() or (anchor and anchor not in Document.read(path).anchors):
            dead.append(link)
    assert dead == []


def test_every_page_can_be_reached() -> None:
    """From the README, by links."""
    reached, found = set[str](), ["README.md"]
    while found:
        name = found.pop()
        reached.add(name)
        for link in DOCUMENTS[name].links:
            target = ((ROOT / name).parent / link.partition("#")[0]).resolve()
            relative = str(target.relative_to(ROOT)) if target.is_relative_to(ROOT) else ""
            if relative in DOCUMENTS and relative not in reached:
                found.append(relative)
    assert set(PAGES) <= reached


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name: str) -> None:
    """Files of the checkout or the installed package; a star stands for several, and NAME for the reader's own."""
    named = re.findall(
        r"(?<![\w/.])((?:src/santacoder|tests|bench|tools|docs|csrc|examples)/[\w./*-]*\w)", DOCUMENTS[name].text
    )
    missing = []
    for path in named:
        within = path.removeprefix("src/santacoder/")
        if "NAME" not in path and not list((PACKAGE if within != path else ROOT).glob(within)):
            missing.append(path)
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z][\w-]*)", DOCUMENTS[name].text)) <= targets


GLOSSARY = re.findall(r"^\*\*(.+?)\*\*(.*?)(?=^\*\*|\Z)", DOCUMENTS["docs/glossary.md"].text, re.MULTILINE | re.DOTALL)


def test_glossary_is_in_order() -> None:
    terms = [term for term, _ in GLOSSARY]
    assert len(terms) >= 50
    assert terms == sorted(set(terms), key=str.casefold)


def test_glossary_names_files_that_exist() -> None:
    """Every term names at least one file of the checkout or the package."""
    files = {term: re.findall(r"`([\w./]+\.(?:c|h|py|md))`", text) for term, text in GLOSSARY}
    assert [term for term, paths in files.items() if not paths] == []
    places = [
        PACKAGE / path.removeprefix("src/santacoder/") if path.startswith("src/santacoder/") else ROOT / path
        for paths in files.values()
        for path in paths
    ]
    assert [place for place in places if not place.is_file()] == []


def test_links_and_anchors_are_found(tmp_path: Path) -> None:
    """The tests above do find blocks, links and files."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` (c)\n\n# Twice\n# Twice\nSee [x](y.md#z), `[no](link)`.\n\n```sh\n[no](link)\n# none\n```\n"
    )
    document = Document.read(page)
    assert document.links == ["y.md#z"]
    assert document.anchors == {"a-b-c", "twice", "twice-1"}


def test_comments_belong_to_blocks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: a reason -->\n```sh\nx\n```\n\n<!-- prints -->\n\n```text\ny\n```\n")
    run, printed = Document.read(page).blocks
    assert (run.not_run, run.prints, run.line, run.code) == ("a reason", False, 3, "x\n")
    assert (printed.not_run, printed.prints, printed.line) == (None, True, 9)
    page.write_text("<!-- prints -->\nno block\n")
    with pytest.raises(ValueError, match=r":2: <!-- prints --> stands before no block of code"):
        Document.read(page)
    page.write_text("```sh\nx\n")
    with pytest.raises(ValueError, match=":1: the block does not end"):
        Document.read(page)
    page.write_text("- x\n  ```sh\n  x\n  ```\n")
    with pytest.raises(ValueError, match=":2: the fence is indented"):
        Document.read(page)


def test_migrating_names_all_options_of_ours() -> None:
    named = set(re.findall(r"[a-z_]\w+", DOCUMENTS["docs/migrating.md"].text))
    assert set(SamplingOptions.__annotations__) <= named
    assert {field.name for field in fields(GenerationConfig)} <= named


@pytest.mark.peer
def test_migrating_names_all_that_llama_cpp_python_has() -> None:
    """Every public method and attribute of `Llama`, and every parameter of those."""
    llama = pytest.importorskip("llama_cpp").Llama
    methods = [getattr(llama, name) for name in dir(llama) if not name.startswith("_")]
    wanted = {name for name in dir(llama) if not name.startswith("_")}
    for method in (llama.__init__, llama.__call__, *(method for method in methods if callable(method))):
        wanted |= set(inspect.signature(method).parameters)
    wanted -= {"self", "args", "kwargs", "a", "b", "axis"}
    assert wanted - set(re.findall(r"\w+", DOCUMENTS["docs/migrating.md"].text)) == set()


def test_contributing_has_every_package() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in packages if f"`{name}`" not in DOCUMENTS["CONTRIBUTING.md"].text} == set()
