"""A progress bar on standard error."""

from __future__ import annotations

from typing import Any


def progress_bar(total: int, unit: str, shown: bool | None = None, done: int = 0) -> Any:
    """A tqdm bar, gone when the work ends; None shows it on a terminal alone, and not for work of under a second.

    `done` of the total were done before, and do not count for the rate.
    """
    from tqdm import tqdm  # comes with gguf

    disable = None if shown is None else not shown
    delay = 0.0 if shown else 1.0
    scaled = unit == "bytes"  # whose numbers are long: 1.2 G bytes
    return tqdm(
        total=total, unit=f" {unit}", unit_scale=scaled, leave=False, disable=disable, delay=delay, smoothing=0.05,
        initial=done,
    )  # fmt: skip
