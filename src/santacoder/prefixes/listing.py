"""What is in a prefix cache, for people, and how to remove it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from santacoder._util.private_folder import entries, missing_feature, private_folder, remove
from santacoder.errors import InvalidRequestError
from santacoder.prefixes.eviction import model_folders, remove_files, stored_files
from santacoder.prefixes.model_notes import NAME, NOTE, noted_name
from santacoder.prefixes.place import prefix_folder

TYPE: Final = "prefixes"
_VERSION_LETTERS: Final = 12


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The prompts of a model in a prefix cache.

    Attributes:
        path: the folder of their blocks.
        source: the name of the model's file.
        version: the beginning of the fingerprint of its weights.
        type: "prefixes".
        file_bytes: what the blocks take of the disk.
    """

    path: str
    source: str
    version: str
    type: str
    file_bytes: int


def stored_models(cache_dir: str | os.PathLike[str] | None = None) -> Iterator[StoredModel]:
    """Yield the models that have blocks in the usual folder; with `cache_dir`, the hub's cache, in the one in that."""
    if missing_feature() is not None:
        return
    for folder in model_folders(prefix_folder(cache_dir)):
        size = sum(file.disk_bytes for file in stored_files(folder, time.time_ns()))
        if size:
            yield StoredModel(str(folder), noted_name(folder), folder.name[:_VERSION_LETTERS], TYPE, size)


def clear(cache_dir: str | os.PathLike[str] | None = None) -> list[StoredModel]:
    """Remove all blocks and notes of a prefix cache, and return what it had; processes that use it may go on."""
    removed = list(stored_models(cache_dir))
    place = prefix_folder(cache_dir)
    if missing_feature() is not None:
        return removed
    for folder in model_folders(place):
        remove_files(list(stored_files(folder, time.time_ns())))
        with suppress(OSError, InvalidRequestError):
            with private_folder(folder) as descriptor:
                remove(descriptor, NAME)
            folder.rmdir()
    with suppress(OSError, InvalidRequestError), private_folder(place) as descriptor:
        for entry in list(entries(descriptor)):
            if NOTE.fullmatch(entry.name):
                remove(descriptor, entry.name)
    return removed
