"""Earlier answers: whose they are, and that they change no byte."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.answers import CLIENT, MOST_CLIENTS, EarlierAnswers
from santacoder.decoding.guess_store import GuessStore
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.requests import check_infill, check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer
from tests.support.fixed_costs import FixedCosts
from tests.support.interrupting import interrupt
from tests.support.samples import CODE, Counted, facts, run_until

GREEDY: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True, "token_healing": False}


@pytest.fixture(scope="module")
def packaged() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(threads=2) as model:
        yield model


@pytest.fixture
def free(packaged: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> santacoder.SantaCoder:
    """The model where rows are free, without any answers."""
    monkeypatch.setattr(packaged._scheduler.guesses.guessing, "costs", FixedCosts([1.0] * 16))
    packaged._scheduler.forget()
    return packaged


def steps(model: santacoder.SantaCoder, client: str = "") -> int:
    """Ask always the same for a client, and return how many steps the answer took."""
    before, token = model.counters().steps, CLIENT.set(client)
    model.complete("def load_settings(", max_tokens=40, **GREEDY)
    CLIENT.reset(token)
    return model.counters().steps - before


class TestWhose:
    def test_the_same_answer_takes_fewer_steps(self, free: santacoder.SantaCoder) -> None:
        assert steps(free) > 1.5 * steps(free)

    def test_a_session_has_its_own(self, packaged: santacoder.SantaCoder) -> None:
        packaged._scheduler.forget()
        one, other = packaged.session(), packaged.session()
        one.complete("def load_settings(", max_tokens=40, **GREEDY)
        other.complete("x", max_tokens=1, **GREEDY)  # what has ended is noted with the next step
        assert len(one._answers) > 40
        assert len(other._answers) == 0
        assert not packaged._scheduler.guesses.answers._stores

    def test_a_client_has_its_own(self, packaged: santacoder.SantaCoder) -> None:
        packaged._scheduler.forget()
        for client, count in (("a", 40), ("b", 10)):
            token = CLIENT.set(client)
            packaged.complete("x", max_tokens=count, **GREEDY)
            CLIENT.reset(token)
        answers = packaged._scheduler.guesses.answers
        assert [len(answers.of(client)) for client in ("a", "b")] == [40 + 1 + 1, 10 + 1 + 1]

    def test_another_client_gains_nothing(self, free: santacoder.SantaCoder) -> None:
        """So nobody learns from the time of an answer what others were answered."""
        first, others, again = (steps(free, client) for client in ("a", "b", "b"))
        assert min(first, others) > 1.5 * again

    def test_without_lookup_nothing_is_kept(self, packaged: santacoder.SantaCoder) -> None:
        packaged._scheduler.forget()
        packaged.complete("x", max_tokens=4, lookup=False, **GREEDY)
        assert len(packaged._scheduler.guesses.answers.of(None)) == 0

    def test_closing_forgets(self) -> None:
        with santacoder.load(threads=1) as model:
            model.complete("x", max_tokens=4)
        assert not model._scheduler.guesses.answers._stores

    def test_those_that_came_last_stay(self) -> None:
        answers = EarlierAnswers()
        first = answers.of(0)
        for client in range(1, MOST_CLIENTS):
            answers.of(client)
        assert answers.of(0) is first
        answers.of("new")
        assert answers.of(0) is first
        assert 1 not in answers._stores


def test_an_answer_follows_the_text_before_the_gap(parts: tuple[Transformer, Tokenizer]) -> None:
    tokenizer = parts[1]
    request = check_infill(tokenizer, 256, "abcdef", "xyz", "psm", False, SamplingParams(max_tokens=5, **GREEDY))
    [sequence] = new_sequences(request)
    sequence.guesses.answers = GuessStore("answers", 1000)
    Scheduler(parts[0]).finish([sequence])
    before = request.token_ids[: request.gap]
    match = sequence.guesses.answers.find(before)
    assert match is not None
    assert sequence.guesses.answers.copy(match, 9).tolist() == sequence.tokens


tokens = st.lists(st.integers(0, 511), max_size=40)


@given(
    stores=st.lists(st.tuples(st.sampled_from(["answers", "project"]), st.lists(tokens, max_size=5)), max_size=3),
    right=st.booleans(),
    known=st.lists(st.sampled_from([0.001, 1.0, 5.0]), min_size=1, max_size=20),
    prompt=st.sampled_from(["", CODE, CODE[:40], "abc" * 9]),
    gap=st.sampled_from([None, "psm", "spm"]),
    params=st.fixed_dictionaries(
        {
            "max_tokens": st.integers(1, 30),
            "temperature": st.sampled_from([0.0, 0.3, 1.5]),
            "seed": st.integers(0, 3),
            "repetition_penalty": st.sampled_from([1.0, 1.3]),
            "frequency_penalty": st.sampled_from([0.0, 0.5]),
            "logit_bias": st.sampled_from([{}, {65: 8.0, 66: 8.0}]),
            "stop": st.sampled_from([(), ("\n",), ("AB", "e")]),
            "logprobs": st.sampled_from([None, 2]),
            "token_healing": st.booleans(),
        }
    ),
    count=st.integers(1, 3),
    cancelled=st.integers(0, 20),
)
def test_no_store_changes_an_answer(
    parts: tuple[Transformer, Tokenizer],
    stores: list[tuple[str, list[list[int]]]],
    right: bool,
    known: list[float],
    prompt: str,
    gap: Any,
    params: dict[str, Any],
    count: int,
    cancelled: int,
) -> None:
    """With any texts to guess from, perhaps with the answer itself; another request is cancelled after some steps."""
    engine, tokenizer = parts
    params["token_healing"] &= gap is None

    def samples(lookup: bool) -> list[Sequence]:
        checked = SamplingParams(**params, lookup=lookup, ignore_eos=True)
        if gap is None:
            return new_sequences(check_request(tokenizer, 256, prompt, checked), range(count))
        return new_sequences(check_infill(tokenizer, 256, prompt, prompt[::2], gap, False, checked), range(count))

    expected = samples(lookup=False)
    Scheduler(engine).finish(expected)
    scheduler = Scheduler(Counted(engine))
    scheduler.guesses.guessing.costs = FixedCosts(known)
    sources = []
    for kind, texts in stores:
        sources.append(GuessStore(kind, 64))
        for text in [*texts, *([sample.tokens for sample in expected] if right else [])]:
            sources[-1].add(np.array(text, dtype=np.int32))
            sources[-1].end_text()
    scheduler.guesses.guessing.sources = tuple(sources)
    found, [other], call = samples(lookup=True), samples(lookup=True)[:1], Call()
    scheduler.submit(call, [*found, other])
    for _ in range(cancelled):
        scheduler.step()
    scheduler.cancel([other])
    run_until(scheduler, call, lambda: all(sequence.ended for sequence in found))
    for one, two in zip(found, expected, strict=True):
        assert facts(one.completion()) == facts(two.completion())
        assert one.completion().logprobs == two.completion().logprobs


@pytest.mark.parametrize("first", range(3))
def test_ctrl_c_anywhere_while_guessing(parts: tuple[Transformer, Tokenizer], first: int) -> None:
    """At every 30th place where the library's own code begins or ends a function; then the work goes on."""
    engine, tokenizer = parts
    params = SamplingParams(seed=1, temperature=0.0, max_tokens=12, ignore_eos=True, logit_bias={65: 8.0, 66: 8.0})

    def sample(mode: Any) -> Sequence:
        return new_sequences(check_infill(tokenizer, 256, "ABABAB", "AABB", mode, False, params))[0]

    expected = []
    for mode in ("psm", "spm"):
        each = sample(mode)
        Scheduler(engine).finish([each])
        expected.append(facts(each.completion()))
    for at in itertools.count(10 * first, 30):
        scheduler, call = Scheduler(engine), Call()
        scheduler.guesses.guessing.costs = FixedCosts([1.0] * 16)
        samples = [sample(mode) for mode in ("psm", "spm")]
        scheduler.submit(call, samples)

        def run(scheduler: Scheduler[Transformer] = scheduler, call: Call = call, all_of: Any = samples) -> None:
            run_until(scheduler, call, lambda: all(sequence.ended for sequence in all_of))

        more = interrupt(run, at)
        run()
        assert [facts(each.completion()) for each in samples] == expected, f"interrupted at place {at}"
        if not more:
            assert at > 100
            return
