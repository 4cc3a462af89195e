"""Completion in shells, and the manual page: both come from the declarations of the command line."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from santacoder.cli import COMMANDS, make_parser
from santacoder.cli.completion import SHELLS
from tests.support.command_line import fails, run_here
from tests.support.paths import ROOT
from tests.support.waiting import HANG

#: What bash offers for a command line whose last word is being typed.
OFFER = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
"$(complete -p santacoder | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p')" santacoder "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The long flags of a parser and of all its commands."""
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if flag.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        code, out, err = run_here("completion", shell)
        assert (code, err) == (0, "")
        (folder / shell).write_bytes(out)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_know_all_commands_and_options(scripts: Path, shell: str) -> None:
    text = (scripts / shell).read_text()
    flag = "-l {}" if shell == "fish" else "--{}"
    missing = [name for name in set(options_of(make_parser())) if flag.format(name[2:]) not in text]
    assert [*missing, *(name for name in COMMANDS if name not in text)] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_read_by_their_shell(scripts: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(scripts / shell)], check=True, timeout=HANG)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("comp",), {"complete", "completion"}),
        (("complete", "--top"), {"--top-k", "--top-p"}),
        (("convert", "--type", "q4"), {"q4_k_m", "q4_k_s", "q4_0"}),
        (("eval", "hum"), {"humaneval"}),
        (("complete", "-f", "co"), {"code.py"}),
        (("eval", "humaneval", "--out", "r"), {"runs"}),
    ],
)
def test_bash_offers(scripts: Path, tmp_path: Path, words: tuple[str, ...], offered: set[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    (tmp_path / "code.py").touch()
    (tmp_path / "readme").touch()
    (tmp_path / "runs").mkdir()
    command = ["bash", "-c", OFFER, "bash", str(scripts / "bash"), "santacoder", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG, check=True)
    assert {line.rstrip("/ ") for line in result.stdout.splitlines()} == offered


def test_without_shtab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert fails("completion", "bash") == "completion needs shtab: `pip install santacoder[completion]`"


def test_manual_page(tmp_path: Path) -> None:
    pytest.importorskip("argparse_manpage")
    command = ["make", "man", f"PYTHON={sys.executable}", f"BUILD={tmp_path}"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    subprocess.run(command, cwd=ROOT, check=True, timeout=HANG, stdout=subprocess.PIPE, env=environment)
    page = (tmp_path / "man" / "man1" / "santacoder.1").read_text().replace("\\-", "-")
    assert page.startswith('.TH SANTACODER "1" "1970-01-01" "santacoder ')
    assert [name for name in COMMANDS if f"COMMAND \\fI\\,'santacoder {name}'" not in page] == []
    assert [flag for flag in set(options_of(make_parser())) - {"--help"} if flag not in page] == []
