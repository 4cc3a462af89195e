"""Lists the models on this machine: the packaged one, GGUF files in the hub's cache, and converted checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from santacoder.errors import ModelFormatError, ModelNotFoundError
from santacoder.gguf.config_reader import read_config
from santacoder.gguf.facts import FileFacts, file_facts
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.split import part_names
from santacoder.sources.converted import converted_models
from santacoder.sources.model_name import PACKAGED
from santacoder.sources.packaged import packaged_model


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model on this machine.

    Attributes:
        name: what finds it, as --model takes it.
        facts: about its file, or None if that cannot be read.
        problem: why it cannot run, or "".
    """

    name: str
    facts: FileFacts | None
    problem: str = ""


def installed_models(cache_dir: str | os.PathLike[str] | None = None) -> Iterator[InstalledModel]:
    """Yield the packaged model, then those of the hub's cache and converted checkpoints, both by name.

    `cache_dir` is the folder of the hub's cache, with the one of converted checkpoints in it; None is the usual ones.
    """
    with suppress(ModelNotFoundError):
        yield _look_at(PACKAGED, packaged_model())
    yield from (_look_at(name, path) for name, path in sorted(_cached_files(cache_dir).items()))
    yield from (_look_at(model.path, Path(model.path)) for model in converted_models(cache_dir))


def _cached_files(cache_dir: str | os.PathLike[str] | None) -> dict[str, Path]:
    """Return the GGUF files of the cache by name: OWNER/NAME:FILE. Of several revisions, that of main or the newest."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE if cache_dir is None else os.fspath(cache_dir))
    except (CacheNotFound, ValueError, OSError):  # there is none, or it is a file
        return {}
    found = {}
    for repository in cache.repos:
        if repository.repo_type != "model":
            continue
        for revision in sorted(repository.revisions, key=lambda each: ("main" in each.refs, each.last_modified)):
            for file in revision.files:
                name = file.file_path.relative_to(revision.snapshot_path).as_posix()
                if name.lower().endswith(".gguf") and part_names(name)[0] == name:
                    found[f"{repository.repo_id}:{name}"] = file.file_path
    return found


def _look_at(name: str, path: Path) -> InstalledModel:
    try:
        facts = file_facts(path)
    except (ModelFormatError, OSError) as error:
        return InstalledModel(name, None, str(error))
    try:
        with GGUFFile.open(path) as file:
            read_config(file)
    except ModelFormatError as error:
        return InstalledModel(name, facts, str(error))
    return InstalledModel(name, facts)
