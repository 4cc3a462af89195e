"""Finds the packed weights of a GGUF file in the cache, packs them where there are none, and maps them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from santacoder._native import lib
from santacoder.engine.packed_file import PackedFileError, open_packed, verify_packed, write_packed
from santacoder.engine.threads import new_team, thread_count
from santacoder.engine.weight_plan import WeightPlan, plan_weights
from santacoder.engine.weights import Weights
from santacoder.gguf.config_reader import check_tensors, read_config
from santacoder.gguf.digest import open_sha256
from santacoder.gguf.reader import GGUFFile
from santacoder.sources.packed import PackedCache

if TYPE_CHECKING:
    from santacoder._native import Team


def map_weights(file: GGUFFile, plan: WeightPlan, team: Team, cache: PackedCache) -> Weights:
    """Map the packed weights of an open file; if they are missing or cannot be trusted, pack them first.

    Of several processes at once, one packs, and the others wait.

    Raises:
        OSError: they cannot be written or mapped.
        ModelFormatError: a weight or a block's scale is infinite or not a number.
    """
    known = cache.known_sha256(file.identities)
    if known is None:
        cache.prepare()  # where that fails, nothing need be read
    sha256 = known or open_sha256(file)
    path = cache.path(sha256, lib.SC_LAYOUT)
    weights = _open(path, plan, sha256)
    if weights is None:
        cache.prepare()
        with cache.lock():
            weights = _open(path, plan, sha256)
            if weights is None:
                cache.remove_leftovers()
                path.unlink(missing_ok=True)  # a link would be followed
                write_packed(path, file, plan, sha256, team)
                weights = open_packed(path, plan, sha256, gather=True)
    if known is None:
        cache.remember(file.identities, sha256, file.path)
    return weights


def _open(path: Path, plan: WeightPlan, sha256: str) -> Weights | None:
    """Map a file, or return None if it has to be packed (anew)."""
    try:
        return open_packed(path, plan, sha256)
    except (FileNotFoundError, PermissionError, PackedFileError):
        return None


def pack_model(path: str | os.PathLike[str], cache: PackedCache, threads: int | None = None) -> Path:
    """Pack the weights of a GGUF file into the cache unless they are there; return the path of the packed file.

    Raises:
        OSError: a file cannot be read or written.
        ModelFormatError: it is not a model that can run.
        InvalidRequestError: `threads` is out of range.
    """
    team = new_team(thread_count(threads))
    with GGUFFile.open(path) as file:
        weights = map_weights(file, _checked_plan(file), team, cache)
    assert weights.packed_file is not None
    return Path(weights.packed_file)


def verify_model(path: str | os.PathLike[str], cache: PackedCache) -> Path:
    """Check the packed weights of a GGUF file, every byte of both; return the path of the packed file.

    Raises:
        FileNotFoundError: they are not packed.
        OSError: a file cannot be read.
        PackedFileError: the packed file is damaged, or another user may have changed it.
        ModelFormatError: it is not a model that can run.
    """
    with GGUFFile.open(path) as file:
        plan, sha256 = _checked_plan(file), open_sha256(file)
        packed = cache.path(sha256, lib.SC_LAYOUT)
        try:
            verify_packed(packed, plan, sha256)
        except FileNotFoundError:
            problem = "there are no packed weights of this file: `santacoder pack` makes them"
            raise FileNotFoundError(errno.ENOENT, problem, file.path) from None
        cache.remember(file.identities, sha256, file.path)
    return packed


def _checked_plan(file: GGUFFile) -> WeightPlan:
    config = read_config(file)
    check_tensors(file, config)
    return plan_weights(file, config)
