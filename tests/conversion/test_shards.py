"""Weights in several files: an index that points elsewhere, or that the files contradict."""

# ruff: noqa: E501 (tables of messages, one to a line)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import checkpoint_builder as builder

pytest.importorskip("safetensors")

from tests.support.refusal import LN_1, refusal

INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))


def sharded(folder: Path) -> dict[str, str]:
    """A checkpoint in two files; the index's map."""
    builder.write_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    tensors = builder.weights("split")
    names = list(tensors)
    places: dict[str, str] = {}
    for file, part in ((FIRST, names[:9]), (SECOND, names[9:])):
        (folder / file).write_bytes(builder.safetensors({name: tensors[name] for name in part}))
        places |= dict.fromkeys(part, file)
    return places


@pytest.mark.parametrize(
    "file", ["../c/model.safetensors", "/etc/passwd", "a/model-1.safetensors", "model-/../../c/model-1.safetensors", "..", "", "model.safetensors", 7, None, "model-1.bin", "model-1\\x.safetensors"]
)  # fmt: skip
def test_an_index_that_points_elsewhere(tmp_path: Path, file: Any) -> None:
    places = sharded(tmp_path / "c")
    builder.write_json(tmp_path / "c" / INDEX, {"weight_map": places | {LN_1: file}})
    message = f"{INDEX} places tensor {LN_1} in {file!r}, but only files model-*.safetensors of its folder are read"
    assert refusal(tmp_path, tmp_path / "c") == message


def test_an_index_that_does_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    places = sharded(folder)
    wte = "transformer.wte.weight"
    cases: list[tuple[Any, str]] = [
        ({}, f"{INDEX} has no weight_map"),
        ({"weight_map": []}, f"{INDEX} has no weight_map"),
        (
            {"weight_map": places | {wte: "model-9.safetensors"}},
            f"{INDEX} names model-9.safetensors, which is not there",
        ),
        ({"weight_map": places | {wte: SECOND}}, f"{INDEX} places tensor {wte} in {SECOND}, which does not hold it"),
        ({"weight_map": places | {"odd": SECOND}}, f"{INDEX} places tensor odd in {SECOND}, which does not hold it"),
        ({"weight_map": {k: v for k, v in places.items() if k != wte}}, f"{INDEX} does not list tensor {wte}, which"),
    ]
    for index, message in cases:
        builder.write_json(folder / INDEX, index)
        assert refusal(tmp_path, folder).startswith(message)
    (folder / INDEX).write_text("[" * 100_000)
    assert f"{INDEX} is not JSON: " in refusal(tmp_path, folder)
    data = (folder / FIRST).read_bytes()
    (folder / SECOND).write_bytes(data)
    builder.write_json(folder / INDEX, {"weight_map": places})
    assert "is in model-00001-of-00002.safetensors too" in refusal(tmp_path, folder)
