"""Samples that share rows while their tokens are the same: fewer rows, and no other answers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.limits import Limits
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.requests import check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer
from tests.support.interrupting import interrupt
from tests.support.samples import CODE, Counted, facts, new_sequence, run_until

PROMPTS = ["", CODE, CODE[:40]]


@pytest.fixture(scope="module")
def packaged() -> Iterator[santacoder.SantaCoder]:
    """The model that ships in the package: its samples have much in common."""
    with santacoder.load(threads=2) as model:
        yield model


def samples_of(tokenizer: Tokenizer, count: int, prompt: str = CODE, **options: Any) -> list[Sequence]:
    """The first samples of a prompt."""
    params = SamplingParams(**{"seed": 5, "ignore_eos": True, "token_healing": False, "lookup": False, **options})
    return new_sequences(check_request(tokenizer, 256, prompt, params), range(count))


def singly(engine: Transformer, sequences: list[Sequence]) -> list[tuple[Any, ...]]:
    """The facts of each, run by itself."""
    found = []
    for sequence in sequences:
        again = Sequence(sequence.request, *sequence._key)
        Scheduler(engine).finish([again])
        found.append(answer(again))
    return found


def answer(sequence: Sequence) -> tuple[Any, ...]:
    """What must not depend on others."""
    completion = sequence.completion()
    return (*facts(completion), completion.logprobs, [(piece.text, piece.tokens) for piece in sequence.pieces])


options = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 24),
        "temperature": st.sampled_from([0.0, 0.2, 0.2, 0.7, 1.5]),
        "top_p": st.sampled_from([0.9, 1.0]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "logit_bias": st.sampled_from([{}, {10: 2.0}]),
        "stop": st.sampled_from([(), ("\n",), ("e", "in")]),
        "seed": st.integers(0, 3),
        "lookup": st.booleans(),
        "logprobs": st.sampled_from([None, None, 2]),
        "token_healing": st.booleans(),
    }
)
jobs = st.lists(st.tuples(st.sampled_from(PROMPTS), st.integers(1, 6), options), min_size=1, max_size=5)


@given(
    mix=jobs,
    most=st.sampled_from([1, 2, 5, 64]),
    cancelled=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 29)), max_size=8),
    late=st.integers(0, 12),
)
def test_any_mix_gives_the_serial_answers(
    packaged: santacoder.SantaCoder,
    mix: list[tuple[str, int, dict[str, Any]]],
    most: int,
    cancelled: list[tuple[int, int]],
    late: int,
) -> None:
    """Any samples of any requests; some are given up after a step, and the last request comes after `late` steps."""
    requests = [
        (check_request(packaged.tokenizer, packaged.context, prompt, SamplingParams(**params)), count)
        for prompt, count, params in mix
    ]
    rows = [new_sequences(request, range(count)) for request, count in requests]
    sequences = [sequence for row in rows for sequence in row]

    def run(engine: Transformer) -> list[tuple[Any, ...]]:
        scheduler = Scheduler(engine, Limits(max_running=most))
        calls = [Call() for _ in rows]
        for step in itertools.count():
            for call, row in zip(calls, rows, strict=True):
                if step == (late if row is rows[-1] else 0):
                    scheduler.submit(call, row)
            scheduler.cancel(sequences[i] for at, i in cancelled if at == step and i < len(sequences))
            for call in calls:
                call.take_ended()
            if step > late and not any(calls):
                break
            scheduler.step()
        return singly(engine, [sequence for sequence in sequences if not sequence.cancelled])

    expected = packaged._scheduler.exclusive(run)
    assert [answer(sequence) for sequence in sequences if not sequence.cancelled] == expected


class TestRows:
    def test_equal_samples_take_one(self, parts: tuple[Transformer, Tokenizer]) -> None:
        engine = Counted(parts[0])
        samples = samples_of(parts[1], 20, temperature=0, max_tokens=9)
        Scheduler(engine).finish(samples)
        assert engine.rows == [samples[0].prompt.size] + [1] * 8

    def test_one_for_each_text(self, parts: tuple[Transformer, Tokenizer]) -> None:
        """So many that are different rows, at each step."""
        engine = Counted(parts[0])
        samples = samples_of(parts[1], 50, temperature=0.4, max_tokens=12)
        Scheduler(engine).finish(samples)
        beginnings = [len({tuple(sample.tokens[:length]) for sample in samples}) for length in range(1, 12)]
        assert engine.rows == [samples[0].prompt.size, *beginnings]
        assert 1 < beginnings[0] < beginnings[-1]

    def test_requests_that_are_equal_share_too(self, parts: tuple[Transformer, Tokenizer]) -> None:
        """Each with options of its own that differ in what does not change its tokens, or in what does."""
        engine = Counted(parts[0])
        several: list[dict[str, Any]] = [{}, {"stop": "qqq"}, {"logprobs": 1}, {"frequency_penalty": 0.1}, {"seed": 2}]
        samples = [samples_of(parts[1], 1, temperature=0, max_tokens=5, **options)[0] for options in several]
        Scheduler(engine).finish(samples)
        assert engine.rows[0] == samples[0].prompt.size
        assert engine.rows[1] == len({sample.tokens[0] for sample in samples})
        assert [answer(sample) for sample in samples] == singly(parts[0], samples)

    def test_no_more_run_than_may(self, parts: tuple[Transformer, Tokenizer]) -> None:
        engine = Counted(parts[0])
        samples = samples_of(parts[1], 12, temperature=1.5, max_tokens=10)
        Scheduler(engine, Limits(max_running=3)).finish(samples)
        assert max(engine.rows[1:]) == 3
        assert [answer(sample) for sample in samples] == singly(parts[0], samples)

    def test_hooks_and_scored_prompts_share_none(self, parts: tuple[Transformer, Tokenizer]) -> None:
        for options in ({"logits_processor": lambda *_: None}, {"prompt_logprobs": 1}):
            engine = Counted(parts[0])
            samples = samples_of(parts[1], 3, temperature=0, max_tokens=4, **options)
            Scheduler(engine).finish(samples)
            assert sum(rows for rows in engine.rows if rows <= 3) >= 2 * 3 + 2  # else 3


class TestWhenTheLeaderGoes:
    """The first sample ends in the middle; the others go on, with the same answers and no more rows than before."""

    def run(self, engine: Counted, leader: Sequence, others: list[Sequence], at: int) -> None:
        scheduler, call = Scheduler(engine), Call()
        scheduler.submit(call, [leader, *others])
        for _ in range(at):
            scheduler.step()
        assert others[-1].follows is not None
        scheduler.cancel([leader])
        run_until(scheduler, call, lambda: all(sequence.ended for sequence in others))

    @pytest.mark.parametrize("at", [1, 4])
    def test_cancelled(self, parts: tuple[Transformer, Tokenizer], at: int) -> None:
        engine = Counted(parts[0])
        leader, *others = samples_of(parts[1], 4, temperature=0, max_tokens=9)
        self.run(engine, leader, others, at)
        assert engine.rows == [leader.prompt.size] + [1] * 8
        assert [answer(sample) for sample in others] == singly(parts[0], others)

    def test_ends_first(self, parts: tuple[Transformer, Tokenizer]) -> None:
        engine = Counted(parts[0])
        [leader] = samples_of(parts[1], 1, temperature=0, max_tokens=3)
        others = samples_of(parts[1], 3, temperature=0, max_tokens=9)
        self.run(engine, leader, others, 2)
        assert engine.rows == [leader.prompt.size] + [1] * 8
        assert [answer(sample) for sample in (leader, *others) if not sample.cancelled] == singly(parts[0], others)

    def test_before_its_prompt_is_read(self, parts: tuple[Transformer, Tokenizer]) -> None:
        """The prompt takes two steps."""
        engine = Counted(parts[0])
        engine.chunk = 16
        leader, *others = samples_of(parts[1], 4, temperature=0, max_tokens=3)
        self.run(engine, leader, others, 1)
        assert sum(engine.rows) == leader.prompt.size + 2
        assert [answer(sample) for sample in others] == singly(parts[0], others)

    def test_past_its_deadline(self, parts: tuple[Transformer, Tokenizer]) -> None:
        [leader] = samples_of(parts[1], 1, temperature=0, max_tokens=9, deadline=0.05)
        others = samples_of(parts[1], 3, temperature=0, max_tokens=9)
        scheduler, call = Scheduler(parts[0]), Call()
        scheduler.submit(call, [leader, *others])
        scheduler.step()
        time.sleep(max(leader.time_left, 0))
        while leader.finish_reason is None:
            time.sleep(0.001)
            scheduler.step()
        assert leader.finish_reason == "deadline"
        run_until(scheduler, call, lambda: all(sequence.ended for sequence in others))
        assert [answer(sample) for sample in others] == singly(parts[0], others)


def test_a_new_request_need_not_wait_for_many_rows(parts: tuple[Transformer, Tokenizer]) -> None:
    """More samples have parted than run at a time; one of another call runs at once."""
    scheduler = Scheduler(parts[0], Limits(max_running=4))
    samples = samples_of(parts[1], 16, temperature=1.5, max_tokens=60)
    scheduler.submit(Call(), samples)
    for _ in range(8):
        scheduler.step()
    assert sum(sample.in_batch and sample.follows is None for sample in samples) > 4
    new = new_sequence(parts[1], "a", SamplingParams(max_tokens=3, temperature=0, ignore_eos=True, lookup=False))
    scheduler.submit(Call(), [new])
    for _ in range(3):
        scheduler.step()
    assert new.generated == 3


@pytest.mark.parametrize("first", range(4))
def test_ctrl_c_anywhere_loses_nobody(parts: tuple[Transformer, Tokenizer], first: int) -> None:
    """At every 40th place where the library's own code begins or ends a function; then the work goes on."""
    expected = singly(parts[0], samples_of(parts[1], 5, temperature=0.4, max_tokens=6))
    for at in itertools.count(10 * first, 40):
        scheduler, call = Scheduler(parts[0]), Call()
        samples = samples_of(parts[1], 5, temperature=0.4, max_tokens=6)
        scheduler.submit(call, samples)

        def run(scheduler: Scheduler[Transformer] = scheduler, call: Call = call, all_of: Any = samples) -> None:
            run_until(scheduler, call, lambda: all(sequence.ended for sequence in all_of))

        more = interrupt(run, at)
        run()
        assert [answer(sample) for sample in samples] == expected, f"interrupted at place {at}"
        if not more:
            assert at > 100
            return
