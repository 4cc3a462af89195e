"""The machine that computes, for reports."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from santacoder._version import __version__
from santacoder.engine.cpus import default_threads
from santacoder.engine.isa import available, isa

PACKAGES: Final = ("numpy", "cffi", "gguf", "tokenizers", "huggingface_hub")


def describe_machine() -> dict[str, Any]:
    """Describe the CPU, the system and the versions, as JSON values."""
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "isa": isa(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "santacoder": __version__,
    }


def describe_system() -> dict[str, Any]:
    """Describe what a report of an error should say: the machine, and what the library makes of it, as JSON values."""
    library, release = platform.libc_ver()
    return {
        **describe_machine(),
        "release": platform.release(),
        "c_library": f"{library} {release}".strip() or None,
        "available_isas": available(),
        "threads": default_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # in a frozen program
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
