"""Sampler arrays beside a page that must not be touched: a read or write past them ends the process (check_kernels has
the same for all kernels)."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder._native import ffi, lib
from santacoder.decoding.sampler import Workspace
from santacoder.engine.isa import LEVELS, available
from tests.support.needs import needs_mprotect

pytestmark = needs_mprotect
PAGE = mmap.PAGESIZE


class Fenced:
    """Floats that end right before a forbidden page, or begin right after one."""

    def __init__(self, pages: int) -> None:
        self._map = mmap.mmap(-1, (pages + 2) * PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        self._inside = whole[PAGE:-PAGE].view(np.float32)
        libc = ctypes.CDLL(None, use_errno=True)
        for start in (whole.ctypes.data, whole.ctypes.data + (pages + 1) * PAGE):
            assert libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(PAGE), 0) == 0

    def floats(self, n: int, at_end: bool) -> NDArray[np.float32]:
        """Place n floats at one of the ends."""
        return self._inside[-n:] if at_end else self._inside[:n]


@pytest.fixture(scope="module")
def fence() -> Fenced:
    """Never unmapped, since it is small."""
    return Fenced(8)


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("at_end", [False, True])
def test_sampling(fence: Fenced, isa: str, at_end: bool) -> None:
    work = Workspace().memory
    random = np.random.default_rng(5)
    for n in [*range(1, 40), 255, 256, 257, 4095, 4096, 4097, *random.integers(1, 8192, 20).tolist()]:
        logits = fence.floats(n, at_end)
        plain = random.standard_normal(n).astype(np.float32)
        for t, k, p, least in (
            (1.0, 0, 1.0, 0.0),
            (0.7, min(n, 40), 1.0, 0.0),
            (0.7, 0, 0.9, 0.01),
            (2.0, n // 2, 0.5, 0.1),
        ):
            bits = ffi.new("uint64_t[]", random.integers(0, 1 << 63, 3).tolist())
            logits[:] = plain
            found = []
            for values in (logits, plain.copy()):
                tokens = ffi.new("int32_t[]", 3)
                assert lib.sc_sample(
                    LEVELS[isa], ffi.from_buffer("float[]", values), n, t, k, p, least, bits, 3, tokens, work
                )
                found.append(list(tokens))
            assert found[0] == found[1]
        logits[:] = plain
        fenced = ffi.from_buffer("float[]", logits)
        assert lib.sc_argmax(LEVELS[isa], fenced, n) == int(plain.argmax())
        place = int(random.integers(0, n))
        logits[place] = np.nan  # wherever it is, nothing is drawn
        assert lib.sc_argmax(LEVELS[isa], fenced, n) == -1
        assert not lib.sc_sample(LEVELS[isa], fenced, n, 1.0, 0, 1.0, 0.0, ffi.new("uint64_t[]", [1]), 1, tokens, work)
