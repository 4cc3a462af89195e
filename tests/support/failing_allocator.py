"""A program that refuses every allocation of the C side once, with tests/native/failing_allocator.c preloaded."""

from __future__ import annotations

from tests.support.paths import ROOT

SOURCE = ROOT / "tests" / "native" / "failing_allocator.c"
PROGRAM = """
import ctypes, gc, sys
import santacoder
from santacoder import _native

allocator = ctypes.CDLL(sys.argv[1])
path = sys.argv[2]
assert allocator.watch(_native.__file__.encode())

def answer():
    with santacoder.load(path, threads=3) as model:
        tokens = model.complete([0], max_tokens=8, temperature=1.0, seed=1, ignore_eos=True).tokens
        session = model.session()
        return tokens + session.complete([0, 1], max_tokens=4, temperature=1.0, seed=2, ignore_eos=True).tokens

expected = answer()
gc.collect()
assert allocator.not_given_back() == 0, "a leak without any failure"
allocator.fail_at(0)
answer()
total = allocator.calls_so_far()
refused = errors = guesses = 0
for call in range(1, total + 1):
    allocator.fail_at(call)
    try:
        assert answer() == expected
        assert allocator.threads_refused() in (0, 1)
        refused += allocator.threads_refused()
        guesses += not allocator.threads_refused()  # without a store to guess from, all goes on
    except MemoryError as error:
        assert str(error).startswith("no memory"), error
        errors += 1
    allocator.fail_at(0)
    gc.collect()
    assert allocator.not_given_back() == 0, f"a leak after failure {call}"
    assert answer() == expected
    gc.collect()
print(total, errors, refused, guesses)
"""
