"""The asyncio interface."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing
from typing import Any

import pytest

import santacoder
from santacoder.errors import StepAbandonedError
from tests.support.paths import FILE
from tests.support.samples import CODE, PROMPTS, alone, facts
from tests.support.waiting import wait_for


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
        with pytest.raises(santacoder.InvalidRequestError, match=r"^max_tokens is 0"):
            asyncio.run(model.acomplete("a", max_tokens=0))
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
            with pytest.raises(santacoder.InvalidRequestError, match=r"^max_tokens is 0"):
                model.astream("a", max_tokens=0)
            with pytest.raises(santacoder.ContextOverflowError):
                model.astream([1] * 300)

        asyncio.run(work())
        closed = santacoder.load(FILE, threads=1)
        closed.close()
        with pytest.raises(santacoder.ModelClosedError):
            closed.astream("a")
