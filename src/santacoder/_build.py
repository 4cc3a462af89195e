"""Build description of `santacoder._native`: the C engine, wrapped by cffi in API mode for the stable ABI."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")  # setup.py runs in the project's root


HEADERS = ("santacoder.h", "attribution/attribution.h")  # what Python calls


def _declarations(name: str) -> str:
    """Return the part of a header that cffi mirrors."""
    header = (CSRC / name).read_text(encoding="utf-8")
    _, _, rest = header.partition("/* cffi reads the declarations from here on. */")
    declarations, _, _ = rest.partition("/* cffi stops here. */")
    return declarations


#: For Windows, also where another system compiles for it.
WINDOWS = sysconfig.get_platform().startswith(("win", "mingw"))
THREADS = [] if WINDOWS else ["-pthread"]

ffi = FFI()
for name in HEADERS:
    ffi.cdef(_declarations(name))
ffi.set_source(
    "santacoder._native",
    "".join(f'#include "{name}"\n' for name in HEADERS),
    sources=[path.as_posix() for path in sorted(CSRC.rglob("*.c"))],
    depends=[path.as_posix() for path in sorted(CSRC.rglob("*.h"))],
    include_dirs=[CSRC.as_posix()],
    # -O2 after Python's own -O3, and no unrolling by clang: loops are unrolled where the kernels say so. Contraction
    # would change bits.
    extra_compile_args=[
        "-std=c11",
        "-O2",
        "-fno-unroll-loops",
        "-g0",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fvisibility=hidden",
        *THREADS,
    ],
    extra_link_args=THREADS,
    libraries=["python3", "api-ms-win-core-synch-l1-2-0"] if WINDOWS else [],
)
