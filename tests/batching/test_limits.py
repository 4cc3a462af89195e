"""What may run, wait and be kept, and the counts of what does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.counters import Meter
from santacoder.batching.limits import Limits
from santacoder.batching.policy import WORTH_ABANDONING, Rows, is_unwanted
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.errors import QueueFullError, QueueTimeoutError
from santacoder.text.tokenizer import Tokenizer
from tests.support.holding import engine_held
from tests.support.paths import FILE
from tests.support.samples import CODE, Counted, facts, new_sequence, run_until
from tests.support.waiting import HANG, wait_for

FULL = "3 samples run or wait already, as many as may: try again later"
LATE = "the request's turn did not come in 0 seconds: too many others are running or waiting"


@pytest.fixture
def limited() -> Iterator[santacoder.SantaCoder]:
    """A model of the test's own."""
    with santacoder.load(FILE, threads=2) as model:
        yield model


def sample(tokenizer: Tokenizer, number: int, **params: Any) -> Sequence:
    """A sample that goes on for a while."""
    options = {"max_tokens": 20, "ignore_eos": True, "seed": 0, "lookup": False, **params}
    return new_sequence(tokenizer, [5 + number, 9], SamplingParams(**options))


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "limit"),
        [
            ("max_running", 0, "an integer of 1 or more"),
            ("max_running", None, "an integer of 1 or more"),
            ("max_waiting", -1, "an integer of 0 or more"),
            ("queue_timeout", -1, r"a number in 0..1e+09"),
            ("queue_timeout", float("nan"), r"a number in 0..1e+09"),
            ("queue_timeout", True, r"a number in 0..1e+09"),
            ("prefixes", 1.5, "an integer of 0 or more"),
            ("cache_bytes", "1", "an integer of 0 or more"),
        ],
    )
    def test_wrong(self, name: str, value: Any, limit: str) -> None:
        with pytest.raises(santacoder.InvalidRequestError) as error:
            Limits(**{name: value})
        assert str(error.value) == f"{name} is {value!r}, but it must be {limit}"

    def test_a_model_takes_only_limits(self, limited: santacoder.SantaCoder) -> None:
        assert limited.limits == santacoder.Limits() == Limits(max_running=64, prefixes=4, cache_bytes=1 << 30)
        with pytest.raises(santacoder.InvalidRequestError, match=r"^limits is 5, but it must be a Limits$"):
            limited.limits = 5  # type: ignore[assignment]
        limited.limits = Limits(max_running=2)
        assert limited.limits.max_running == 2


class TestQueue:
    def test_is_full(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        scheduler = Scheduler(transformer, Limits(max_running=1, max_waiting=2))
        samples = [sample(tokenizer, number) for number in range(5)]
        calls = [Call() for _ in samples]
        for call, each in zip(calls[:3], samples[:3], strict=True):
            scheduler.check_room()
            scheduler.submit(call, [each])
        with pytest.raises(QueueFullError, match=f"^{FULL}$"):
            scheduler.submit(calls[3], [samples[3]])
        with pytest.raises(QueueFullError, match=f"^{FULL}$"):
            scheduler.check_room()
        scheduler.submit(calls[3], [])  # asks for nothing
        assert scheduler.sequences == samples[:3]
        scheduler.cancel([samples[1]])
        scheduler.submit(calls[4], [samples[4]])
        assert (scheduler.counters().running, scheduler.counters().waiting) == (0, 3)
        scheduler.step()
        assert (scheduler.counters().running, scheduler.counters().waiting) == (1, 2)
        while not samples[4].ended:
            scheduler.step()
        assert samples[3].cache is None

    def test_a_call_may_bring_any_number(self, limited: santacoder.SantaCoder) -> None:
        expected = limited.complete_many(["a", "b"], n=4, max_tokens=5, seed=1)
        limited.limits = Limits(max_running=2, max_waiting=0)
        found = limited.complete_many(["a", "b"], n=4, max_tokens=5, seed=1)
        assert [[facts(each) for each in row] for row in found] == [[facts(each) for each in row] for row in expected]
        requests = [santacoder.Request("a", {"max_tokens": 5, "seed": 1}, index) for index in range(20)]
        each = dict(limited.complete_each(requests))
        assert [facts(each[index]) for index in range(4)] == [facts(completion) for completion in expected[0]]

    def test_is_full_for_tasks(self, limited: santacoder.SantaCoder) -> None:
        limited.limits = Limits(max_running=1, max_waiting=1)

        async def work() -> list[Any]:
            tasks = [asyncio.create_task(limited.acomplete(f"{i}", max_tokens=4, seed=1)) for i in range(6)]
            return await asyncio.gather(*tasks, return_exceptions=True)

        with engine_held(limited) as released:
            limited_results: list[Any] = []

            async def run() -> None:
                waiting = asyncio.create_task(work())
                while limited.counters().waiting < 2:
                    await asyncio.sleep(0)
                for _ in range(20):
                    await asyncio.sleep(0)
                released.set()
                limited_results.extend(await waiting)

            asyncio.run(run())
        refused = [result for result in limited_results if isinstance(result, QueueFullError)]
        assert len(refused) == 4
        for i, result in enumerate(limited_results):
            if not isinstance(result, QueueFullError):
                assert facts(result) == facts(limited.complete(f"{i}", max_tokens=4, seed=1))

    def test_a_turn_that_does_not_come(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        scheduler = Scheduler(transformer, Limits(max_running=1, queue_timeout=0))
        first, late = Call(), Call()
        running = sample(tokenizer, 1, max_tokens=200)
        scheduler.submit(first, [running])
        scheduler.step()
        samples = [sample(tokenizer, 2), sample(tokenizer, 3)]
        scheduler.submit(late, samples)
        run_until(scheduler, late, lambda: all(each.ended for each in samples))
        for each in samples:
            assert isinstance(each.error, QueueTimeoutError)
            assert str(each.error) == LATE
            assert each.cache is None
        assert scheduler.patience(first, False) == float("inf")  # it has begun
        scheduler.finish([])
        while not running.ended:
            scheduler.step()
        assert running.error is None
        assert scheduler.counters().waiting == 0

    def test_samples_of_a_call_that_has_begun_wait_as_long_as_they_must(self, limited: santacoder.SantaCoder) -> None:
        expected = limited.complete_many(["a"], n=5, max_tokens=5, seed=1)
        limited.limits = Limits(max_running=1, queue_timeout=0)
        found = limited.complete_many(["a"], n=5, max_tokens=5, seed=1)
        assert [facts(each) for each in found[0]] == [facts(each) for each in expected[0]]

    @pytest.mark.parametrize("before", [None, 1e6])
    @pytest.mark.parametrize("tasks", [False, True])
    def test_those_that_wait_give_up_when_the_limit_falls(
        self, limited: santacoder.SantaCoder, before: float | None, tasks: bool
    ) -> None:
        limited.limits = Limits(max_running=1, queue_timeout=before)
        running = limited.stream("a", max_tokens=200, ignore_eos=True, lookup=False, token_healing=False)
        begun = len(next(running).tokens)
        errors: list[BaseException] = []

        def wait() -> None:
            try:
                if tasks:
                    asyncio.run(limited.acomplete("b", max_tokens=200))
                else:
                    limited.complete("b", max_tokens=200)
            except QueueTimeoutError as error:
                errors.append(error)

        with engine_held(limited) as released:
            waiting = threading.Thread(target=wait)
            waiting.start()
            wait_for(lambda: limited.counters().waiting == 1)
            limited.limits = Limits(max_running=1, queue_timeout=0)
            waiting.join(HANG)
            released.set()
        assert [str(error) for error in errors] == [LATE]
        assert begun + sum(len(piece.tokens) for piece in running) == 200

    def test_a_turn_that_does_not_come_to_a_task(self, limited: santacoder.SantaCoder) -> None:
        async def work() -> None:
            limited.limits = Limits(max_running=1)
            running = limited.astream("a", max_tokens=200, ignore_eos=True, lookup=False)
            await anext(running)
            limited.limits = Limits(max_running=1, queue_timeout=0)
            with pytest.raises(QueueTimeoutError):
                await limited.acomplete("b", max_tokens=200)
            await running.aclose()

        asyncio.run(work())
        limited.limits = Limits()
        assert limited.complete("b", max_tokens=2).usage.completion_tokens <= 2


class TestKept:
    @pytest.mark.parametrize("prefixes", [0, 1, 3])
    def test_as_many_prefixes_as_allowed(self, limited: santacoder.SantaCoder, prefixes: int) -> None:
        limited.limits = Limits(prefixes=prefixes)
        prompts = [[number] * 40 for number in range(5, 9)]
        for prompt in prompts:
            limited.complete(prompt, max_tokens=0)
        kept = [limited.complete([*prompt, 3], max_tokens=0).timings.cached_tokens for prompt in reversed(prompts)]
        assert kept == [40] * prefixes + [0] * (4 - prefixes)

    def test_fewer_from_now_on(self, limited: santacoder.SantaCoder) -> None:
        for number in range(5, 9):
            limited.complete([number] * 40, max_tokens=0)
        assert limited._scheduler._batch.blocks == 4
        limited.limits = Limits(prefixes=1)
        assert limited._scheduler._batch.blocks == 1
        limited.limits = Limits(prefixes=0)
        assert limited._scheduler._batch.blocks == limited.counters().cache_bytes == 0


class TestCounters:
    def test_tokens_and_steps(self, limited: santacoder.SantaCoder) -> None:
        limited.complete([5] * 100, max_tokens=1)
        limited.complete([5] * 100, max_tokens=30, ignore_eos=True, lookup=False)
        counters = limited.counters()
        assert (counters.prompt_tokens, counters.cached_tokens, counters.generated_tokens) == (101, 99, 31)
        assert counters.steps == 1 + 30
        assert (counters.running, counters.waiting, counters.stalled_seconds) == (0, 0, 0.0)
        assert counters.prompt_seconds > 0 < counters.generated_seconds
        assert counters.prompt_speed is not None
        assert counters.cache_bytes == limited._scheduler._batch.blocks * limited._scheduler.engine.block_bytes > 0

    def test_while_a_sample_runs(self, limited: santacoder.SantaCoder) -> None:
        stream = limited.stream("a", max_tokens=50, ignore_eos=True, lookup=False)
        next(stream)
        counters = limited.counters()
        assert (counters.running, counters.waiting) == (1, 0)
        assert counters.generated_tokens >= 1
        wait_for(lambda: limited.counters().stalled_seconds > counters.stalled_seconds)  # nobody leads
        stream.close()
        limited.complete("b", max_tokens=1)
        assert limited.counters().running == 0

    def test_a_closed_model_has_none(self) -> None:
        model = santacoder.load(FILE, threads=1)
        model.close()
        with pytest.raises(santacoder.ModelClosedError):
            model.counters()
        with pytest.raises(santacoder.ModelClosedError):
            model.check_room()

    def test_shares_of_a_step(self) -> None:
        class Part:
            def __init__(self, generated: int) -> None:
                self.generated = generated

            def pending(self, room: int, beside: int | None) -> Any: ...

        def rows(generated: int, count: int) -> Rows[Part]:
            return Rows(Part(generated), np.zeros(count, dtype=np.int32), 1)

        meter = Meter()
        meter.count_step([rows(3, 2), rows(0, 6)], 4.0)
        assert (meter.prompt_tokens, meter.prompt_seconds, meter.generated_seconds) == (6, 3.0, 1.0)
        assert meter.prompt_speed is None
        meter.count_step([rows(0, 64)], 2.0)
        assert meter.prompt_speed == 32.0
        meter.count_step([rows(0, 84), rows(1, 16)], 1.0)
        assert meter.prompt_speed == 32.0 + 0.3 * (100.0 - 32.0)
        assert meter.steps == 3


class TestGivingUp:
    def test_policy(self) -> None:
        assert is_unwanted(10, 10, again=True)
        assert not is_unwanted(9, 10, again=False)
        assert is_unwanted(WORTH_ABANDONING, 2 * WORTH_ABANDONING - 1, again=False)
        assert not is_unwanted(WORTH_ABANDONING, 2 * WORTH_ABANDONING, again=False)
        assert not is_unwanted(100, 101, again=True)

    @pytest.mark.parametrize("scored", [None, 0])
    def test_a_long_prompt_that_is_cancelled_ends_the_step_of_others(
        self, parts: tuple[Transformer, Tokenizer], scored: int | None
    ) -> None:
        transformer, tokenizer = parts
        asked: list[bool] = []

        class Cancelling(Counted):
            """Cancels a prompt in the middle of its first step."""

            def asking(self, abandon: Any) -> Any:
                def ask() -> bool:
                    if prompt.in_batch:
                        scheduler.cancel([prompt])
                    asked.append(bool(abandon()))
                    return asked[-1]

                return ask

            def forward_batch(self, parts: Any, outputs: Any = "last", abandon: Any = None) -> Any:
                return super().forward_batch(parts, outputs, self.asking(abandon))

            def iter_logits_batch(self, parts: Any, piece_rows: int, outputs: Any = "all", abandon: Any = None) -> Any:
                return super().iter_logits_batch(parts, piece_rows, outputs, self.asking(abandon))

        engine = Cancelling(transformer)
        scheduler = Scheduler(engine)
        others = [sample(tokenizer, number) for number in range(3)]
        prompt = new_sequence(tokenizer, [7] * 200, SamplingParams(max_tokens=4, prompt_logprobs=scored))
        call = Call()
        scheduler.submit(call, others)
        while not all(other.generated > 3 for other in others):
            scheduler.step()
        before = [other.generated for other in others]
        scheduler.submit(call, [prompt])
        scheduler.step()
        assert asked[-1]
        assert prompt.cancelled
        assert [other.generated for other in others] == before  # their rows run again
        while not all(other.ended for other in others):
            scheduler.step()
        assert len(asked) > 3
        for number, other in enumerate(others):
            alone = sample(tokenizer, number)
            Scheduler(transformer).finish([alone])
            assert other.tokens == alone.tokens

    def test_not_twice_in_a_row(self, parts: tuple[Transformer, Tokenizer]) -> None:
        """Prompts that come and are cancelled all the time do not stop a sample that generates."""
        transformer, tokenizer = parts

        class Cancelling(Counted):
            def forward_batch(self, parts: Any, outputs: Any = "last", abandon: Any = None) -> Any:
                scheduler.cancel(prompts)
                return super().forward_batch(parts, outputs, abandon)

        scheduler = Scheduler(Cancelling(transformer))
        prompts: list[Sequence] = []
        other, call = sample(tokenizer, 1), Call()
        scheduler.submit(call, [other])
        scheduler.step()
        for number in range(40):
            prompts[:] = [new_sequence(tokenizer, [7 + number] * 200, SamplingParams(max_tokens=4))]
            scheduler.submit(Call(), prompts)
            scheduler.step()
        assert other.ended
        assert facts(other.completion())[1] == other.tokens
        assert len(other.tokens) == 20


def test_a_prefix_is_kept_by_a_cancelled_prompt(limited: santacoder.SantaCoder) -> None:
    """What was read for somebody who has left serves the next one."""
    stream = limited.stream(CODE, max_tokens=50, ignore_eos=True, lookup=False, token_healing=False)
    next(stream)
    stream.close()
    assert limited.complete(CODE, max_tokens=1, token_healing=False).timings.prompt_tokens == 1
