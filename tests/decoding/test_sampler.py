"""The sampler in C against an exact one in Python."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder import NumericalError
from santacoder._native import ffi, lib
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sampler import RandomBits, Sampler
from santacoder.engine import isa

ONE = 1 << 39
LEVELS = [isa.LEVELS[name] for name in isa.available()]
Logits = NDArray[np.float32]


def c_sample(
    logits: Logits,
    bits: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    isa: int = lib.SC_ISA_SCALAR,
) -> int:
    """Call sc_sample on a copy, since it overwrites its input, and check that it stays in bounds.

    What the workspace holds does not matter: it is filled with ones.
    """
    memory = np.append(logits, np.float32(42))
    source = ffi.from_buffer("float[]", memory)
    size = lib.sc_sample_bytes()
    work = np.full(size + 8, 255, np.uint8)
    work_c = ffi.from_buffer(work)
    random, tokens = ffi.new("uint64_t[]", [bits]), ffi.new("int32_t[]", [-1])
    drawn = lib.sc_sample(isa, source, len(logits), temperature, top_k, top_p, min_p, random, 1, tokens, work_c)
    assert memory[-1] == 42
    assert (work[size:] == 255).all()
    assert drawn == (tokens[0] >= 0)
    return int(tokens[0])


def c_argmax(logits: Logits) -> int:
    """sc_argmax, the same on every instruction set."""
    (token,) = {lib.sc_argmax(isa, ffi.from_buffer("float[]", logits), len(logits)) for isa in LEVELS}
    return int(token)


def masses(
    logits: Logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> list[int]:
    """The weight of each token after all filters, by sorting."""
    n = len(logits)
    out = np.empty(n, dtype=np.float32)
    inverse = np.float32(1) / np.float32(temperature)
    weigh(logits, float(logits.max()), float(inverse), out)
    mass = [int(Fraction(float(w)) * ONE) for w in out]
    ranked = sorted(range(n), key=lambda i: (-logits[i], i))
    kept = set(ranked[:top_k] if top_k else ranked)
    if top_p < 1:
        ranked = sorted(kept, key=lambda i: (-out[i], i))
        target = Fraction(float(np.float32(top_p))) * sum(mass[i] for i in kept)
        kept, reached = set(), 0
        for i in ranked:
            if kept and reached >= target:
                break
            kept.add(i)
            reached += mass[i]
    kept = {i for i in kept if out[i] >= np.float32(min_p)}
    return [mass[i] if i in kept else 0 for i in range(n)]


def weigh(logits: Logits, maximum: float, inverse: float, out: Logits) -> None:
    """exp((x - max) / T) from NumPy; the kernel's differs in the last bits."""
    x = (logits - np.float32(maximum)) * np.float32(inverse)
    with np.errstate(under="ignore"):
        exact = np.exp(x.astype(np.float64))
    out[:] = np.where(x < -80, 0, exact)


def boundaries(mass: list[int]) -> list[tuple[int, int]]:
    """(bits, token): the first and the last random value that falls on each token."""
    total, low = sum(mass), 0
    expected = []
    for token, m in enumerate(mass):
        if m:
            first = -(-(low << 64) // total)
            last = -(-((low + m) << 64) // total) - 1
            expected += [(first, token), (last, token)]
            low += m
    return expected


def halves(*exponents: float) -> Logits:
    """Logits whose weights are close to 2^-exponent."""
    return (-math.log(2) * np.array(exponents)).astype(np.float32)


def support(logits: Logits, n_draws: int = 4096, **options: Any) -> set[int]:
    """The tokens that evenly spaced random values fall on."""
    step = (1 << 64) // n_draws
    return {c_sample(logits, i * step + step // 2, **options) for i in range(n_draws)}


class TestKernel:
    @pytest.mark.parametrize("isa", LEVELS)
    @pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 100, 1000, 5000])
    def test_equal_weights_share_the_random_values(self, isa: int, n: int) -> None:
        logits = np.full(n, 1.5, dtype=np.float32)
        expected = boundaries([ONE] * n)
        assert [c_sample(logits, bits, isa=isa) for bits, _ in expected] == [token for _, token in expected]

    def test_ties_at_the_cut_keep_low_ids(self) -> None:
        logits = np.array([0, 1, 1, 0, 1, 1, 0], dtype=np.float32)
        for k, tokens in [(1, {1}), (2, {1, 2}), (3, {1, 2, 4}), (4, {1, 2, 4, 5}), (5, {0, 1, 2, 4, 5})]:
            assert support(logits, top_k=k) == tokens
        flat = np.zeros(10, dtype=np.float32)
        assert support(flat, top_p=0.3) == {0, 1, 2, 3}  # 0.3 as float is a little more than 3/10
        assert support(flat, top_p=0.5) == {0, 1, 2, 3, 4}
        assert support(flat, top_p=0.0) == {0}
        assert support(-flat, top_p=1e-30) == {0}

    def test_both_zeros_tie(self) -> None:
        logits = np.array([0.0, -0.0, 0.0, -0.0], dtype=np.float32)
        assert support(logits, top_k=2) == {0, 1}
        assert c_argmax(logits[1:].copy()) == 0

    def test_order_of_the_filters(self) -> None:
        logits = halves(0, 1, 2, 2)  # 1/2, 1/4, 1/8, 1/8 of the probability
        assert support(logits) == {0, 1, 2, 3}
        assert support(logits, top_k=2) == {0, 1}
        assert support(logits, top_p=0.6) == {0, 1}
        assert support(logits, top_k=2, top_p=0.6) == {0}  # of what top-k left, token 0 has 2/3
        assert support(logits, min_p=0.3) == {0, 1}
        assert support(logits, top_p=0.7, min_p=0.6) == {0}
        assert support(logits, temperature=0.5, top_p=0.7) == {0}  # 1, 1/4, 1/16, 1/16: temperature comes first
        assert support(logits, temperature=0.5, min_p=0.3) == {0}
        assert support(logits, temperature=2.0, min_p=0.6) == {0, 1}
        # min-p compares with the largest probability, whatever top-p left.
        assert support(logits, top_p=0.8, min_p=0.26) == {0, 1}

    @pytest.mark.parametrize(
        ("seed", "most"), [*((seed, 400) for seed in range(6)), (6, 5000), (7, 5000), (8, 5000), (9, 70000)]
    )
    def test_against_sorting(self, seed: int, most: int) -> None:
        random = np.random.default_rng(seed)
        n = int(random.integers(most - 399, most))
        spread = random.choice([0.0, 1e-3, 1.0, 5.0, 40.0])
        logits = (spread * random.standard_normal(n)).astype(np.float32)
        logits[random.random(n) < 0.2] = logits[0]  # ties
        logits[random.random(n) < 0.1] = -np.inf
        logits[n // 2] = 3.0
        for options in (
            {},
            {"top_k": 1},
            {"top_k": int(random.integers(1, n + 2))},
            {"top_k": int(random.integers(1, min(n, 60) + 1))},
            {"top_k": -(-n // 64)},  # stretches of a vocabulary of up to 2^16 tokens
            {"top_k": -(-n // 64) + 1},
            {"top_p": float(random.random())},
            {"min_p": float(random.random())},
            {"top_k": int(random.integers(1, n + 1)), "top_p": 0.9, "min_p": 0.01, "temperature": 0.7},
            {"temperature": 1e-6},
            {"temperature": 1e6, "top_k": 5},
        ):
            mass = masses(logits, **options)
            total, low = sum(mass), 0
            for token, m in enumerate(mass):
                if m > total >> 12:  # the middle of its share: weights differ from NumPy's in the last bits
                    bits = ((2 * low + m) << 63) // total
                    assert {c_sample(logits, bits, isa=isa, **options) for isa in LEVELS} == {token}
                low += m

    @pytest.mark.parametrize("n", [4095, 4096, 4097, 49280])
    @pytest.mark.parametrize("top_p", [0.5, 0.95, 0.9999])
    def test_large_and_flat(self, n: int, top_p: float) -> None:
        logits = np.zeros(n, dtype=np.float32)
        last = math.ceil(Fraction(float(np.float32(top_p))) * n) - 1
        assert c_sample(logits, 0, top_p=top_p) == 0
        assert c_sample(logits, (1 << 64) - 1, top_p=top_p) == last
        assert c_sample(logits, (1 << 64) - 1, top_k=n // 2) == n // 2 - 1
        assert c_sample(logits, (1 << 64) - 1) == n - 1

    def test_beginnings_and_ends_of_stretches(self) -> None:
        """Tokens are looked at by 64, or more where the vocabulary is large."""
        for places in [0, 63, 64, 127, 640, 959, 960, 999], [0, 127, 128, 65535, 65536, 69888, 70000]:
            n = places[-1] + 1
            logits = np.full(n, -30.0, dtype=np.float32)
            logits[places] = 0
            k = len(places)
            for options in ({}, {"top_k": k}, {"top_p": 0.999}, {"min_p": 0.5}, {"top_k": k + 1, "min_p": 0.5}):
                bits = [(2 * i + 1 << 63) // k for i in range(k)]
                assert [c_sample(logits, b, **options) for b in bits] == places

    def test_what_is_never_drawn_counts_for_nothing(self) -> None:
        """Weights below 2^-39, whether exp is taken of them or not."""
        for gap in (27.2, 27.9, 28.1, 79.0, 81.0, math.inf):
            logits = np.full(49280, -gap, dtype=np.float32)
            logits[[5, 40000]] = 0
            every: tuple[dict[str, Any], ...] = (
                {},
                {"top_p": 0.9999},
                {"top_p": 0.5},
                {"min_p": 1e-6},
                {"min_p": 1.0},
                {"top_k": 9},
                {"top_k": 20000},
            )
            for options in every:
                found = [c_sample(logits, bits, **options) for bits in (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)]
                assert found == ([5, 5, 5, 5] if options == {"top_p": 0.5} else [5, 5, 40000, 40000])

    @pytest.mark.parametrize("gap", [19.5, 21.0, 25.0, 27.0, 27.03])  # e^-27.033 is 2^-39
    def test_many_improbable_tokens(self, gap: float) -> None:
        logits = np.full(49280, -gap, dtype=np.float32)
        logits[5] = 0
        assert c_sample(logits, 0) == 0
        assert c_sample(logits, 1 << 63) == 5
        assert c_sample(logits, (1 << 64) - 1) == 49279

    def test_top_p_just_above_the_first(self) -> None:
        """Weights 1 and n times 1/n add up to 2: a little over half is the first and a few of the others."""
        logits = halves(0, *[10] * 1024)
        assert c_sample(logits, (1 << 64) - 1, top_p=0.501) == 3
        assert c_sample(logits, (1 << 64) - 1, top_p=0.4999) == 0
        logits = halves(0, *[math.log2(40000)] * 40000)
        assert c_sample(logits, (1 << 64) - 1, top_p=0.50001) == 1

    def test_the_least_that_top_p_can_ask_for_more(self) -> None:
        """The sum of 2^39 and 2^15 + 1 ones, times 1 - 2^-24, exceeds 2^39 by less than 1."""
        logits = np.full((1 << 15) + 2, -27.0, dtype=np.float32)
        logits[0] = 0
        assert c_sample(logits, (1 << 64) - 1, top_p=1 - 2**-24) == 1

    def test_a_stretch_that_weighs_just_enough(self) -> None:
        logits = np.full(49280, -100.0, dtype=np.float32)
        logits[[5, 6, 40000]] = 0
        assert [c_sample(logits, bits, min_p=1.0) for bits in (0, 1 << 63, (1 << 64) - 1)] == [5, 6, 40000]

    def test_as_many_equals_as_are_copied(self) -> None:
        """4095 to 4097 equal logits or weights, around the limit of 4096 that are copied."""
        for equal in (4095, 4096, 4097):
            logits = np.full(49280, -1.0, dtype=np.float32)
            logits[:equal] = 0
            for k in range(4094, 4099):
                assert c_sample(logits, (1 << 64) - 1, top_k=k) == k - 1
            logits[:] = -100
            logits[:equal], logits[equal : 2 * equal] = 0, -1
            for kept in (4000, 4094, 4095, 4096):
                top_p = (kept - 0.5) / (equal * (1 + math.exp(-1)))
                more = max(kept - equal, 0)  # of the others, each e^-1
                expected = kept - 1 if not more else equal + math.ceil((more - 0.5) * math.e) - 1
                assert c_sample(logits, (1 << 64) - 1, top_p=top_p) == expected

    def test_ids_survive_gathering(self) -> None:
        logits = np.full(49280, -100.0, dtype=np.float32)
        logits[[7, 40000, 49279]] = halves(0, 0, 1)
        expected = {"lowest": 7, "middle": 40000, "highest": 49279}
        for options in ({}, {"top_p": 0.99}, {"top_k": 3}, {"top_k": 5, "top_p": 0.9999}):
            bits = {"lowest": 0, "middle": 1 << 63, "highest": (1 << 64) - 1}
            assert {at: c_sample(logits, bits[at], **options) for at in bits} == expected

    def test_every_random_value(self) -> None:
        logits = halves(0, 1, 3, 3)
        step = 1 << 52
        counts = np.bincount([c_sample(logits, i * step) for i in range(4096)], minlength=4)
        exact = 4096 * np.array([8, 4, 1, 1]) / 14
        assert (np.abs(counts - exact) <= 1).all()

    @pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-6, 1e6, 3e38, math.inf])
    def test_extreme_temperatures(self, temperature: float) -> None:
        logits = np.array([-np.inf, 1, 2, 2, -3e38], dtype=np.float32)
        expected = {2, 3} if temperature < 1 else {1, 2, 3}
        assert support(logits, 64, temperature=temperature) - {4} == expected

    @pytest.mark.parametrize("position", [0, 15, 16, 35, 39])
    @pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf])
    def test_bad_values(self, position: int, value: float) -> None:
        logits = np.zeros(40, dtype=np.float32)
        logits[position] = value
        assert c_sample(logits, 0) == -1
        assert c_argmax(logits) == -1

    def test_infinitely_improbable(self) -> None:
        logits = np.full(40, -np.inf, dtype=np.float32)
        assert c_sample(logits, 5) == -1
        assert c_argmax(logits) == -1
        logits[17] = -3e38
        assert support(logits, 16, top_k=3, top_p=0.5, min_p=0.5) == {17}
        assert c_argmax(logits) == 17

    @pytest.mark.parametrize("n", [1, 16, 31, 100, 70001])
    def test_argmax_is_the_first(self, n: int) -> None:
        logits = np.zeros(n, dtype=np.float32)
        for i in range(n - 1, -1, -max(n // 100, 1)):
            logits[i] = 1.0
            assert c_argmax(logits) == i

    def test_same_bits_on_every_isa(self) -> None:
        random = np.random.default_rng(1)
        logits = (3 * random.standard_normal(4999)).astype(np.float32)
        for bits in random.integers(0, 1 << 64, 50, dtype=np.uint64).tolist():
            options: dict[str, Any] = {"temperature": 0.8, "top_k": 3000, "top_p": 0.97, "min_p": 1e-4}
            assert len({c_sample(logits, bits, isa=isa, **options) for isa in LEVELS}) == 1


def sampler(prompt: tuple[int, ...] = (), never: tuple[int, ...] = (), seed: int = 0, **params: Any) -> Sampler:
    return Sampler(SamplingParams(**params), 4, never, seed, prompt=prompt)


def values(*logits: float) -> Logits:
    return np.array(logits, dtype=np.float32)


class TestSampler:
    def test_repetition_penalty(self) -> None:
        greedy = sampler((1, 3), temperature=0, repetition_penalty=2.0)
        assert greedy.next(values(1.1, 2.0, -9, -9)) == 0  # token 1 of the prompt counts 1.0
        assert greedy.next(values(1.9, 2.1, 1.0, -9)) == 1  # now 0 counts 0.95, 1 counts 1.05, 2 counts 1.0
        assert greedy.next(values(-1.0, -1.0, -1.5, -0.6)) == 3  # -2, -2, -1.5, -1.2

    def test_frequency_and_presence(self) -> None:
        greedy = sampler((1, 1, 1), temperature=0, frequency_penalty=0.5, presence_penalty=1.0)
        assert greedy.next(values(0, 1, 0, 0)) == 1  # the prompt does not count
        assert greedy.next(values(0, 1.6, 0, 0)) == 1
        assert greedy.next(values(0, 2.1, 0, 0)) == 1  # 2.1 - 2*0.5 - 1
        assert greedy.next(values(0, 2.4, 0, 0)) == 0  # 2.4 - 3*0.5 - 1

    def test_bias_and_bans(self) -> None:
        greedy = sampler(never=(3,), temperature=0, logit_bias={2: 5.0, 1: -100.0, 3: 100.0})
        assert greedy.next(values(4, 50, 0, 50)) == 2

    def test_seeded_by_position(self) -> None:
        long = sampler(seed=7, temperature=1, top_p=1)
        drawn = [long.next(values(0, 0, 0, 0)) for _ in range(12)]
        resumed = sampler(tuple(drawn[:5]), seed=7, temperature=1, top_p=1)
        assert [resumed.next(values(0, 0, 0, 0)) for _ in range(7)] == drawn[5:]
        assert drawn == [RandomBits(7, 0).at(position) >> 62 for position in range(12)]

    def test_random_bits_are_frozen(self) -> None:
        assert RandomBits(0, 0).at(0) == 213000021201967259
        bits = RandomBits((1 << 64) - 1, 3)
        assert bits.at(2047) == bits.at(2047) == 9326977240064533073
        assert bits.at(2046) != bits.at(2047)

    def test_not_finite(self) -> None:
        with pytest.raises(NumericalError, match=r"^the logits of position 2 hold a NaN or an infinity$"):
            sampler((0, 1)).next(values(0, math.nan, 0, 0))
        for temperature in (0, 1):
            with pytest.raises(NumericalError, match=r"^all tokens are banned at position 0$"):
                sampler(temperature=temperature).next(values(-math.inf, -math.inf, -math.inf, -math.inf))
