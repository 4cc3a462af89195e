"""Who may wait, when many requests come at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from santacoder import Limits
from santacoder.errors import QueueFullError
from santacoder.server.admission import Admission, Place


def fake_model(running: int = 0) -> Any:
    """A model with room for four samples, of which some run."""
    return SimpleNamespace(
        limits=Limits(max_running=2, max_waiting=2), counters=lambda: SimpleNamespace(running=running, waiting=0)
    )


def test_a_place_counts_until_it_is_left() -> None:
    async def come() -> None:
        admission, model = Admission(), fake_model(running=1)
        places = [admission.enter(model) for _ in range(3)]
        with pytest.raises(QueueFullError, match="4 samples run or wait already"):
            admission.enter(model)
        places[0].leave(queued=True)  # its sample is in the queue now, which is looked at again when the loop goes on
        with pytest.raises(QueueFullError, match="4 samples"):
            admission.enter(model)
        await asyncio.sleep(0)
        admission.enter(model)
        places[0].leave()  # it has no place any more
        with pytest.raises(QueueFullError, match="4 samples"):
            admission.enter(model)

    asyncio.run(come())


def test_a_request_may_bring_more_than_there_is_room_for() -> None:
    async def come() -> None:
        admission, model = Admission(), fake_model()
        first, second = admission.enter(model), admission.enter(model)
        first.claim(100)
        with pytest.raises(QueueFullError, match="100 samples"):
            second.claim(1)

    asyncio.run(come())


def test_requests_begin_one_by_one_after_all_that_come_at_once() -> None:
    """The last one comes while the others wait, and one of them is given up."""
    events: list[Any] = []

    async def request(admission: Admission, model: Any, number: int) -> None:
        try:
            admission.enter(model)
        except QueueFullError:
            events.append(f"refused {number}")
            return
        await admission.turn()
        events.append(number)
        await asyncio.sleep(0)

    async def come() -> None:
        admission, model = Admission(), fake_model()
        tasks = [asyncio.ensure_future(request(admission, model, number)) for number in range(6)]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(request(admission, model, 6)))
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(come())
    assert events == ["refused 4", "refused 5", "refused 6", 0, 2, 3]


def test_requests_begin_though_others_come_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("santacoder.server.admission.COURTESY", 0.0)

    async def come() -> None:
        admission, model = Admission(), fake_model()
        admission.enter(model)
        turn = asyncio.ensure_future(admission.turn())
        passes = 0
        while not turn.done():
            place = admission.enter(model)
            place.leave()
            assert isinstance(place, Place)
            await asyncio.sleep(0)
            passes += 1
        assert passes < 1000

    asyncio.run(come())
