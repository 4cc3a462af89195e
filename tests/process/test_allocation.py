"""Memory that runs out at any moment on the C side: every allocation fails once, from loading to the last token."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import santacoder
from santacoder._native import ffi, lib
from santacoder.engine import kv_cache
from tests.support import malformed
from tests.support.failing_allocator import PROGRAM, SOURCE
from tests.support.needs import needs_elf, needs_proc
from tests.support.paths import FILE
from tests.support.samples import CODE
from tests.support.waiting import HANG


@pytest.fixture(scope="module")
def allocator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("native") / "failing_allocator.so"
    done = subprocess.run(
        [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return library


@needs_elf
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer has allocators of its own")
def test_every_allocation_fails_once(allocator: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(malformed.model(context=64).build())
    environment = {**os.environ, "LD_PRELOAD": str(allocator), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = [sys.executable, "-c", PROGRAM, str(allocator), str(path)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    total, errors, refused, guesses = map(int, done.stdout.split())
    assert total == errors + refused + guesses
    # The team's three, the weights, the engine's two; two threads besides the caller; three of each store to guess
    # from: the texts and the earlier answers of the model's request and of the session's.
    assert (errors, refused, guesses) == (6, 2, 12)


@needs_proc
@pytest.mark.parametrize("size", [0, 1, (1 << 21) - 1, 1 << 21, (1 << 21) + 1])
def test_what_is_allocated_is_there(size: int) -> None:
    """In whole huge pages, zeroed, until it is released; no bytes have a place too."""
    huge, times = 1 << 21, 1000

    def mapped() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmSize:")[1].split()[0]) << 10

    memory = lib.sc_allocate(size)
    contents = np.frombuffer(ffi.buffer(memory, -(-max(size, 1) // huge) * huge), np.uint8)
    assert not contents.any()
    contents[-1] = 1
    lib.sc_release(memory, size)
    before = mapped()
    for _ in range(times):
        lib.sc_release(lib.sc_allocate(size), size)
    assert mapped() - before < times * huge // 2


def test_every_block_of_the_cache_fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other memory of a generation: NumPy's."""
    make, calls, failing = kv_cache.new_block, 0, 0

    def new_block(size: int) -> NDArray[np.uint8]:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise MemoryError("no memory")
        return make(size)

    def answers() -> list[list[int]]:
        model._scheduler.forget()
        options = {"max_tokens": 20, "temperature": 1.0, "seed": 1, "ignore_eos": True}
        found = model.complete_many([CODE, CODE[:60], "a" * 120], n=2, **options)  # type: ignore[arg-type]
        return [completion.tokens for row in found for completion in row]

    monkeypatch.setattr(kv_cache, "new_block", new_block)
    with santacoder.load(FILE, threads=1) as model:
        expected = answers()
        for number in range(1, calls + 1):
            calls, failing = 0, number
            with pytest.raises(MemoryError):
                answers()
            calls, failing = 0, 0
            assert answers() == expected
        assert calls > 5
