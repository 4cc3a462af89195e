"""The floating-point environment that results are defined for, whatever another library has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from santacoder._native import lib


@contextmanager
def default_fpenv() -> Iterator[None]:
    """Round to nearest, keep subnormals and raise nothing while the block runs, on this thread; also a decorator.

    The kernels do this themselves. NumPy, and numbers on their way to C, follow the current state, and NumPy raises or
    warns as `numpy.seterr` says. Here, code checks for non-finite values where they matter, and an underflow is a
    correct result.
    """
    state = lib.sc_fpenv_default()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        lib.sc_fpenv_restore(state)
