"""Finds the weights files of a checkpoint, and reads which tensors they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from santacoder._util.json_file import read_object
from santacoder._util.validation import format_value, printable
from santacoder.conversion.safetensors_file import missing_safetensors, read_safetensors
from santacoder.conversion.stored import StoredTensor
from santacoder.conversion.torch_file import missing_torch, read_torch
from santacoder.errors import ModelFormatError
from santacoder.sources.hub import listing

#: The ways to store weights, best first: one file, or an index with the files' pattern; and the function to read them.
_KINDS: Final[tuple[tuple[str, str | None, Callable[[Path], list[StoredTensor]]], ...]] = (
    ("model.safetensors", None, read_safetensors),
    ("model.safetensors.index.json", "model-*.safetensors", read_safetensors),
    ("pytorch_model.bin", None, read_torch),
    ("pytorch_model.bin.index.json", "pytorch_model-*.bin", read_torch),
)
_PLAIN_NAME: Final = re.compile(r"\w[\w.-]*")  # no folder, no drive, not ".."


def weights_files(place: str, names: Iterable[str]) -> list[str]:
    """Return the files in a folder or repository that hold the weights, their index included.

    Raises:
        ModelFormatError: none does.
    """
    names = sorted(names)
    for first, pattern, _ in _KINDS:
        if first in names:
            return [first, *(name for name in names if pattern is not None and fnmatchcase(name, pattern))]
    expected = ", ".join(first for first, *_ in _KINDS)
    raise ModelFormatError(f"{place} has no weights (none of {expected}); {listing(names)}")


def check_reader(name: str) -> None:
    """Check that the package which reads a weights file of this name is installed.

    Raises:
        MissingPackageError: it is not.
    """
    package, error = ("torch", missing_torch) if name.startswith("pytorch_") else ("safetensors", missing_safetensors)
    if find_spec(package) is None:
        raise error(name)


def is_weights_file(name: str) -> bool:
    """Return whether a file of this name in a checkpoint's folder would count as its weights, or as their index."""
    return any(name == first or (pattern is not None and fnmatchcase(name, pattern)) for first, pattern, _ in _KINDS)


def read_weights(folder: Path, place: str) -> tuple[list[Path], dict[str, StoredTensor]]:
    """Return the files that hold weights, and their tensors by name; no tensor is read yet.

    Raises:
        ModelFormatError: there are none, the index does not fit them, or a file is damaged.
        MissingPackageError: the package that reads them is not installed.
    """
    [first, *_] = weights_files(place, [path.name for path in folder.iterdir()])
    pattern, read = next((pattern, read) for name, pattern, read in _KINDS if name == first)
    if not (folder / first).is_file():
        raise ModelFormatError(f"{first} is not a file")
    if pattern is None:
        return [folder / first], _unique(read(folder / first))
    index = _read_index(folder / first, pattern)
    files = [folder / name for name in sorted(set(index.values()))]
    for path in files:
        if not path.is_file():
            raise ModelFormatError(f"{first} names {path.name}, which is not there")
    tensors = _unique(tensor for path in files for tensor in read(path))
    for name, file in index.items():
        if name not in tensors or tensors[name].file != file:
            raise ModelFormatError(f"{first} places tensor {printable(name)} in {file}, which does not hold it")
    for name in tensors:
        if name not in index:
            raise ModelFormatError(f"{first} does not list tensor {printable(name)}, which {tensors[name].file} holds")
    return files, tensors


def _unique(tensors: Iterable[StoredTensor]) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for tensor in tensors:
        if tensor.name in found:
            raise tensor.error(f"is in {found[tensor.name].file} too")
        found[tensor.name] = tensor
    return found


def _read_index(path: Path, pattern: str) -> dict[str, str]:
    """Return the file of each tensor; only plain names are accepted, so that no file outside the folder is read."""
    places: Any = read_object(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelFormatError(f"{path.name} has no weight_map")
    for name, file in places.items():
        if not isinstance(file, str) or not _PLAIN_NAME.fullmatch(file) or not fnmatchcase(file, pattern):
            raise ModelFormatError(
                f"{path.name} places tensor {printable(name)} in {format_value(file)}, "
                f"but only files {pattern} of its folder are read"
            )
    return places
