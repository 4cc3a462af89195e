"""Where PyInstaller, which asks by an entry point, finds the hook for programs that use this package."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folders with hooks."""
    return [str(Path(__file__).parent)]
