"""The hub's local cache without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.paths import FILE

COMMIT = "0123456789" * 4


def fill(folder: Path) -> Path:
    """Put the repository 'owner/name' into a cache: a model and a README, at the branch main and the tag v1.

    Returns:
        The path of model.gguf.
    """
    repository = folder / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    for ref in ("main", "v1"):
        (repository / "refs" / ref).write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.gguf").symlink_to(FILE)
    (snapshot / "README.md").write_text("")
    return snapshot / "model.gguf"


def go_offline(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `folder` be the cache, and the network out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
