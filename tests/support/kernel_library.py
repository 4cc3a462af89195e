"""Single kernels from Python, for tests and benchmarks.

The C sources are compiled once more, with tests/kernels: to a library whose `shim_` functions call one
kernel, and to the check tool.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from santacoder._native import lib as native
from santacoder.engine.isa import LEVELS
from tests.support.paths import ROOT

FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-pthread"]
FLOATS = ("F32", "F16", "BF16")
#: Types in blocks of 256 columns.
SUPERBLOCKS = ("Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "IQ4_XS")
#: Types in blocks of 32 columns.
GROUPED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL")
#: type -> (layout of the source, packed format); the last is what a type without a kernel becomes.
FORMATS = {name: (getattr(native, f"SC_{name}"),) * 2 for name in (*FLOATS, *SUPERBLOCKS, *GROUPED)}
#: 256 columns of one token as the kernels take them: sc_act in csrc/layout.h.
ACT = np.dtype(
    [
        ("q", "i1", 256),
        *((name, "i2", 8) for name in ("factor", "sum", "zero32")),
        ("scale", "f4"),
        ("padding", "f4", 3),
        ("zero16", "i2", 16),
        ("group_scale", "f4", 8),
    ]
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Built:
    """The compiled csrc and tests/kernels."""

    library: ctypes.CDLL
    tool: Path


@cache
def build(folder: Path) -> Built:
    """Compile into a new folder, once per session: tests and benchmarks may run in the same."""
    folder.mkdir()
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "clang"

    def run(*arguments: str) -> None:
        done = subprocess.run([compiler, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def compile_one(source: Path) -> None:
        run(*FLAGS, f"-I{ROOT / 'csrc'}", "-c", str(source))

    sources = [*(ROOT / "csrc").rglob("*.c"), *(ROOT / "tests" / "kernels").glob("*.c")]
    sources.sort(key=lambda path: not path.name.startswith("isa_"))  # the long ones first
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, sources))
    objects = [path.with_suffix(".o").name for path in sources]
    run(*FLAGS, "-shared", *objects, "-o", "kernels.so", "-lm")
    run(*FLAGS, *objects, "-o", "check_kernels", "-lm")
    return Built(ctypes.CDLL(str(folder / "kernels.so")), folder / "check_kernels")


@dataclass(frozen=True)
class Kernels:
    """The kernels of one instruction set."""

    library: ctypes.CDLL
    isa: str

    def call(self, name: str, *arguments: Any) -> None:
        """Call shim_NAME of this level: arrays become pointers, int size_t, float float."""
        self.plain(name, ctypes.c_int(LEVELS[self.isa]), *arguments)

    def plain(self, name: str, *arguments: Any) -> int:
        """Call shim_NAME, which has no level."""
        return int(self.library[f"shim_{name}"](*map(_c_value, arguments)))


def _c_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    return (
        ctypes.c_size_t(value)
        if isinstance(value, int)
        else ctypes.c_float(value)
        if isinstance(value, float)
        else value
    )


def packed(kernels: Kernels, type_name: str, blocks: bytes, rows: int, columns: int) -> NDArray[np.uint8]:
    """(pairs of panels, bytes of one)."""
    source, packed_format = FORMATS[type_name]
    pair_bytes = kernels.plain("pair_bytes", ctypes.c_int(packed_format), columns)
    panels = np.zeros((-(-rows // 32), pair_bytes), np.uint8)
    raw = np.frombuffer(blocks, np.uint8)
    assert kernels.plain("pack", ctypes.c_int(source), raw, rows, columns, ctypes.c_int(packed_format), panels) == 0
    return panels


def quantize(kernels: Kernels, x: NDArray[np.float32]) -> Array:
    """(tokens, columns) to (columns / 256, tokens) blocks."""
    tokens, columns = x.shape
    blocks = np.full((-(-columns // 256), tokens), 0xFF, np.uint8).repeat(ACT.itemsize, -1).view(ACT)
    for t in range(tokens):
        kernels.call("quantize", x[t], columns, blocks[0, t:], tokens)
    return blocks
