"""Nothing that a file says is run, unpickled, opened or fetched."""

from __future__ import annotations

import ast
import builtins
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import santacoder
from tests.support import malformed

PACKAGE = Path(santacoder.__file__).parent
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "subprocess",
    "jinja2",
    "urllib",
    "http",
    "socket",
}
#: Modules that run a model's programs, isolated, only with `santacoder eval ... --allow-code-execution`; those of
#: the server, for the names of states, the parts of URLs, and the socket that `santacoder serve` listens on; and
#: one that writes addresses.
ALLOWED = {
    "attribution/report.py": {"import urllib"},
    "harness/sandbox/runner.py": {"import subprocess"},
    "harness/sandbox/child.py": {"call exec", "call compile"},
    "server/exchange.py": {"import urllib"},
    "server/fields.py": {"import urllib"},
    "server/gate.py": {"import urllib"},
    "server/protocol.py": {"import http"},
    "server/serving.py": {"import socket"},
}


def used(tree: ast.AST) -> Iterator[str]:
    """The modules that are imported, and the functions that are called by their plain name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name.split('.')[0]}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"import {(node.module or '').split('.')[0]}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield f"call {node.func.id}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_code_that_runs_data(path: Path) -> None:
    found = set(used(ast.parse(path.read_text(encoding="utf-8"))))
    found -= ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())
    assert not found & {f"call {name}" for name in FORBIDDEN_CALLS}
    assert not found & {f"import {name}" for name in FORBIDDEN_MODULES}


def test_paths_urls_and_templates_in_a_file_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bait = tmp_path / "bait"
    bait.write_text("secret")
    out = malformed.model()
    for key in ("general.source.url", "general.repo_url", "tokenizer.huggingface.json", "general.file", "general.name"):
        out.set(key, str(bait))
    out.set(
        "tokenizer.chat_template", "{{ ''.__class__.__mro__[1].__subclasses__() }}{% include '" + str(bait) + "' %}"
    )
    out.set("general.name", "%s%n{0.__class__}${HOME}")
    path = tmp_path / "m.gguf"
    path.write_bytes(out.build())
    with santacoder.load(path, threads=1) as model:  # what is imported on the way is imported now
        assert model.config.name == "%s%n{0.__class__}${HOME}"
        assert "%s%n{0.__class__}${HOME}" in repr(model)

    opened: list[str] = []

    def watch(module: Any, name: str) -> None:
        real = getattr(module, name)

        def watched(target: Any, *arguments: Any, **options: Any) -> Any:
            opened.append(os.fsdecode(target) if isinstance(target, (str, bytes, os.PathLike)) else "a descriptor")
            return real(target, *arguments, **options)

        monkeypatch.setattr(module, name, watched)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked for")

    watch(os, "open")
    watch(builtins, "open")
    watch(io, "open")
    monkeypatch.setattr(socket, "socket", refused)
    with santacoder.load(path, threads=1) as model:
        model.complete([0], max_tokens=1, ignore_eos=True)
    assert set(opened) == {str(path)}
