"""Which thread runs the engine: turns of steps and exclusive use, and requests in the middle of a step."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

import santacoder
from santacoder.batching.engine_lock import EngineLock, Waiter
from santacoder.errors import DeadlockError
from tests.support.holding import engine_held
from tests.support.interrupting import interrupt
from tests.support.paths import FILE
from tests.support.samples import CODE, alone, facts
from tests.support.waiting import HANG, wait_for


class TestTurns:
    def test_steps_and_others_alternate(self) -> None:
        turns, order, over = EngineLock(), list[str](), threading.Event()

        def step() -> None:
            wait_for(lambda: turns.waiting[1] or over.is_set())
            order.append("step")

        def have_it_alone() -> None:
            wait_for(lambda: turns.waiting[0])
            order.append("alone")

        def steps() -> None:
            while not over.is_set():
                turns.lead_or_wait(Waiter(over.is_set), step, lambda _: math.inf)

        def others() -> None:
            for _ in range(20):
                turns.exclusive(have_it_alone)

        stepper, *rest = (threading.Thread(target=target) for target in (steps, others, others))
        for thread in (stepper, *rest):
            thread.start()
        for thread in rest:
            thread.join()
        over.set()
        stepper.join()
        first, last = order.index("alone"), len(order) - 1 - order[::-1].index("alone")
        assert order[first : last + 1] == ["alone", "step"] * 39 + ["alone"]

    def test_first_come_first(self) -> None:
        turns, order = EngineLock(), list[int]()

        def ask(number: int) -> None:
            turns.exclusive(lambda: order.append(number))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]

        def start_all() -> None:
            for count, thread in enumerate(threads, 1):
                thread.start()
                wait_for(lambda count=count: turns.waiting[1] == count)  # type: ignore[misc]

        turns.exclusive(start_all)
        for thread in threads:
            thread.join()
        assert order == list(range(8))

    def test_a_leader_that_will_not_lead_again_is_followed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A leader that was not done after its step woke no other thread; then its request was cancelled."""
        monkeypatch.setattr("santacoder.batching.engine_lock.LOOK_AGAIN", 3600.0)
        turns, led = EngineLock(), threading.Event()
        over = False
        leader = Waiter(lambda: over)
        other = threading.Thread(
            target=lambda: turns.lead_or_wait(Waiter(led.is_set), led.set, lambda _: math.inf), daemon=True
        )

        def step() -> None:
            other.start()
            wait_for(lambda: turns.waiting[0])

        turns.lead_or_wait(leader, step, lambda _: math.inf)
        over = True
        assert not led.is_set()
        with turns.lock:
            turns.wake([leader])
        other.join(HANG)
        assert led.is_set()

    @pytest.mark.parametrize("kind", ["step", "exclusive"])
    def test_an_interrupt_leaves_the_turn_to_others(self, kind: str) -> None:
        for at in itertools.count():
            turns = EngineLock()

            def take_turns(turns: EngineLock = turns) -> None:
                if kind == "exclusive":
                    turns.exclusive(int)
                else:
                    turns.lead_or_wait(Waiter(), int, lambda _: math.inf)

            more = interrupt(take_turns, at)
            led: list[int] = []
            other = threading.Thread(target=lambda turns=turns, led=led: led.append(turns.exclusive(int)), daemon=True)
            other.start()
            other.join(HANG)
            assert led == [0], f"interrupted at place {at}"
            if not more:
                assert at >= 5
                return

    def test_no_second_turn_inside_the_first(self) -> None:
        turns = EngineLock()
        inside: list[Callable[[], object]] = [
            lambda: turns.exclusive(int),
            lambda: turns.lead_or_wait(Waiter(), int, lambda _: math.inf),
        ]
        for ask in inside:
            with pytest.raises(DeadlockError, match=r"^this thread is at work for the model already"):
                turns.exclusive(ask)
            with pytest.raises(DeadlockError):
                turns.lead_or_wait(Waiter(), ask, lambda _: math.inf)
        assert turns.exclusive(lambda: 7) == 7


class TestInTheMiddleOfAStep:
    OPTIONS: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": 2, "ignore_eos": True}  # noqa: RUF012

    @pytest.fixture
    def breaking_in(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
        """Calls that are put here happen once, in the middle of the next step, on the thread that runs it."""
        whats: list[Callable[[], object]] = []
        engine = model._scheduler.engine
        forward_batch = engine.forward_batch

        def forward(*arguments: Any) -> Any:
            if whats:
                whats.pop()()
            return forward_batch(*arguments)

        monkeypatch.setattr(engine, "forward_batch", forward)
        return whats

    def test_a_request_is_refused(self, model: santacoder.SantaCoder, breaking_in: list[Callable[[], object]]) -> None:
        requests: list[Callable[[], object]] = [
            lambda: model.complete("a"),
            lambda: model.logits("a"),
            lambda: model.score(CODE),
            lambda: next(model.stream("a")),
        ]
        for request in requests:
            breaking_in.append(request)
            with pytest.raises(DeadlockError):
                model.complete(CODE, **self.OPTIONS)
            assert facts(model.complete(CODE, **self.OPTIONS)) == alone(model, CODE, **self.OPTIONS)

    def test_a_sessions_stream_ends(
        self, model: santacoder.SantaCoder, breaking_in: list[Callable[[], object]]
    ) -> None:
        """As if the garbage collector had found it there."""
        session = model.session()
        stream = session.stream(CODE, **self.OPTIONS)
        next(stream)
        breaking_in.append(stream.close)
        assert facts(model.complete(CODE + "x", **self.OPTIONS)) == alone(model, CODE + "x", **self.OPTIONS)
        assert not breaking_in
        assert len(session) == 0
        assert facts(session.complete(CODE, **self.OPTIONS)) == alone(model, CODE, **self.OPTIONS)


def test_a_deadline_while_another_has_the_engine(model: santacoder.SantaCoder) -> None:
    with engine_held(model) as answered:
        late = model.complete(CODE, max_tokens=5, deadline=0.01)
        assert not answered.is_set()
        answered.set()
    assert (late.finish_reason, late.tokens) == ("deadline", [])


def test_a_sessions_stream_ends_after_its_model() -> None:
    model = santacoder.load(FILE, threads=1)
    stream = model.session().stream(CODE, max_tokens=50, ignore_eos=True)
    next(stream)
    model.close()
    stream.close()
