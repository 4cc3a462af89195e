"""PyTorch's own files: read by its safe loader, refused without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import checkpoint_builder as builder

pytest.importorskip("safetensors")

from tests.support.refusal import refusal


@pytest.fixture
def torch_checkpoint(tmp_path: Path) -> tuple[Any, dict[str, Any], Path]:
    """PyTorch, tensors for a checkpoint, and the checkpoint's folder, which lacks its pytorch_model.bin."""
    torch = pytest.importorskip("torch")
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    weights = builder.weights("split")
    return torch, {name: torch.from_numpy(values.copy()) for name, values in weights.items()}, folder


def test_torch_tensors_that_are_not_whole(tmp_path: Path, torch_checkpoint: tuple[Any, dict[str, Any], Path]) -> None:
    torch, tensors, folder = torch_checkpoint
    name = "transformer.wpe.weight"
    for bad in (tensors[name].to_sparse(), tensors[name][:1].clone().expand(len(tensors[name]), -1)):
        torch.save(tensors | {name: bad}, folder / "pytorch_model.bin")
        expected = f"pytorch_model.bin: '{name}' is sparse or repeats its values: store it whole"
        assert refusal(tmp_path, folder).replace("tensor ", "") == expected


def test_torch_files_without_values(tmp_path: Path, torch_checkpoint: tuple[Any, dict[str, Any], Path]) -> None:
    torch, tensors, folder = torch_checkpoint
    name = "transformer.wpe.weight"
    torch.save(tensors | {name: tensors[name].to("meta")}, folder / "pytorch_model.bin")
    expected = f"pytorch_model.bin: tensor '{name}' is on the device meta and has no values here"
    assert refusal(tmp_path, folder) == expected
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert refusal(tmp_path, folder) == "pytorch_model.bin is empty"


def test_without_torch(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    code = "import sys; sys.modules['torch'] = None; from santacoder.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "convert", str(folder), "--out", str(tmp_path / "m.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "santacoder: pytorch_model.bin is a pickle, which only PyTorch's safe loader may read: install torch, "
        "or take a revision that has model.safetensors\n"
    )
    assert done.returncode == 1
    assert not (tmp_path / "m.gguf").exists()


def test_pytorch_files_that_are_none(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin: PyTorch's safe loader refuses it: " in refusal(tmp_path, folder)
    torch.save([1], folder / "pytorch_model.bin")
    assert refusal(tmp_path, folder) == "pytorch_model.bin holds a list, not a dictionary of tensors"
    torch.save({"a": [1]}, folder / "pytorch_model.bin")
    assert refusal(tmp_path, folder) == "pytorch_model.bin: 'a' holds a list, not a tensor"
