"""Documents: Python examples run, commands parse, and what they name exists."""

from __future__ import annotations

import importlib.metadata
import re
import shlex

import pytest

from santacoder.cli import make_parser
from tests.support.paths import ROOT

PATHS = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "bench/README", "bench/results/RESULTS")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PATHS}


def blocks(language: str) -> list[str]:
    """All blocks of a language."""
    return [
        block
        for text in TEXTS.values()
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


COMMANDS = [
    words
    for block in blocks("sh")
    for line in block.replace("\\\n", "").splitlines()
    for part in line.split(" && ")
    if (words := shlex.split(part.removeprefix("$ "), comments=True))
]
EXTRAS = importlib.metadata.metadata("santacoder").get_all("Provides-Extra") or []


@pytest.mark.parametrize("code", blocks("python"))
def test_example_runs(code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(code, "an example", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_parses(words: list[str]) -> None:
    """Ours with its own parser. Of others none but pip, pytest and Python are asked for."""
    program, *arguments = words
    if program == "santacoder":
        assert make_parser(arguments).parse_args(arguments)
    elif program == "pip":
        [what] = arguments[1:]
        assert arguments[0] == "install"
        assert set(re.findall(r"[\w-]+", what)) <= {*EXTRAS, "santacoder"}
    else:
        assert program in ("python", "pytest")


def test_there_are_examples_and_commands() -> None:
    assert len(blocks("python")) >= 2
    assert {words[0] for words in COMMANDS} >= {"santacoder", "pip", "pytest"}


@pytest.mark.parametrize("name", TEXTS)
def test_links_to_files_exist(name: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[name]) if "://" not in target]
    assert [target for target in targets if not ((ROOT / name).parent / target).exists()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_exist(name: str) -> None:
    """Of the checkout; a star stands for several, and NAME for the reader's own."""
    named = re.findall(r"(?<![\w/.])((?:tests|bench|tools|docs|csrc)/[\w./*-]*\w)", TEXTS[name])
    assert [path for path in named if "NAME" not in path and not list(ROOT.glob(path))] == []


@pytest.mark.parametrize("name", TEXTS)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z][\w-]*)", TEXTS[name])) <= targets


def test_links_are_found() -> None:
    assert "docs/explanation/numerics.md" in re.findall(r"\]\(([^)#]+)\)", TEXTS["README.md"])


GLOSSARY = re.findall(r"^\*\*(.+?)\*\*(.*?)(?=^\*\*|\Z)", TEXTS["docs/glossary.md"], re.MULTILINE | re.DOTALL)


def test_glossary_is_in_order() -> None:
    terms = [term for term, _ in GLOSSARY]
    assert len(terms) >= 50
    assert terms == sorted(set(terms), key=str.casefold)


def test_glossary_names_files_that_exist() -> None:
    """Every term at least one, of the package too."""
    files = {term: re.findall(r"`([\w./]+\.(?:c|h|py|md))`", text) for term, text in GLOSSARY}
    assert [term for term, paths in files.items() if not paths] == []
    assert [path for paths in files.values() for path in paths if not (ROOT / path).is_file()] == []
