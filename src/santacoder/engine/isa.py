"""Chooses the instruction set of the kernels: the best that the CPU has, or what SANTACODER_ISA forces."""

from __future__ import annotations

import os
from typing import Final

import _cffi_backend  # noqa: F401 - `_native` imports it from C, which tools that freeze programs do not see

from santacoder._native import lib
from santacoder.errors import UnsupportedISAError

#: Level by name, in rising order within each family of CPUs.
LEVELS: Final[dict[str, int]] = {
    "scalar": lib.SC_ISA_SCALAR,
    "sse41": lib.SC_ISA_SSE41,
    "avx2": lib.SC_ISA_AVX2,
    "avxvnni": lib.SC_ISA_AVXVNNI,
    "avx512": lib.SC_ISA_AVX512,
    "amx": lib.SC_ISA_AMX,
    "neon": lib.SC_ISA_NEON,
    "neon_dotprod": lib.SC_ISA_NEON_DOTPROD,
}
VARIABLE: Final = "SANTACODER_ISA"


def available() -> list[str]:
    """Return the instruction sets that this CPU can run, slowest first."""
    return [name for name, level in LEVELS.items() if lib.sc_isa_available(level)]


def active() -> int:
    """Return the level to run: SANTACODER_ISA if it is set, else the best.

    Raises:
        UnsupportedISAError: SANTACODER_ISA names an unknown instruction set, or one that this CPU lacks.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return lib.sc_isa_best()
    if wanted not in LEVELS:
        raise UnsupportedISAError(f"{VARIABLE} is {wanted!r}, but it must be one of {', '.join(LEVELS)}")
    if not lib.sc_isa_available(LEVELS[wanted]):
        raise UnsupportedISAError(f"{VARIABLE} is {wanted!r}, but this CPU only has {', '.join(available())}")
    return LEVELS[wanted]


def name(level: int) -> str:
    """Return the name of a level."""
    return next(name for name, value in LEVELS.items() if value == level)


def isa() -> str:
    """Return the instruction set that models loaded now will use: "avx512" for example.

    Raises:
        UnsupportedISAError: SANTACODER_ISA names an unknown one, or one that this CPU lacks.
    """
    return name(active())
