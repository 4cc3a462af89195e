"""Draft tokens, log-probabilities, and a sample that is built anew in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.drafting import Drafter
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence, State
from santacoder.engine.transformer import Transformer
from santacoder.text.tokenizer import Tokenizer
from tests.support.samples import CODE, Counted, alone, facts, new_sequence, run_until


class TestLogprobs:
    @pytest.mark.parametrize("k", [0, 1, 5])
    @pytest.mark.parametrize("lookup", [True, False])
    def test_are_those_of_the_logits(self, model: santacoder.SantaCoder, k: int, lookup: bool) -> None:
        options: dict[str, Any] = {
            "max_tokens": 20, "temperature": 1.0, "seed": 4, "lookup": lookup, "logprobs": k, "token_healing": False,
        }  # fmt: skip
        completion = model.complete(CODE, repetition_penalty=1.2, **options)
        assert completion.logprobs is not None
        score = model.score([*model.tokenizer.encode(CODE), *completion.tokens])
        assert [entry.logprob for entry in completion.logprobs] == score.logprobs[-len(completion.tokens) :]
        assert [entry.token for entry in completion.logprobs] == completion.tokens
        for entry, greedy in zip(completion.logprobs, score.greedy[-len(completion.tokens) :], strict=True):
            assert len(entry.top) == k
            assert not k or entry.top[0][0] == greedy
            assert dict(entry.top).get(entry.token, entry.logprob) == entry.logprob
        pieces = list(model.stream(CODE, repetition_penalty=1.2, **options))
        assert [entry for piece in pieces for entry in piece.logprobs or ()] == completion.logprobs

    def test_an_echoed_prompt_has_none(self, model: santacoder.SantaCoder) -> None:
        assert next(model.stream("a", echo=True, logprobs=1)).logprobs == ()
        assert next(model.stream("a", echo=True)).logprobs is None

    def test_are_off_by_default(self, model: santacoder.SantaCoder) -> None:
        assert model.complete("a", max_tokens=1).logprobs is None
        with pytest.raises(santacoder.InvalidRequestError, match=r"^logprobs is 101, but it must be an integer in 0"):
            model.complete("a", logprobs=101)


class TestLookup:
    TEXT = "alpha beta gamma\n" * 6

    def test_drafts_save_steps_and_change_nothing(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        rows = {}
        texts = {}
        for lookup in (False, True):
            engine = Counted(transformer)
            bias = dict.fromkeys(tokenizer.encode(self.TEXT), 50.0)  # few tokens, so that drafts are right
            params = SamplingParams(max_tokens=100, temperature=0, ignore_eos=True, logit_bias=bias, lookup=lookup)
            sample = new_sequence(tokenizer, tokenizer.encode(self.TEXT), params)
            Scheduler(engine).finish([sample])
            rows[lookup], texts[lookup] = len(engine.rows), sample.tokens
        assert texts[True] == texts[False]
        assert rows[True] < rows[False] == 100

    @pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
    def test_sampling_too(self, model: santacoder.SantaCoder, temperature: float) -> None:
        bias = dict.fromkeys(model.tokenizer.encode("abc"), 12.0)
        for seed in range(10):
            options: dict[str, Any] = {
                "max_tokens": 60, "temperature": temperature, "seed": seed, "logit_bias": bias, "stop": "cab",
                "frequency_penalty": 0.05,
            }  # fmt: skip
            assert facts(model.complete("abcabc", **options)) == alone(model, "abcabc", **options)

    def test_no_draft_reaches_beyond_the_last_token(
        self, parts: tuple[Transformer, Tokenizer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor beyond the room in the step. All are wrong, so each step yields one token."""
        transformer, tokenizer = parts
        monkeypatch.setattr(Drafter, "propose", lambda _, tokens, most, beside: np.full(most, 9))
        engine = Counted(transformer)
        params = SamplingParams(max_tokens=5, temperature=0, ignore_eos=True, logit_bias={9: -100.0})
        sample = new_sequence(tokenizer, [1, 2, 3], params, context=8)
        scheduler, call = Scheduler(engine), Call()
        scheduler.submit(call, [sample])
        run_until(scheduler, call, lambda: sample.generated == 1)
        assert sample.pending(2, 0)[0].size == 2
        run_until(scheduler, call, lambda: sample.ended)
        assert engine.rows == [3, 4, 3, 2, 1]

    @pytest.mark.parametrize("way", ["stop_tokens", "stop", "max_tokens", "closed", "session", "saved"])
    def test_no_wrong_draft_stays(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
    ) -> None:
        """The cache that a request leaves, for the next one that begins with its text, holds only that text."""
        options: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "token_healing": False}
        ids = model.tokenizer.encode(CODE)
        text = model.complete(CODE, max_tokens=6, lookup=False, **options).tokens
        wrong = next(token for token in range(200, 300) if token not in text)
        monkeypatch.setattr(Drafter, "propose", lambda _, tokens, most, beside: np.full(min(most, 3), wrong))
        model._scheduler.forget()
        session = model.session()
        if way == "stop_tokens":
            tokens = model.complete(CODE, stop_tokens=text[3], **options).tokens
        elif way == "stop":
            tokens = model.complete(CODE, stop=model.tokenizer.decode([text[3]]), **options).tokens
        elif way == "max_tokens":
            tokens = model.complete(CODE, max_tokens=4, **options).tokens
        elif way == "closed":
            stream = model.stream(CODE, max_tokens=20, **options)
            tokens = [token for _ in range(3) for token in next(stream).tokens]
            stream.close()
        else:
            tokens = session.complete(CODE, stop_tokens=text[3], **options).tokens
        assert tokens == text[: len(tokens)]
        model.complete("x", max_tokens=1)  # keeps the finished sample's cache
        if way == "saved":
            session.save(tmp_path / "a.session")
            session = model.session()
            session.load(tmp_path / "a.session")
        follow = session.complete if way in ("session", "saved") else model.complete
        prompt = [*ids, *tokens, 9]
        found = follow(prompt, max_tokens=3, logprobs=2, **options)
        assert found.timings.prompt_tokens == 2  # the last token and the new one; the cache had the rest
        model._scheduler.forget()
        assert found.logprobs == model.complete(prompt, max_tokens=3, logprobs=2, **options).logprobs


def test_a_prompt_that_was_not_run_has_no_tokens_in_the_timings(model: santacoder.SantaCoder) -> None:
    model._scheduler.forget()
    assert model.complete(CODE, deadline=0).timings.prompt_tokens == 0
    ids = model.tokenizer.encode(CODE)
    assert model.complete(ids, max_tokens=1).timings.prompt_tokens == len(ids)
    assert model.complete(ids, max_tokens=1).timings.prompt_tokens == 1


def test_the_callers_tokens_are_its_own(model: santacoder.SantaCoder) -> None:
    found = model.complete(CODE, max_tokens=4, temperature=0, ignore_eos=True)
    edited = [token + 1 for token in found.tokens]
    found.tokens[:] = edited
    prompt = [*model.tokenizer.encode(CODE), *edited]
    again = model.complete(prompt, max_tokens=2, logprobs=2, temperature=0, ignore_eos=True)
    model._scheduler.forget()
    assert again.logprobs == model.complete(prompt, max_tokens=2, logprobs=2, temperature=0, ignore_eos=True).logprobs


def test_a_sequence_restores_after_any_token(parts: tuple[Transformer, Tokenizer]) -> None:
    """Sampler and text that are built anew in the middle change neither tokens nor pieces."""
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=9, presence_penalty=0.5, stop="zq", lookup=False)
    whole = new_sequence(tokenizer, CODE, params)
    Scheduler(transformer).finish([whole])

    class Restoring(Sequence):
        def advance(self, *arguments: Any, **options: Any) -> None:
            super().advance(*arguments, **options)
            if not self.ended:
                self.restore()

    again = Restoring(whole.request, 9)
    Scheduler(transformer).finish([again])
    assert again.pieces == whole.pieces
    assert again.tokens == whole.tokens


def test_the_state_names_how_far_a_sequence_is(parts: tuple[Transformer, Tokenizer]) -> None:
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=2, temperature=0, ignore_eos=True, lookup=False)
    finished, cancelled, failed = sequences = [new_sequence(tokenizer, CODE, params) for _ in range(3)]
    scheduler, call = Scheduler(transformer), Call()

    def states() -> list[tuple[State, bool]]:
        return [(sequence.state, sequence.ended) for sequence in sequences]

    assert states() == [(State.WAITING, False)] * 3
    scheduler.submit(call, [finished])
    scheduler.step()
    assert states()[0] == (State.RUNNING, False)
    run_until(scheduler, call, lambda: finished.ended)
    scheduler.cancel([finished, cancelled])
    failed.error = santacoder.NumericalError("x")
    assert states() == [(State.FINISHED, True), (State.CANCELLED, True), (State.FAILED, True)]
