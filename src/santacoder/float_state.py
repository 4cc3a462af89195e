"""The state of floating point that results are defined for, whatever another library has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from santacoder._native import lib


@contextmanager
def default_float_state() -> Iterator[None]:
    """Round to nearest and keep subnormals while the block runs, on this thread; also a decorator.

    The kernels see to this themselves. NumPy, and numbers on their way to C, follow the state that they find.
    """
    state = lib.sc_float_state_default()
    try:
        yield
    finally:
        lib.sc_float_state_restore(state)
