"""What a tool that freezes programs, such as PyInstaller, must find out about the package without running it."""

from __future__ import annotations

import runpy
import sys
import types
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

import santacoder
from santacoder import _pyinstaller
from santacoder.cli import COMMANDS
from santacoder.errors import IsolationError
from santacoder.harness.sandbox.runner import check_isolation
from santacoder.sources.packaged import packaged_model
from tests.support.paths import ROOT

PACKAGE = Path(santacoder.__file__).parent
[HOOKS] = map(Path, _pyinstaller.hook_dirs())


def seen(folder: Path, program: str) -> set[str]:
    """The modules that a program's text imports; those outside the package are not followed."""
    (folder / "santacoder").symlink_to(PACKAGE)
    (folder / "program.py").write_text(program)
    finder = ModuleFinder([str(folder)])
    finder.run_script(str(folder / "program.py"))
    return {*finder.modules, *finder.badmodules}


def test_all_modules_are_imported_by_statements(tmp_path: Path) -> None:
    """The modules that the extension imports from C are found too, where such tools do not look."""
    modules = {f"santacoder.{module}" for module in santacoder._MODULES.values()}
    assert {"_cffi_backend", "numpy", *modules} <= seen(tmp_path, "import santacoder\nsantacoder.load()\n")


def hook(monkeypatch: pytest.MonkeyPatch, module: str, **functions: object) -> dict[str, object]:
    """What PyInstaller gets from the hook for a module, with these functions of its own."""
    for name in ("PyInstaller", "PyInstaller.utils", "PyInstaller.utils.hooks"):
        stub = types.ModuleType(name)
        vars(stub).update(functions)
        monkeypatch.setitem(sys.modules, name, stub)
    return runpy.run_path(str(HOOKS / f"hook-{module}.py"))


def test_the_packaged_model_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect_data_files(package: str, includes: list[str]) -> list[Path]:
        assert package == "santacoder"
        return [path for pattern in includes for path in PACKAGE.glob(pattern)]

    assert hook(monkeypatch, "santacoder", collect_data_files=collect_data_files)["datas"] == [packaged_model()]


def test_all_commands_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect_submodules(package: str) -> list[str]:
        paths = PACKAGE.parent.joinpath(*package.split(".")).rglob("*.py")
        return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]

    found = hook(monkeypatch, "santacoder.cli", collect_submodules=collect_submodules)["hiddenimports"]
    assert isinstance(found, list)
    assert {f"santacoder.cli.{name}" for name in COMMANDS if name not in ("attribute", "eval")} <= set(found)


def test_the_entry_point() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '[project.entry-points.pyinstaller40]\nhook-dirs = "santacoder._pyinstaller:hook_dirs"\n' in project
    assert f'"{_pyinstaller.__name__}"' in project  # among the packages


def test_a_frozen_program_executes_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen executable is not an interpreter: it would start itself again for each program."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(IsolationError, match=r"^a frozen program has no Python interpreter to execute others with$"):
        check_isolation()
