"""Hooks in batches: one that blocks or fails affects only its own request, and no result depends on the others."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import santacoder
from santacoder.batching import hook_runner
from santacoder.batching.calls import Call
from santacoder.batching.hook_runner import HookRunner
from santacoder.batching.limits import Limits
from santacoder.batching.policy import MAX_RUNNING
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import State
from santacoder.engine.transformer import Transformer
from santacoder.text.tokenizer import Tokenizer
from tests.support.hook_mixes import WAYS, Answer, jobs, serially
from tests.support.interrupting import interrupt
from tests.support.needs import needs_fork
from tests.support.samples import CODE, Counted, alone, facts, new_sequence, run_until
from tests.support.waiting import HANG, wait_for

OPTIONS: dict[str, Any] = {"max_tokens": 8, "temperature": 1.0, "seed": 3, "ignore_eos": True}
Ids = NDArray[np.int32]
Logits = NDArray[np.float32]


def disfavour(token_ids: Ids, logits: Logits) -> None:
    """A processor that makes a third of the tokens improbable."""
    logits[int(token_ids.sum()) % 3 :: 3] -= np.float32(9)


class Blocking:
    """A processor that waits at one of its draws: the first, unless `draws` says another."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.draws = 1

    def __call__(self, token_ids: Ids, logits: Logits) -> None:
        self.draws -= 1
        if self.draws == 0:
            self.begun.set()
            assert self.go_on.wait(HANG)
        disfavour(token_ids, logits)


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    """A processor that waits; at the latest it goes on when the test ends."""
    processor = Blocking()
    yield processor
    processor.go_on.set()


@pytest.fixture(scope="module")
def packaged() -> Iterator[santacoder.SantaCoder]:
    """The model that ships in the package."""
    with santacoder.load(threads=2) as model:
        yield model


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@given(mix=st.lists(jobs, min_size=1, max_size=6))
def test_any_mix_gives_the_serial_answers(
    packaged: santacoder.SantaCoder,
    way: Callable[[santacoder.SantaCoder, list[dict[str, Any]]], list[Answer]],
    mix: list[dict[str, Any]],
) -> None:
    """With `--hypothesis-profile=thorough` 10,000 mixes, 2,500 each way."""
    assert way(packaged, mix) == [serially(packaged, job) for job in mix]


def test_hooks_that_answer_soon_share_steps(
    parts: tuple[Transformer, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_runner, "GATHERING", 1e9)
    monkeypatch.setattr(hook_runner, "MOST_SECONDS", HANG)
    engine = Counted(parts[0])
    params = SamplingParams(max_tokens=9, ignore_eos=True, lookup=False, logits_processor=disfavour)
    Scheduler(engine).finish([new_sequence(parts[1], [5 + i] * 3, params) for i in range(5)])
    assert engine.rows == [5 * 3] + [5] * 8


def test_a_request_that_comes_while_a_step_waits_for_hooks(
    parts: tuple[Transformer, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(parts[0])
    params = SamplingParams(max_tokens=4, ignore_eos=True, logits_processor=disfavour)
    held, late = (new_sequence(parts[1], [token], params) for token in (5, 6))
    scheduler.submit(Call(single=held), [held])
    scheduler.step()
    assert held.state is State.HELD
    call = Call(single=late)
    monkeypatch.setattr(HookRunner, "gather", lambda *_: scheduler.submit(call, [late]))
    scheduler.step()
    monkeypatch.undo()
    assert scheduler._is_due()
    run_until(scheduler, call, lambda: late.ended)
    assert late.generated == 4


class TestAHookThatBlocks:
    def test_other_threads_requests_go_on(self, model: santacoder.SantaCoder, blocking: Blocking) -> None:
        expected = facts(model.complete(CODE, **OPTIONS, logits_processor=disfavour))
        blocking.draws = 3
        found: list[Any] = []
        thread = threading.Thread(
            target=lambda: found.append(facts(model.complete(CODE, **OPTIONS, logits_processor=blocking)))
        )
        thread.start()
        assert blocking.begun.wait(HANG)
        [held] = model._scheduler.sequences
        assert (held.state, held.generated) == (State.HELD, 2)
        for _ in range(3):
            assert facts(model.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)
        model.complete_many(["a", "b"], 2, **OPTIONS, logits_processor=disfavour)
        model.score(CODE)
        model.session().complete("a", **OPTIONS, stopping=lambda _: False)
        assert (held.state, held.generated) == (State.HELD, 2)
        assert not found
        blocking.go_on.set()
        thread.join()
        assert found == [expected]

    def test_others_of_the_same_call_go_on(self, model: santacoder.SantaCoder, blocking: Blocking) -> None:
        requests = [
            santacoder.Request(CODE, {**OPTIONS, "logits_processor": blocking}),  # type: ignore[typeddict-item]
            santacoder.Request("a", {**OPTIONS, "logits_processor": disfavour}),  # type: ignore[typeddict-item]
            santacoder.Request("b", OPTIONS),  # type: ignore[arg-type]
        ]
        results = model.complete_each(requests)
        assert {next(results)[0], next(results)[0]} == {1, 2}
        assert blocking.begun.wait(HANG)
        blocking.go_on.set()
        [(position, last)] = results
        assert position == 0
        assert facts(last) == facts(model.complete(CODE, **OPTIONS, logits_processor=disfavour))

    def test_tasks_of_the_same_loop_go_on(self, model: santacoder.SantaCoder, blocking: Blocking) -> None:
        async def main() -> None:
            slow = asyncio.ensure_future(model.session().acomplete(CODE, **OPTIONS, logits_processor=blocking))
            await asyncio.to_thread(blocking.begun.wait, HANG)
            assert facts(await model.acomplete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)
            await model.acomplete("b", **OPTIONS, logits_processor=disfavour)
            await model.ascore(CODE)
            assert not slow.done()
            blocking.go_on.set()
            await slow

        asyncio.run(main())

    def test_more_of_them_than_places(self, model: santacoder.SantaCoder) -> None:
        """They take no place of requests without hooks, and none of threads that ask their own."""
        hooks = [Blocking() for _ in range(MAX_RUNNING + 6)]
        requests = [
            santacoder.Request([5 + i], {"max_tokens": 2, "logits_processor": hook}) for i, hook in enumerate(hooks)
        ]
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.extend(position for position, _ in model.complete_each(requests)))
        thread.start()
        try:
            wait_for(lambda: sum(hook.begun.is_set() for hook in hooks) == MAX_RUNNING)
            assert facts(model.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)
            model.complete("a", **OPTIONS, logits_processor=disfavour)
            assert not done
        finally:
            for hook in hooks:
                hook.go_on.set()
            thread.join()
        assert sorted(done) == list(range(len(hooks)))

    def test_streams_that_nobody_reads_take_no_places(self, model: santacoder.SantaCoder) -> None:
        """Their hooks are asked when they are read."""
        streams = [
            model.stream([5 + i], max_tokens=4, ignore_eos=True, logits_processor=disfavour)
            for i in range(MAX_RUNNING + 6)
        ]
        for stream in streams:
            next(stream)
        assert [len(list(stream)) > 0 for stream in streams] == [True] * len(streams)

    def test_streams_that_nobody_reads_take_no_memory_of_others(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        scheduler = Scheduler(transformer, Limits(cache_bytes=3 * transformer.block_bytes))
        params = SamplingParams(max_tokens=4, ignore_eos=True, logits_processor=disfavour)
        streams = [scheduler.stream(new_sequence(tokenizer, [5 + i] * 20, params)) for i in range(6)]
        for stream in streams:
            next(stream)
        for stream in streams:
            list(stream)

    def test_a_deadline_does_not_wait_for_it(self, model: santacoder.SantaCoder, blocking: Blocking) -> None:
        """Where another thread asks it."""
        late = santacoder.Request(CODE, {**OPTIONS, "deadline": 0.05, "logits_processor": blocking})  # type: ignore[typeddict-item]
        blocked, other = santacoder.Request("a", OPTIONS), 0  # type: ignore[arg-type]
        results = dict(model.complete_each([late, blocked]))
        assert results[other].finish_reason == "deadline"
        assert results[other].tokens == []

    def test_a_deadline_counts_the_time_of_a_thread_that_asks_itself(self, model: santacoder.SantaCoder) -> None:
        clock = model._scheduler

        def until_late(_: Ids, __: Logits) -> None:
            [sequence] = clock.sequences
            wait_for(lambda: sequence.expired)

        found = model.complete(CODE, **OPTIONS, deadline=0.01, logits_processor=until_late)
        assert found.finish_reason == "deadline"
        assert len(found.tokens) <= 1

    def test_cancelling_does_not_wait_for_it(self, model: santacoder.SantaCoder, blocking: Blocking) -> None:
        async def main() -> None:
            session = model.session()
            task = asyncio.ensure_future(session.acomplete(CODE, **OPTIONS, logits_processor=blocking))
            await asyncio.to_thread(blocking.begun.wait, HANG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert facts(await session.acomplete(CODE, **OPTIONS)) == alone(model, CODE, **OPTIONS)

        asyncio.run(main())

    def test_closing_the_model_does_not_wait_for_it(self, blocking: Blocking) -> None:
        model = santacoder.load(threads=1)
        requests = [santacoder.Request("a", {"logits_processor": blocking}), santacoder.Request("b", {"max_tokens": 1})]
        results = model.complete_each(requests)
        assert next(results)[0] == 1
        assert blocking.begun.wait(HANG)
        model.close()
        with pytest.raises(santacoder.ModelClosedError):
            next(results)


def hook_threads() -> list[FrameType]:
    """Where the library's threads for hooks are."""
    stacks = [[frame for frame, _ in traceback.walk_stack(top)] for top in sys._current_frames().values()]
    return [stack[-1] for stack in stacks if stack[-1].f_code is HookRunner._run.__code__]


class TestWhoAsks:
    def test_the_thread_of_a_single_request(self, model: santacoder.SantaCoder) -> None:
        threads = set[int]()

        def note(*_: Any) -> None:
            threads.add(threading.get_ident())

        model.complete(CODE, **OPTIONS, logits_processor=note)
        list(model.stream(CODE, **OPTIONS, logits_processor=note))
        model.infill(CODE, "", **OPTIONS, logits_processor=note) if model.tokenizer.fim_prefix_id else None
        model.session().complete(CODE, **OPTIONS, logits_processor=note)
        model.complete_many([CODE], **OPTIONS, logits_processor=note)
        assert threads == {threading.get_ident()}

    def test_it_may_use_the_model(self, model: santacoder.SantaCoder) -> None:
        """No step waits for the hook, so a hook may wait for steps."""

        def contrast(token_ids: Ids, logits: Logits) -> None:
            logits -= np.float32(0.5) * model.logits(token_ids[-1:])[-1]
            model.complete("a", max_tokens=1)

        expected = facts(model.complete(CODE, **OPTIONS, logits_processor=contrast))
        [[first], [second]] = model.complete_many([CODE, CODE], **OPTIONS, logits_processor=contrast)
        assert facts(first) == facts(second) == expected

    def test_one_at_a_time_while_they_answer_soon(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("santacoder.batching.hook_runner.SLOW", HANG)
        alone = threading.Lock()

        def note(*_: Any) -> None:
            assert alone.acquire(blocking=False)
            time.sleep(0.001)  # lets others run
            alone.release()

        model.complete_many([CODE] * 8, **OPTIONS, logits_processor=note)

    def test_others_join_when_hooks_block(self, model: santacoder.SantaCoder) -> None:
        """Each waits for all."""
        barrier = threading.Barrier(8, timeout=HANG)

        def meet(*_: Any) -> None:
            barrier.wait()

        model.complete_many([CODE] * 8, **OPTIONS, logits_processor=meet)

    def test_threads_end(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("santacoder.batching.hook_runner.IDLE", 0.001)
        model.complete_many(["a", "b", "c"], 2, **OPTIONS, logits_processor=disfavour)
        assert hook_threads()
        wait_for(lambda: not hook_threads())
        model.complete_many(["a", "b", "c"], 2, **OPTIONS, logits_processor=disfavour)

    def test_no_step_runs_while_all_wait_for_hooks(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch, blocking: Blocking
    ) -> None:
        """Threads sleep, and one of them leads again as soon as a hook has answered."""
        monkeypatch.setattr("santacoder.batching.engine_lock.LOOK_AGAIN", 3600.0)
        steps = 0
        step = model._scheduler.step

        def counted() -> None:
            nonlocal steps
            steps += 1
            step()

        monkeypatch.setattr(model._scheduler, "step", counted)
        requests = [santacoder.Request(CODE, {**OPTIONS, "logits_processor": blocking})] * 1  # type: ignore[typeddict-item]
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.extend(model.complete_each(requests)))
        thread.start()
        assert blocking.begun.wait(HANG)
        wait_for(lambda: model._scheduler._lock.waiting == (1, 0))
        before = steps
        assert facts(model.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)
        assert steps - before <= 2 * OPTIONS["max_tokens"] + 4
        blocking.go_on.set()
        thread.join(HANG)
        assert len(found) == 1
        assert steps <= 5 * OPTIONS["max_tokens"]


class TestErrors:
    def test_of_one_request_of_many(self, model: santacoder.SantaCoder) -> None:
        def fail(*_: Any) -> None:
            raise ValueError("mine")

        requests = [santacoder.Request("a", {**OPTIONS, "logits_processor": hook}) for hook in (None, fail, None)]  # type: ignore[typeddict-item]
        results = dict(model.complete_each(requests, on_error="return"))
        assert str(results[1]) == "requests[1]: logits_processor raised ValueError at position 1: mine"
        assert isinstance(results[1], santacoder.HookError)
        assert isinstance(results[1].__cause__, ValueError)
        for other in (results[0], results[2]):
            assert isinstance(other, santacoder.Completion)
            assert facts(other) == alone(model, "a", **OPTIONS)
        with pytest.raises(santacoder.HookError, match="mine"):
            model.complete_many(["a", "b"], **OPTIONS, logits_processor=fail)
        with pytest.raises(santacoder.HookError, match="mine"):
            asyncio.run(model.acomplete("a", **OPTIONS, logits_processor=fail))

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_an_exit_in_a_hook(self, model: santacoder.SantaCoder, error: type[BaseException]) -> None:
        def leave(token_ids: Ids, _: Logits) -> None:
            if token_ids.size > 3:
                raise error

        for call in (
            lambda: model.complete("a", **OPTIONS, logits_processor=leave),
            lambda: model.complete_many(["a", "b"], **OPTIONS, logits_processor=leave),
            lambda: list(model.session().stream("a", **OPTIONS, logits_processor=leave)),
        ):
            with pytest.raises(error):
                call()
            assert facts(model.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@needs_fork
def test_a_fork_while_hooks_are_at_work(model: santacoder.SantaCoder, blocking: Blocking) -> None:
    expected = facts(model.complete(CODE, **OPTIONS, logits_processor=disfavour))
    requests = [
        santacoder.Request(CODE, {**OPTIONS, "logits_processor": blocking}),  # type: ignore[typeddict-item]
        santacoder.Request("a", OPTIONS),  # type: ignore[arg-type]
    ]
    results = model.complete_each(requests)
    assert next(results)[0] == 1
    assert blocking.begun.wait(HANG)
    child = os.fork()
    if not child:
        blocking.go_on.set()
        [(_, found)] = results
        os._exit(0 if facts(found) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    blocking.go_on.set()
    [(_, found)] = results
    assert facts(found) == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # came as a generator ended
@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("alone", [True, False])
def test_ctrl_c_anywhere_loses_nobody(parts: tuple[Transformer, Tokenizer], alone: bool, first: int) -> None:
    """Ctrl-C at every 40th place where the library's own code begins or ends a function; then the work goes on."""
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=6, temperature=1.0, seed=3, ignore_eos=True, logits_processor=disfavour)
    prompts = [CODE[:20]] if alone else [CODE[:length] for length in (10, 20, 30)]
    expected = []
    for prompt in prompts:
        sequence = new_sequence(tokenizer, prompt, params)
        Scheduler(transformer).finish([sequence])
        expected.append(sequence.tokens)
    for at in itertools.count(10 * first, 40):
        scheduler = Scheduler(transformer)
        sequences = [new_sequence(tokenizer, prompt, params) for prompt in prompts]
        call = Call(sequences[0] if alone else None)
        scheduler.submit(call, sequences)

        def run(scheduler: Scheduler[Transformer] = scheduler, call: Call = call, all_of: Any = sequences) -> None:
            run_until(scheduler, call, lambda: all(sequence.ended for sequence in all_of))

        more = interrupt(run, at)
        run()
        assert [sequence.tokens for sequence in sequences] == expected, f"interrupted at place {at}"
        if not more:
            assert at > 100
            return
