"""Every malformed file of `malformed.py`, and damage at single bytes: loading succeeds or raises, and nothing else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import santacoder
from santacoder.gguf.reader import GGUFFile
from tests.support.malformed import Case, cases, flips, model, truncations

CASES = list(cases())
SEED = int(os.environ.get("SANTACODER_SEED", "1"))


def run_one_token(path: Path) -> bool:
    """Load a file and run a token if it loads; return whether it did."""
    with santacoder.load(path, threads=1) as model:
        try:
            return bool(model.complete([0], max_tokens=1, ignore_eos=True).tokens)
        except santacoder.NumericalError:  # finite weights can still overflow
            return False


def test_every_case_is_small_and_named_once() -> None:
    assert len(model().build()) < 4096
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 250


def test_cases_may_share_a_folder(tmp_path: Path) -> None:
    """As in `make soak`: no file affects the next."""
    for case in CASES:
        case.write(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    path = case.write(tmp_path)
    if case.problem is None:
        run_one_token(path)
    else:
        with pytest.raises(santacoder.ModelFormatError) as caught:
            santacoder.load(path, threads=1)
        assert case.problem.replace("{}", str(tmp_path)) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "problem", "message"),
    [
        ("", "the path is a directory, not a file", "has no GGUF file; it has no files"),
        ("a\0b", "the path holds a NUL character", "holds a NUL character"),
    ],
)
def test_paths_that_are_no_file(tmp_path: Path, name: str, problem: str, message: str) -> None:
    """To the reader; `load` looks for a model in a folder."""
    with pytest.raises(santacoder.ModelFormatError, match=problem):
        GGUFFile.open(tmp_path / name)
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        santacoder.load(tmp_path / name)


@pytest.mark.parametrize("weight_type", ["F16", "Q8_0"])
def test_damage(tmp_path: Path, weight_type: str) -> None:
    """A sample of all single-byte changes and truncations, drawn by SANTACODER_SEED; `make soak` tries every one."""
    quantised = {"width": 32, "hidden": 32} if weight_type == "Q8_0" else {}
    data = model(weight_type=weight_type, **quantised).build()
    draw = random.Random(SEED)
    path = tmp_path / "t.gguf"
    outcomes: set[bool | None] = set()
    for what, bad in [
        *flips(data, draw.sample(range(len(data)), 150)),
        *truncations(data, draw.sample(range(len(data)), 50)),
    ]:
        path.unlink(missing_ok=True)
        path.write_bytes(bad)
        try:
            outcomes.add(run_one_token(path))
        except santacoder.ModelFormatError as error:
            assert str(error).startswith(f"{path}: "), what  # noqa: PT017 (either outcome is right)
            outcomes.add(None)
    assert outcomes >= {None, True}
