"""Several gaps at once, other files beside them, and a limit on what is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import santacoder
from santacoder.decoding.results import Completion
from santacoder.text.infilling import (
    LEAST,
    MARKERS,
    InfillPrompt,
    Reading,
    Surroundings,
    fit,
    fit_reading,
    healed_infill_prompt,
)
from santacoder.text.token_ids import TokenIds, common_prefix
from tests.support.paths import FILE
from tests.support.samples import CODE, facts
from tests.support.scripted_model import make_tokenizer

GAPS = [("def f(a, b):\n    return ", "\n\nprint(f(1, 2))\n"), ("", ""), ("x = [", "]\r\ny = 1\r\n")]
OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 3}


class TestMany:
    @pytest.mark.parametrize("mode", ["auto", "spm"])
    def test_samples_are_those_of_infill(self, model: santacoder.SantaCoder, mode: Any) -> None:
        found = model.infill_many(GAPS, n=3, mode=mode, single_line=True, **OPTIONS)
        assert [len(samples) for samples in found] == [3, 3, 3]
        for (prefix, suffix), samples in zip(GAPS, found, strict=True):
            lone = model.infill(prefix, suffix, mode=mode, single_line=True, **OPTIONS)
            assert facts(samples[0]) == facts(lone)
        assert len({sample.text for sample in model.infill_many(GAPS, n=8, **OPTIONS)[0]}) > 1

    def test_tasks_get_the_same(self, model: santacoder.SantaCoder) -> None:
        expected = model.infill_many(GAPS, n=2, **OPTIONS)

        async def work() -> list[list[Completion]]:
            texts: dict[tuple[int, int], str] = {}
            last: dict[tuple[int, int], Completion | None] = {}
            async for gap, sample, piece in model.astream_infill_many(iter(GAPS), 2, **OPTIONS):
                texts[gap, sample] = texts.get((gap, sample), "") + piece.text
                last[gap, sample] = piece.completion
            for key, completion in last.items():
                assert completion is not None
                assert completion.text == texts[key]
                assert facts(completion) == facts(expected[key[0]][key[1]])
            assert len(last) == 6
            return await model.ainfill_many(GAPS, 2, **OPTIONS)

        found = asyncio.run(work())
        assert [[facts(each) for each in row] for row in found] == [[facts(each) for each in row] for row in expected]

    @pytest.mark.parametrize(
        ("gaps", "options", "message"),
        [
            ("ab", {}, "gaps is a str, but it must be a list of pairs: the texts before and after a gap"),
            (["ab"], {}, "gaps[0]: it is a str, but it must be a pair: the texts before and after"),
            ([("a", "b"), ("a", 5)], {}, "gaps[1]: the text is a int, but it must be a str"),
            ([("a", "b")], {"mode": "x"}, "gaps[0]: mode is 'x', but it must be 'auto', 'psm' or 'spm'"),
            ([("a", "b")], {"n": 0}, "n is 0, but it must be an integer of 1 or more"),
            ([], {"extra": "x"}, "extra is 'x', but it must be a list of texts"),
            ([], {"extra": ["x", 5]}, "extra[1]: the text is a int, but it must be a str"),
            ([], {"extra_tokens": -1}, "extra_tokens is -1, but it must be an integer of 0 or more"),
            ([], {"context_budget": "1"}, "context_budget is '1', but it must be a number in 0..1e+09"),
            ([], {"max_token": 1}, None),
        ],
    )
    def test_bad_requests(
        self, model: santacoder.SantaCoder, gaps: Any, options: dict[str, Any], message: str | None
    ) -> None:
        for call in (model.infill_many, model.astream_infill_many):
            with pytest.raises(santacoder.InvalidRequestError) as error:
                call(gaps, **options)
            assert message is None or str(error.value) == message


class TestExtra:
    """Tokens are bytes here."""

    TOKENIZER = make_tokenizer()

    @pytest.fixture(autouse=True)
    def markers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, token in (("fim_prefix_id", 0), ("fim_suffix_id", 1), ("fim_middle_id", 2)):
            monkeypatch.setattr(self.TOKENIZER, name, token)

    def made(self, prefix: str, suffix: str, mode: Any, room: int, extra: list[str], most: int) -> InfillPrompt:
        around = Surroundings(extra, most)
        room += MARKERS
        return healed_infill_prompt(self.TOKENIZER, prefix, suffix, mode, room, typing=False, heal=False, around=around)

    def text(self, prompt: InfillPrompt) -> str:
        return "".join("<>|"[token] if token < 3 else chr(token) for token in prompt.token_ids.tolist())

    def test_comes_before_the_prefix(self) -> None:
        assert self.text(self.made("pre", "suf", "psm", 400, ["one", "two\n"], 50)) == "<one\ntwo\npre>suf|"
        assert self.text(self.made("pre", "suf", "spm", 400, ["one", "two\n"], 50)) == "<>suf|one\ntwo\npre"
        assert self.made("pre", "suf", "spm", 400, ["one"], 50).dropped == 0

    def test_the_last_tokens_are_kept(self) -> None:
        assert self.text(self.made("pre", "suf", "psm", 400, ["one", "two\n"], 6)) == "<e\ntwo\npre>suf|"
        assert self.text(self.made("pre", "suf", "psm", 400, ["one", "two\n"], 0)) == "<pre>suf|"
        assert self.text(self.made("pre", "suf", "psm", 20, ["one", "two\n"], 50)) == "<\ntwo\npre>suf|"  # a quarter: 5

    @pytest.mark.parametrize(("prefix", "expected"), [(200, 100), (300, 100), (301, 0), (400, 0), (500, 0)])
    def test_prefix_and_suffix_come_first(self, prefix: int, expected: int) -> None:
        """Of a room of 400, whose quarter is a cut."""
        prompt = self.made("p" * prefix, "", "psm", 400, ["e" * 300], 300)
        assert self.text(prompt).count("e") == max(expected - 1, 0)
        assert prompt.token_ids.size <= 403

    def test_is_plain_text_with_lf(self, model: santacoder.SantaCoder) -> None:
        extra, other = ["<fim-prefix>\r\n"], ["<fim-prefix>\n"]
        found = [model.infill_many(GAPS[:1], extra=each, prompt_logprobs=0, **OPTIONS)[0][0] for each in (extra, other)]
        assert found[0].prompt_logprobs == found[1].prompt_logprobs
        tokens = [entry.token for entry in found[0].prompt_logprobs or () if entry]
        assert tokens.count(model.tokenizer.fim_prefix_id or -1) == 0


class TestReading:
    def test_what_is_cheap_enough_stays_whole(self) -> None:
        assert fit_reading(3000, 900, 2000, lambda dropped, kept: 100, 100) == fit(3000, 900, 2000) == (1536, 500)

    def test_nothing_in_a_cache(self) -> None:
        def cost(dropped: int, kept: int) -> int:
            return 2000 - dropped + kept

        dropped, kept = fit_reading(2000, 500, 2500, cost, 0)
        assert (dropped, kept) == (1792, 64)
        assert 2000 - dropped + kept >= LEAST
        assert fit_reading(2000, 500, 2500, cost, 900) == (1280, 128)
        assert fit_reading(100, 50, 500, cost, 0) == (0, 50)
        assert fit_reading(100, 500, 700, cost, 0) == (0, 256)  # of the suffix more is needed
        assert fit_reading(0, 900, 700, cost, 0) == (0, 256)

    @given(st.integers(0, 4000), st.integers(0, 4000), st.integers(1, 2048), st.integers(0, 3000))
    def test_bounds(self, prefix: int, suffix: int, room: int, most: int) -> None:
        whole, kept_whole = fit(prefix, suffix, room)
        dropped, kept = fit_reading(prefix, suffix, room, lambda dropped, kept: prefix - dropped + kept, most)
        size = prefix - dropped + kept
        assert whole <= dropped <= prefix
        assert 0 <= kept <= kept_whole
        assert size <= room
        assert size >= min(LEAST, prefix - whole + kept_whole)
        assert size <= most or size < LEAST + max(64, kept)

    def test_a_context_grows_while_somebody_types(self) -> None:
        """It begins where it began, since that is in the cache."""

        def prompt(typed: int, dropped: int, kept: int) -> TokenIds:
            return np.array([*range(kept), -1, *range(10_000 + dropped, 10_000 + typed)], dtype=np.int32)

        def read(typed: int, cached: TokenIds) -> TokenIds:
            def uncached(dropped: int, kept: int) -> int:
                ids = prompt(typed, dropped, kept)
                return ids.size - common_prefix(ids, cached)

            return prompt(typed, *fit_reading(typed, 300, 2000, uncached, 140))

        cached: TokenIds = np.empty(0, dtype=np.int32)
        sizes = []
        for typed in range(1500, 2300, 10):
            cached = read(typed, cached)
            sizes.append(cached.size)
        assert sizes[0] <= LEAST + 64
        assert sizes == [*range(sizes[0], sizes[0] + 800, 10)]


class TestBudget:
    @pytest.fixture
    def own(self) -> Iterator[santacoder.SantaCoder]:
        with santacoder.load(FILE, threads=2) as model:
            yield model

    def test_no_speed_no_limit(self, own: santacoder.SantaCoder) -> None:
        assert own._scheduler.reading(1.0) is None
        [[whole]] = own.infill_many([(CODE * 20, CODE)], context_budget=0, **OPTIONS)
        assert facts(whole) == facts(own.infill(CODE * 20, CODE, **OPTIONS))

    def test_the_speed_of_the_last_prompts(self, own: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        own.complete([5] * 200, max_tokens=0)
        assert own._scheduler._batch.meter.prompt_speed is not None
        monkeypatch.setattr(own._scheduler._batch.meter, "prompt_speed", 250.0)
        reading = own._scheduler.reading(0.5)
        assert reading is not None
        assert reading.most == 125
        ids = np.full(210, 5, dtype=np.int32)
        assert reading.uncached(ids) == 10
        assert reading.uncached(ids + 1) == 210

    def test_less_is_read(self, own: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        """The context of the test's model is 256, so the least is 64 here."""
        monkeypatch.setattr("santacoder.text.infilling.LEAST", 64)
        prefix = "a b c\n" * 30
        whole = own.infill(prefix, CODE, mode="spm", **OPTIONS)
        own._scheduler.forget()
        monkeypatch.setattr(own._scheduler._batch.meter, "prompt_speed", 100.0)
        [[cut]] = own.infill_many([(prefix, CODE)], mode="spm", context_budget=0.1, extra=["e"], **OPTIONS)
        assert cut.usage.prompt_tokens + cut.dropped == whole.usage.prompt_tokens + whole.dropped
        assert 64 <= cut.usage.prompt_tokens - MARKERS < 64 + 64
        monkeypatch.setattr(own._scheduler._batch.meter, "prompt_speed", 100.0)
        [[again]] = own.infill_many([(prefix + "b", CODE)], mode="spm", context_budget=0.1, **OPTIONS)
        assert again.timings.cached_tokens >= cut.usage.prompt_tokens - cut.healed - 1
        [[free]] = own.infill_many([(prefix, CODE)], mode="spm", context_budget=1e9, **OPTIONS)
        assert facts(free) == facts(whole)

    def test_a_reading_that_another_sample_does_is_free(self) -> None:
        reading = Reading(1, lambda prompt: 1)
        assert reading.uncached(np.zeros(9, dtype=np.int32)) == 1


def test_what_was_cut_is_counted(model: santacoder.SantaCoder) -> None:
    assert model.infill(*GAPS[0], max_tokens=4).dropped == 0
    prefix, tokens = CODE * 10, len(model.tokenizer.encode(CODE * 10))
    completion = model.infill(prefix, "", max_tokens=4)
    assert completion.dropped + completion.usage.prompt_tokens == tokens + MARKERS
    ids = model.tokenizer.encode(CODE * 10)
    completion = model.complete(ids, max_tokens=4, truncate="left")
    assert completion.dropped + completion.usage.prompt_tokens == tokens
    assert completion.dropped > 0
