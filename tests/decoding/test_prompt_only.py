"""Requests that read their prompt: with no tokens to generate, and with the log-probabilities of its tokens."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.policy import Prefix, find_prefix
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.results import Completion, Usage
from santacoder.engine.transformer import Transformer
from santacoder.requests import check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer
from tests.support.interrupting import interrupt
from tests.support.samples import CODE, PROMPTS, facts, new_sequence, run_until

LONG = CODE * 5


class TestNoTokens:
    @pytest.mark.parametrize("healing", [None, False])
    def test_the_prompt_is_in_the_cache_afterwards(self, model: santacoder.SantaCoder, healing: bool | None) -> None:
        prompt = CODE + str(healing)
        read = model.complete(prompt, max_tokens=0, token_healing=healing)
        tokens = len(model.tokenizer.encode(prompt))
        assert facts(read) == ("", [], "length", read.seed, Usage(tokens, 0))
        assert read.timings.prompt_tokens + read.timings.cached_tokens == tokens - read.healed
        assert read.timings.prompt_seconds > 0 == read.timings.generation_tokens
        then = model.complete(prompt, max_tokens=4, token_healing=healing)
        assert then.timings.cached_tokens == tokens - then.healed - 1
        assert then.timings.prompt_tokens == 1

    def test_it_may_fill_the_context(self, model: santacoder.SantaCoder) -> None:
        assert model.complete([1] * model.context, max_tokens=0).usage == Usage(model.context, 0)
        with pytest.raises(
            santacoder.ContextOverflowError, match=r"^the prompt has 257 tokens, but the context has 256"
        ):
            model.complete([1] * (model.context + 1), max_tokens=0)

    def test_streams_have_one_piece_and_the_echo(self, model: santacoder.SantaCoder) -> None:
        [echo, last] = model.stream("a = ", max_tokens=0, echo=True)
        assert (echo.text, echo.finish_reason, last.text, last.finish_reason) == ("a = ", None, "", "length")
        assert last.completion is not None
        assert last.completion.text == "a = "

    def test_infills_and_sessions_do_the_same(self, model: santacoder.SantaCoder) -> None:
        with_cut = model.infill("x" * 4000, "y", max_tokens=0)
        assert (with_cut.text, with_cut.finish_reason) == ("", "length")
        session = model.session()
        session.infill("def f(a):\n    return ", "\n", max_tokens=0)
        kept = len(session)
        assert kept > 5
        then = session.infill("def f(a):\n    return ", "\n", max_tokens=4)
        assert then.timings.cached_tokens == kept - 1

    def test_hooks_are_not_asked(self, model: santacoder.SantaCoder) -> None:
        asked: list[str] = []
        options: dict[str, Any] = {"logits_processor": lambda ids, logits: asked.append("a"), "stopping": asked.append}
        assert model.complete(CODE, max_tokens=0, **options).finish_reason == "length"
        assert asked == []

    def test_less_is_refused(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^max_tokens is -1, but it must be an integer of 0 or"
        ):
            model.complete("a", max_tokens=-1)


def logprobs(completion: Completion) -> list[float | None]:
    assert completion.prompt_logprobs is not None
    return [None if entry is None else entry.logprob for entry in completion.prompt_logprobs]


class TestPromptLogprobs:
    @pytest.mark.parametrize("prompt", [*PROMPTS, LONG])
    @pytest.mark.parametrize("k", [0, 3])
    def test_are_those_of_score(self, model: santacoder.SantaCoder, prompt: str, k: int) -> None:
        options: dict[str, Any] = {"max_tokens": 6, "seed": 3, "temperature": 1.0}
        score = model.score(prompt)
        completion = model.complete(prompt, prompt_logprobs=k, **options)
        assert logprobs(completion) == score.logprobs
        assert facts(completion) == facts(model.complete(prompt, token_healing=False, **options))
        assert completion.prompt_logprobs is not None
        for entry, token, greedy in zip(completion.prompt_logprobs, score.tokens, score.greedy, strict=True):
            if entry is not None:
                assert (entry.token, len(entry.top)) == (token, k)
                assert not k or entry.top[0][0] == greedy
                assert dict(entry.top).get(token, entry.logprob) == entry.logprob

    def test_are_off_by_default(self, model: santacoder.SantaCoder) -> None:
        assert model.complete("a", max_tokens=1).prompt_logprobs is None
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^prompt_logprobs is 101, but it must be an integer in"
        ):
            model.complete("a", prompt_logprobs=101)

    def test_a_prompt_that_fills_the_context_but_for_one_token(self, model: santacoder.SantaCoder) -> None:
        prompt = model.tokenizer.encode(LONG * 2)[: model.context - 1]
        completion = model.complete(prompt, max_tokens=1, temperature=0, logprobs=1, prompt_logprobs=1)
        assert logprobs(completion) == model.score(prompt).logprobs
        assert len(completion.logprobs or ()) + (completion.end_logprobs is not None) == 1

    def test_a_deadline_in_the_prompt_leaves_those_of_what_was_read(self, model: santacoder.SantaCoder) -> None:
        completion = model.complete(f"# late\n{CODE}", deadline=0, prompt_logprobs=0)
        assert (completion.finish_reason, completion.tokens) == ("deadline", [])
        whole = model.score(f"# late\n{CODE}").logprobs
        found = logprobs(completion)
        assert found == whole[: len(found)]
        assert len(found) < len(whole)

    def test_taken_back_tokens_have_none(self, model: santacoder.SantaCoder) -> None:
        completion = model.complete(CODE, max_tokens=2, prompt_logprobs=0, token_healing=True)
        assert completion.healed == 1
        assert logprobs(completion) == model.score(CODE).logprobs[:-1]

    @pytest.mark.parametrize("cached", [False, True])
    def test_samples_of_a_prompt_score_it_once(self, model: santacoder.SantaCoder, cached: bool) -> None:
        prompt = f"# {cached}\n{LONG}"[: len(LONG)]
        if cached:
            model.complete(prompt, max_tokens=0, token_healing=False)
        [samples] = model.complete_many([prompt], n=5, max_tokens=3, prompt_logprobs=1, seed=1)
        tokens = samples[0].usage.prompt_tokens
        assert [sample.timings.prompt_tokens for sample in samples] == [tokens, 1, 1, 1, 1]
        assert all(sample.prompt_logprobs == samples[0].prompt_logprobs for sample in samples)
        assert logprobs(samples[0]) == model.score(prompt).logprobs

    @pytest.mark.parametrize("together", [False, True])
    def test_prompts_that_begin_alike_score_what_they_share_once(
        self, model: santacoder.SantaCoder, together: bool
    ) -> None:
        """As a harness sends the choices of a question: one after the other, or at the same time."""
        context = f"{LONG[:300]}# {together}\n"
        prompts = [model.tokenizer.encode(context + choice) for choice in ("yes", "no", "maybe so", "yes, and no")]
        shared = len(model.tokenizer.encode(context))
        if together:
            found = [row[0] for row in model.complete_many(prompts, max_tokens=1, prompt_logprobs=1)]
        else:
            found = [model.complete(prompt, max_tokens=1, prompt_logprobs=1) for prompt in prompts]
        assert sum(each.timings.prompt_tokens for each in found) < sum(map(len, prompts)) - 3 * (shared - 3)
        for prompt, completion in zip(prompts, found, strict=True):
            assert logprobs(completion) == model.score(prompt).logprobs
        fewer, more = (model.complete(prompts[0], max_tokens=1, prompt_logprobs=k) for k in (0, 2))
        assert (fewer.timings.prompt_tokens, more.timings.prompt_tokens) == (1, len(prompts[0]))
        assert logprobs(fewer) == logprobs(more) == logprobs(found[0])
        assert {len(entry.top) for entry in fewer.prompt_logprobs or () if entry} == {0}
        assert {len(entry.top) for entry in more.prompt_logprobs or () if entry} == {2}

    def test_a_session_reads_a_scored_prompt_once_more(self, model: santacoder.SantaCoder) -> None:
        session, prompt = model.session(), model.tokenizer.encode(LONG)
        session.complete(prompt, max_tokens=2)
        completion = session.complete(prompt, max_tokens=2, prompt_logprobs=0)
        assert logprobs(completion) == model.score(prompt).logprobs
        assert (completion.timings.prompt_tokens, completion.timings.cached_tokens) == (len(prompt), 0)
        again = session.complete(prompt, max_tokens=2)
        assert again.timings.prompt_tokens == 1

    def test_hooks_see_the_text_only(self, model: santacoder.SantaCoder) -> None:
        lengths: list[int] = []

        def process(ids: Any, logits: Any) -> None:
            lengths.append(len(ids))

        completion = model.complete(LONG, max_tokens=3, prompt_logprobs=0, logits_processor=process, ignore_eos=True)
        assert logprobs(completion) == model.score(LONG).logprobs
        first = completion.usage.prompt_tokens
        assert lengths == [first, first + 1, first + 2]

    def test_beside_others_whose_texts_stay_the_same(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0, "ignore_eos": True}
        expected = [model.complete("a", seed=seed, **options).tokens for seed in range(3)]
        requests = [santacoder.Request("a", {**options, "seed": seed}) for seed in range(3)]  # type: ignore[typeddict-item]
        requests += [santacoder.Request(LONG + str(i), {"prompt_logprobs": 2, "max_tokens": 5}) for i in range(4)]
        for position, completion in model.complete_each(requests):
            if position < 3:
                assert completion.tokens == expected[position]
            else:
                assert logprobs(completion) == model.score(LONG + str(position - 3)).logprobs

    def test_streams_give_them_before_the_text(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 5, "seed": 1, "temperature": 1.0, "prompt_logprobs": 1, "echo": True}
        completion = model.complete(CODE, **options)
        pieces = [*model.stream(CODE, **options)]
        assert (pieces[0].text, pieces[0].tokens) == (CODE, ())
        assert [*(pieces[0].prompt_logprobs or ())] == completion.prompt_logprobs
        assert "".join(piece.text for piece in pieces) == completion.text
        assert all(piece.prompt_logprobs is None for piece in pieces[1:])

        async def collect() -> list[santacoder.Piece]:
            return [piece async for piece in model.astream(CODE, **options)]

        assert asyncio.run(collect()) == pieces

    def test_memory_is_that_of_a_few_rows(self, model: santacoder.SantaCoder) -> None:
        prompt = model.tokenizer.encode(LONG)
        sizes: list[int] = []
        for k in (None, 0):
            tracemalloc.start()
            model.complete(prompt, max_tokens=1, prompt_logprobs=k)
            sizes.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        rows = (sizes[1] - sizes[0]) / (4 * model.config.vocab_size)
        assert rows < 40 < len(prompt)  # 16 of float32, and a few of float64

    def test_a_fault_ends_its_own_request(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts

        class Faulty:
            context, chunk, block_bytes = transformer.context, transformer.chunk, transformer.block_bytes
            new_cache, forward_batch = transformer.new_cache, transformer.forward_batch

            def iter_logits_batch(self, *arguments: Any) -> Any:
                for first, rows in enumerate(transformer.iter_logits_batch(*arguments)):
                    rows[first == 0 and 3] = np.nan if first == 0 else rows[0]
                    yield rows

        params = SamplingParams(max_tokens=2, prompt_logprobs=0)
        [bad] = [new_sequence(tokenizer, CODE, params)]
        good = new_sequence(tokenizer, "import os", SamplingParams(max_tokens=8, seed=1))
        scheduler, call = Scheduler(Faulty()), Call()
        scheduler.submit(call, [bad, good])
        run_until(scheduler, call, lambda: bad.ended and good.ended)
        assert str(bad.error) == "the logits of position 3 hold a NaN or an infinity"
        alone = new_sequence(tokenizer, "import os", SamplingParams(max_tokens=8, seed=1))
        Scheduler(transformer).finish([alone])
        assert good.tokens == alone.tokens

    def test_an_interruption_anywhere_changes_nothing(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=3, seed=1, temperature=1.0, prompt_logprobs=1, logprobs=1)
        request = check_request(tokenizer, 256, LONG[:120], params)
        [expected] = new_sequences(request)
        Scheduler(transformer).finish([expected])
        for at in range(1, 60, 3):
            samples = new_sequences(check_request(tokenizer, 256, LONG[:120], params), range(2))
            scheduler, call = Scheduler(transformer), Call()
            scheduler.submit(call, samples)
            interrupt(scheduler.step, at)
            while not all(sample.ended for sample in samples):
                scheduler.step()
            assert facts(samples[0].completion()) == facts(expected.completion())
            for sample in samples:
                assert sample.completion().prompt_logprobs == expected.completion().prompt_logprobs


def test_a_scored_prompt_waits_only_for_what_it_can_use() -> None:
    class Running:
        prompt = np.arange(100, dtype=np.int32)
        cache: Any = [None] * 60

    held = Running()
    assert find_prefix(held.prompt, [held], []) is None
    assert find_prefix(held.prompt, [], [], 0) == Prefix(0, None)
    assert find_prefix(held.prompt, [held], [], 40) is None
    held.cache = [None] * 100
    assert find_prefix(held.prompt, [held], [], 40) is None
    assert find_prefix(held.prompt, [held], [], 99) == Prefix(99, held.cache)


class TestWhatEndedTheText:
    def test_an_end_of_text_and_its_log_probability(self, model: santacoder.SantaCoder) -> None:
        end = model.tokenizer.eot_id
        assert end is not None
        options: dict[str, Any] = {"max_tokens": 5, "logit_bias": {end: 100.0}, "token_healing": False}
        completion = model.complete(CODE, logprobs=2, **options)
        assert (completion.tokens, completion.end_token, completion.stop_text) == ([], end, None)
        assert completion.end_logprobs is not None
        score = model.score([*model.tokenizer.encode(CODE), end])
        assert (completion.end_logprobs.token, completion.end_logprobs.logprob) == (end, score.logprobs[-1])
        assert completion.mean_logprob == score.logprobs[-1]
        assert model.complete(CODE, **options).end_logprobs is None

    def test_a_stop_token_is_among_the_tokens(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 4, "temperature": 0, "token_healing": False}
        tokens = model.complete("import", **options).tokens
        completion = model.complete("import", stop_tokens=tokens[1], logprobs=0, **options)
        assert completion.tokens[-1] == completion.end_token == tokens[1]
        assert completion.end_logprobs is None
        assert completion.logprobs is not None
        assert completion.mean_logprob == sum(entry.logprob for entry in completion.logprobs) / len(completion.tokens)

    def test_a_stop_string(self, model: santacoder.SantaCoder) -> None:
        text = model.complete("def add(a, b):", max_tokens=8, temperature=0).text
        stops = [text[5:8], "not there"]
        completion = model.complete("def add(a, b):", max_tokens=8, temperature=0, stop=stops)
        assert (completion.text, completion.stop_text, completion.end_token) == (text[:5], stops[0], None)
        assert completion.mean_logprob is None

    def test_a_limit_is_neither(self, model: santacoder.SantaCoder) -> None:
        completion = model.complete("import", max_tokens=1)
        assert (completion.end_token, completion.end_logprobs, completion.stop_text) == (None, None, None)

    def test_the_last_piece_of_a_stream_has_the_completion(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 6, "logprobs": 1, "seed": 5}
        [expected] = model.complete_many(["import", "def"], n=2, **options)[1:]

        async def last() -> dict[tuple[int, int], Completion | None]:
            pieces = [item async for item in model.astream_many(["import", "def"], 2, **options)]
            assert all(piece.completion is None for _, _, piece in pieces if piece.finish_reason is None)
            return {(i, j): piece.completion for i, j, piece in pieces if piece.finish_reason}

        found = asyncio.run(last())
        assert sorted(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
        for j, completion in enumerate(expected):
            streamed = found[1, j]
            assert streamed is not None
            assert facts(streamed) == facts(completion)
            assert (streamed.logprobs, streamed.end_token) == (completion.logprobs, completion.end_token)
