"""The asyncio interface."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import threading
import time
import warnings
from contextlib import aclosing
from typing import Any

import pytest

import santacoder
from santacoder.errors import StepAbandonedError
from tests.support.holding import engine_held
from tests.support.paths import FILE
from tests.support.samples import CODE, PROMPTS, alone, facts
from tests.support.waiting import HANG, wait_for


class TestAsync:
    def test_together(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 20, "temperature": 1.0}

        async def work() -> list[santacoder.Completion]:
            return await asyncio.gather(*(model.acomplete(PROMPTS[i % 8], seed=i, **options) for i in range(20)))

        for i, completion in enumerate(asyncio.run(work())):
            assert facts(completion) == alone(model, PROMPTS[i % 8], seed=i, **options)

    def test_stream(self, model: santacoder.SantaCoder) -> None:
        async def work() -> str:
            return "".join([piece.text async for piece in model.astream(CODE, max_tokens=20, seed=1)])

        assert asyncio.run(work()) == model.complete(CODE, max_tokens=20, seed=1).text

    def test_errors_arrive(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(santacoder.InvalidRequestError, match=r"^max_tokens is -1"):
            asyncio.run(model.acomplete("a", max_tokens=-1))
        bans = dict.fromkeys(range(512), -100.0)
        assert asyncio.run(model.acomplete("a", max_tokens=1, logit_bias=bans)).usage.completion_tokens <= 1

    def test_cancelling_stops_the_work(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        """The task is cancelled in the middle of a step that would otherwise last forever."""
        begun = threading.Event()

        def forward(parts: Any, outputs: Any, abandon: Any) -> Any:
            begun.set()
            wait_for(abandon)
            raise StepAbandonedError

        async def work() -> None:
            task = asyncio.create_task(model.acomplete(CODE, max_tokens=100, ignore_eos=True, temperature=1.0))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        before = threading.active_count()
        with monkeypatch.context() as patched:
            patched.setattr(model._scheduler.engine, "forward_batch", forward)
            asyncio.run(work())
            wait_for(lambda: threading.active_count() <= before)
        assert model.complete("a", max_tokens=1).tokens

    def test_the_loop_is_left_alone_after_the_end(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        under_way = 0

        async def work() -> None:
            loop = asyncio.get_running_loop()
            wake = loop.call_soon_threadsafe

            def slowly(*arguments: Any) -> asyncio.Handle:
                nonlocal under_way
                under_way += 1
                handle = wake(*arguments)
                time.sleep(0.05)
                under_way -= 1
                return handle

            monkeypatch.setattr(loop, "call_soon_threadsafe", slowly)
            assert (await model.acomplete("a", max_tokens=1)).tokens
            assert under_way == 0
            async with aclosing(model.astream("a", max_tokens=100, ignore_eos=True)) as pieces:
                await anext(pieces)
            assert under_way == 0
            async for _ in model.astream("a", max_tokens=4, ignore_eos=True):
                pass
            assert under_way == 0

        asyncio.run(work())

    def test_arguments_are_checked_at_the_call(self, model: santacoder.SantaCoder) -> None:
        async def work() -> None:
            with pytest.raises(santacoder.InvalidRequestError, match=r"^max_tokens is -1"):
                model.astream("a", max_tokens=-1)
            with pytest.raises(santacoder.ContextOverflowError):
                model.astream([1] * 300)

        asyncio.run(work())
        closed = santacoder.load(FILE, threads=1)
        closed.close()
        with pytest.raises(santacoder.ModelClosedError):
            closed.astream("a")


OPTIONS: Any = {"max_tokens": 12, "temperature": 1.0, "seed": 3}


class TestEveryCall:
    """Each gives what the one without asyncio gives."""

    def test_infill(self, model: santacoder.SantaCoder) -> None:
        async def work() -> tuple[santacoder.Completion, str]:
            pieces = [piece.text async for piece in model.astream_infill(CODE, "\n", mode="spm", **OPTIONS)]
            return await model.ainfill(CODE, "\n", single_line=True, **OPTIONS), "".join(pieces)

        completion, text = asyncio.run(work())
        assert facts(completion) == facts(model.infill(CODE, "\n", single_line=True, **OPTIONS))
        assert text == model.infill(CODE, "\n", mode="spm", **OPTIONS).text

    def test_many(self, model: santacoder.SantaCoder) -> None:
        expected = [[facts(each) for each in row] for row in model.complete_many(PROMPTS, 3, **OPTIONS)]
        found = asyncio.run(model.acomplete_many(iter(PROMPTS), 3, progress=False, **OPTIONS))
        assert [[facts(each) for each in row] for row in found] == expected
        assert asyncio.run(model.acomplete_many([])) == []

    def test_pieces_of_many(self, model: santacoder.SantaCoder) -> None:
        expected = model.complete_many(PROMPTS, 20, echo=True, **OPTIONS)

        async def work() -> tuple[dict[tuple[int, int], str], list[tuple[int, int]]]:
            texts: dict[tuple[int, int], str] = {}
            ends = []
            async for i, j, piece in model.astream_many(PROMPTS, 20, echo=True, **OPTIONS):
                texts[i, j] = texts.get((i, j), "") + piece.text
                if piece.finish_reason:
                    ends.append((i, j))
            return texts, ends

        texts, ends = asyncio.run(work())
        assert texts == {(i, j): each.text for i, row in enumerate(expected) for j, each in enumerate(row)}
        assert sorted(ends) == [(i, j) for i in range(len(PROMPTS)) for j in range(20)]

    def test_each(self, model: santacoder.SantaCoder) -> None:
        options: list[Any] = [{**OPTIONS, "seed": i} for i in range(300)]
        requests: list[Any] = [santacoder.Request(PROMPTS[i % 8], options[i]) for i in range(300)]
        requests[7] = requests[8] = "no request"

        async def work(on_error: Any) -> dict[int, Any]:
            found = dict[int, Any]()
            async for position, result in model.acomplete_each(iter(requests), on_error=on_error):
                found[position] = result
            return found

        found = asyncio.run(work("return"))
        assert sorted(found) == list(range(300))
        for position, expected in model.complete_each(requests, on_error="return"):
            if isinstance(expected, santacoder.Completion):
                assert facts(found[position]) == facts(expected)
            else:
                assert (type(found[position]), str(found[position])) == (type(expected), str(expected))
        with pytest.raises(santacoder.InvalidRequestError, match=r"^requests\[7\] is a str"):
            asyncio.run(work("raise"))
        with pytest.raises(santacoder.InvalidRequestError, match=r"^on_error is 'skip'"):
            model.acomplete_each([], on_error="skip")  # type: ignore[call-overload]

    def test_score(self, model: santacoder.SantaCoder) -> None:
        async def work() -> list[santacoder.Score]:
            scores = await asyncio.gather(*(model.ascore(prompt) for prompt in PROMPTS * 5))
            return [*scores, *await model.ascore_many(iter(PROMPTS), progress=False)]

        assert asyncio.run(work()) == [model.score(prompt) for prompt in PROMPTS * 6]
        with pytest.raises(santacoder.InvalidRequestError, match=r"^prompts\[1\]"):
            asyncio.run(model.ascore_many(["a", 5]))  # type: ignore[list-item]

    def test_signatures_are_those_of_the_others(self) -> None:
        for kind in (santacoder.SantaCoder, santacoder.Session):
            for name in dir(kind):
                if name.startswith("a") and hasattr(kind, name[1:]):
                    ours, others = (inspect.signature(getattr(kind, each)) for each in (name, name[1:]))
                    assert ours.parameters == others.parameters, name


def test_few_threads_serve_thousands_of_tasks() -> None:
    """Of all kinds at once; and each result is right."""
    most = 0

    async def work(model: santacoder.SantaCoder) -> list[santacoder.Completion]:
        nonlocal most
        tasks = [
            asyncio.create_task(model.acomplete(PROMPTS[i % 8], max_tokens=2, temperature=1.0, seed=i % 50))
            for i in range(2000)
        ]
        others = [asyncio.create_task(model.ascore(PROMPTS[i % 8])) for i in range(100)]
        sessions = [model.session() for _ in range(20)]
        others += [asyncio.create_task(sessions[i % 20].acomplete(CODE, max_tokens=2)) for i in range(100)]  # type: ignore[arg-type]
        while not all(task.done() for task in (*tasks, *others)):
            most = max(most, threading.active_count())
            await asyncio.sleep(0.001)
        await asyncio.gather(*others)
        return [await task for task in tasks]

    before = threading.active_count()
    with santacoder.load(FILE, threads=1) as model:
        found = asyncio.run(work(model))
        expected = {
            (prompt, seed): facts(model.complete(prompt, max_tokens=2, temperature=1.0, seed=seed))
            for prompt in PROMPTS
            for seed in range(50)
        }
    assert [facts(each) for each in found] == [expected[PROMPTS[i % 8], i % 50] for i in range(2000)]
    assert before < most <= 8
    wait_for(lambda: threading.active_count() <= before)


class TestCancelling:
    @pytest.mark.parametrize("call", ["acomplete", "astream_many", "ascore", "acomplete_each", "session"])
    def test_the_work_stops(self, model: santacoder.SantaCoder, call: str) -> None:
        """After it no sequence is left, and no thread. Nothing can end before: another thread has the engine."""
        before = threading.active_count()
        options: Any = {"max_tokens": 150, "ignore_eos": True, "temperature": 1.0}
        session = model.session()

        async def run() -> object:
            if call == "acomplete":
                return await model.acomplete(CODE, **options)
            if call == "ascore":
                return await model.ascore_many([[i] * 250 for i in range(500)])
            if call == "session":
                return await session.acomplete(CODE, **options)
            if call == "astream_many":
                return [piece async for piece in model.astream_many([CODE] * 10, 30, **options)]
            endless = itertools.repeat(santacoder.Request(CODE, options))
            return [each async for each in model.acomplete_each(endless)]

        async def work(released: threading.Event) -> None:
            tasks = [asyncio.create_task(run()) for _ in range(5)]
            neighbour = asyncio.create_task(model.acomplete("a", **OPTIONS))
            for _ in range(5):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            released.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 5
            assert facts(await neighbour) == alone(model, "a", **OPTIONS)

        with engine_held(model) as released:
            asyncio.run(work(released))
        wait_for(lambda: threading.active_count() <= before)
        assert all(sequence.ended for sequence in model._scheduler.sequences)
        assert facts(session.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)

    def test_a_loop_that_is_closed_too_early(self, model: santacoder.SantaCoder) -> None:
        before = threading.active_count()
        loop = asyncio.new_event_loop()
        session = model.session()
        left: list[Any] = [
            model.astream(CODE, max_tokens=150, ignore_eos=True),
            session.astream(CODE, max_tokens=150, ignore_eos=True),
        ]
        for pieces in left:
            loop.run_until_complete(anext(pieces))
        scoring = loop.create_task(model.ascore_many([[i] * 250 for i in range(500)]))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        wait_for(lambda: threading.active_count() <= before)
        assert facts(session.complete("a", **OPTIONS)) == alone(model, "a", **OPTIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scoring._log_destroy_pending = False  # type: ignore[attr-defined]
            del left, scoring, pieces
            gc.collect()

    def test_a_deadline_while_another_has_the_engine(self, model: santacoder.SantaCoder) -> None:
        """Also of a task that comes while the loop's thread waits for one without a deadline."""

        async def work(answered: threading.Event) -> santacoder.Completion:
            other = asyncio.create_task(model.acomplete(CODE, max_tokens=2))
            while not model._scheduler._lock.waiting[0]:
                await asyncio.sleep(0.001)
            late = await model.acomplete(CODE, max_tokens=5, deadline=0.01)
            answered.set()
            await other
            return late

        with engine_held(model) as answered:
            late = asyncio.run(work(answered))
        assert (late.finish_reason, late.tokens) == ("deadline", [])

    def test_a_step_that_fails_ends_one_request(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = model._scheduler.engine
        forward_batch, failures = engine.forward_batch, [MemoryError("a"), MemoryError("b")]

        def forward(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return forward_batch(*arguments)

        monkeypatch.setattr(engine, "forward_batch", forward)

        async def work() -> list[Any]:
            return await asyncio.gather(*(model.acomplete(CODE, **OPTIONS) for _ in range(6)), return_exceptions=True)

        results = asyncio.run(work())
        assert sorted(str(result) for result in results if isinstance(result, MemoryError)) == ["a", "b"]
        right = [result for result in results if isinstance(result, santacoder.Completion)]
        assert [facts(each) for each in right] == [alone(model, CODE, **OPTIONS)] * 4

    def test_closing_the_model_ends_all_tasks(self) -> None:
        model = santacoder.load(FILE, threads=1)
        session = model.session()

        async def work() -> list[Any]:
            tasks: list[Any] = [model.acomplete(CODE, max_tokens=150, ignore_eos=True) for _ in range(100)]
            tasks += [session.acomplete(CODE, max_tokens=150, ignore_eos=True) for _ in range(3)]
            tasks += [model.ascore_many([[i] * 250 for i in range(500)])]
            started = asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.02)
            model.close()
            return await started

        assert {type(result) for result in asyncio.run(work())} == {santacoder.ModelClosedError}


class TestSessions:
    def test_one_after_the_other(self, model: santacoder.SantaCoder) -> None:
        """Tasks take turns in the order of asking, and what they have in common is computed once."""
        session, order = model.session(), list[int]()

        async def ask(number: int) -> santacoder.Completion:
            completion = await session.acomplete(CODE + "x" * number, **OPTIONS)
            order.append(number)
            return completion

        async def work() -> list[santacoder.Completion]:
            return await asyncio.gather(*map(ask, range(8)))

        for number, completion in enumerate(asyncio.run(work())):
            assert facts(completion) == alone(model, CODE + "x" * number, **OPTIONS)
            assert completion.timings.prompt_tokens < 10 or number == 0
        assert order == list(range(8))

    def test_a_cancelled_task_passes_its_turn_on(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was called already when it is cancelled, and no task looks again by itself."""
        monkeypatch.setattr("santacoder.batching.async_session.LOOK_AGAIN", HANG)
        session = model.session()

        async def work() -> None:
            pieces = session.astream(CODE, max_tokens=50, ignore_eos=True)
            await anext(pieces)
            waiting = [asyncio.create_task(session.acomplete("a", **OPTIONS)) for _ in range(3)]
            await asyncio.sleep(0)
            turn = session._turn
            pass_on = turn.pass_on

            def pass_on_and_cancel() -> None:
                turn.pass_on = pass_on  # type: ignore[method-assign]
                pass_on()
                waiting[0].get_loop().call_soon_threadsafe(waiting[0].cancel)

            turn.pass_on = pass_on_and_cancel  # type: ignore[method-assign]
            await pieces.aclose()
            first, *others = await asyncio.gather(*waiting, return_exceptions=True)
            assert [facts(each) for each in others] == [alone(model, "a", **OPTIONS)] * 2  # type: ignore[arg-type]
            assert isinstance(first, asyncio.CancelledError) or facts(first) == facts(others[0])  # type: ignore[arg-type]

        asyncio.run(work())

    def test_every_call(self, model: santacoder.SantaCoder) -> None:
        session = model.session()

        async def work() -> list[str]:
            texts = ["".join([piece.text async for piece in session.astream(CODE, **OPTIONS)])]
            assert len(session) > 0
            texts.append((await session.ainfill(CODE, "\n", **OPTIONS)).text)
            texts.append("".join([piece.text async for piece in session.astream_infill(CODE, "\n", **OPTIONS)]))
            return texts

        other = model.session()
        infilled = other.infill(CODE, "\n", **OPTIONS).text
        assert asyncio.run(work()) == [other.complete(CODE, **OPTIONS).text, infilled, infilled]

    def test_threads_and_tasks_share_one(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        """No task looks again by itself here, so a lost call would leave tasks waiting."""
        monkeypatch.setattr("santacoder.batching.async_session.LOOK_AGAIN", HANG)
        session, wrong = model.session(), list[object]()
        expected = {text: alone(model, text, **OPTIONS) for text in PROMPTS}

        def ask() -> None:
            for text in PROMPTS * 3:
                if facts(session.complete(text, **OPTIONS)) != expected[text]:
                    wrong.append(text)

        async def aask() -> None:
            for text in PROMPTS * 3:
                if facts(await session.acomplete(text, **OPTIONS)) != expected[text]:
                    wrong.append(text)

        async def work() -> None:
            await asyncio.gather(*(aask() for _ in range(3)))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        asyncio.run(work())
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_who_would_wait_for_itself(self, model: santacoder.SantaCoder) -> None:
        session = model.session()
        options: dict[str, Any] = {"max_tokens": 50, "ignore_eos": True}

        async def work() -> None:
            async with aclosing(session.astream(CODE, **options)) as pieces:
                await anext(pieces)
                with pytest.raises(santacoder.DeadlockError, match=r"await it first$"):
                    await session.acomplete(CODE)
                with pytest.raises(santacoder.DeadlockError, match=r"await it first$"):
                    session.complete(CODE)
                other = asyncio.create_task(session.acomplete("a", **OPTIONS))
                await asyncio.sleep(0)
            assert facts(await other) == alone(model, "a", **OPTIONS)
            stream = session.stream(CODE, **options)
            next(stream)
            with pytest.raises(santacoder.DeadlockError, match="still open in this thread"):
                await session.acomplete(CODE)
            stream.close()
            assert (await session.acomplete("a", **OPTIONS)).tokens

        asyncio.run(work())
