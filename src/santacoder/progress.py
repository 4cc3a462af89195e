"""A progress bar on standard error."""

from __future__ import annotations

from typing import Any


def progress_bar(total: int, unit: str, shown: bool | None = None) -> Any:
    """A tqdm bar, gone when the work ends; None shows it on a terminal alone, and not for work of under a second."""
    from tqdm import tqdm  # comes with gguf

    disable = None if shown is None else not shown
    return tqdm(total=total, unit=f" {unit}", leave=False, disable=disable, delay=0.0 if shown else 1.0, smoothing=0.05)
