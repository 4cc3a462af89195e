"""Batches, threads, sessions, guesses: whatever the company, a sample is what it is alone."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.benchmark import TimedSteps
from santacoder.loading import open_transformer
from santacoder.requests import new_sample
from santacoder.sample import Sample
from santacoder.sampling import Sampler, SamplingParams
from santacoder.scheduler import MAX_RUNNING, Scheduler
from santacoder.tokenizer import Tokenizer
from santacoder.transformer import Transformer

FILE = Path(__file__).parent / "data" / "mqa-q4_k_m.gguf"
CODE = "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n"
PROMPTS = ["", "a", "é", CODE, CODE + CODE, CODE[:40], CODE[:40] + "x", "import os\n" * 8]


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(FILE, threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def parts() -> tuple[Transformer, Tokenizer]:
    return open_transformer(FILE, threads=2)


class Counted(TimedSteps):
    """A transformer that counts the rows it runs, and the blocks of cache in use at the same time."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__(transformer)
        self.rows: list[int] = []

    def forward_batch(self, parts: Any, *arguments: Any) -> Any:
        self.rows.append(sum(len(tokens) for tokens, _ in parts))
        return super().forward_batch(parts, *arguments)


def alone(model: santacoder.SantaCoder, prompt: str, index: int = 0, **options: Any) -> tuple[Any, ...]:
    """Sample number `index` of a prompt, token by token with nobody beside it and from no cache."""
    params = SamplingParams(**{**options, "lookup": False})
    tokens = model.tokenizer.encode(prompt) or [model.tokenizer.eot_id or 0]
    sample = new_sample(model.tokenizer, tokens, params, model.context, index)
    with model._scheduler.exclusive() as transformer:
        Scheduler(transformer).finish([sample])
    return facts(sample.completion(""))


def facts(completion: santacoder.Completion) -> tuple[Any, ...]:
    """What must not depend on anything but the request."""
    return completion.text, completion.tokens, completion.finish_reason, completion.seed, completion.usage


class TestCompleteMany:
    def test_every_sample_is_its_lone_run(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "seed": 7}
        found = model.complete_many(PROMPTS, n=5, **options)
        assert [len(samples) for samples in found] == [5] * len(PROMPTS)
        for prompt, samples in zip(PROMPTS, found, strict=True):
            for index, completion in enumerate(samples):
                assert facts(completion) == alone(model, prompt, index, **options)
            assert facts(samples[0]) == facts(model.complete(prompt, **options))
            assert len({completion.text for completion in samples}) > 1

    def test_drawn_seeds_differ_between_prompts_and_are_reported(self, model: santacoder.SantaCoder) -> None:
        [first], [second] = model.complete_many(["a", "a"], max_tokens=20, temperature=1.0)
        assert first.seed != second.seed
        assert model.complete("a", max_tokens=20, temperature=1.0, seed=second.seed).tokens == second.tokens

    def test_samples_of_a_prompt_share_its_reading(self, parts: tuple[Transformer, Tokenizer]) -> None:
        engine = Counted(parts[0])
        tokens = parts[1].encode(CODE)
        params = SamplingParams(max_tokens=1, temperature=1.0, seed=0)
        samples = [new_sample(parts[1], tokens, params, 256, index) for index in range(20)]
        Scheduler(engine).finish(samples)
        assert sum(engine.rows) == len(tokens) + 19  # the last token's logits are run for each

    def test_memory_is_bounded(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        limit = 5  # blocks: two samples of 2 blocks, and what was kept
        scheduler = Scheduler(transformer, cache_bytes=limit * transformer.block_bytes)
        params = SamplingParams(max_tokens=60, temperature=1.0, seed=0, ignore_eos=True, lookup=False)
        prompts = [[i + 5] * 20 for i in range(9)]
        samples = [new_sample(tokenizer, prompt, params, 256) for prompt in prompts]
        most = 0
        step = scheduler._step

        def watched() -> None:
            nonlocal most
            step()
            most = max(most, sum(sample.blocks for sample in scheduler._running) + scheduler._prefixes.blocks)

        scheduler._step = watched  # type: ignore[method-assign]
        scheduler.finish(samples)
        assert 2 <= most <= limit
        for prompt, sample in zip(prompts, samples, strict=True):
            single = new_sample(tokenizer, prompt, params, 256)
            Scheduler(transformer).finish([single])
            assert single.tokens == sample.tokens

    @pytest.mark.parametrize(
        ("prompts", "options", "message"),
        [
            (["a", 5], {}, "prompts[1]: the prompt is a int, but it must be a text or a list of token ids"),
            (["a", [600]], {}, "prompts[1]: token id 600 is not in 0..511"),
            ("abc", {}, "prompts is a str, but it must be a list of texts or of lists of token ids"),
            (["a"], {"n": 0}, "n is 0, but it must be an integer of 1 or more"),
            (["a"], {"max_tokens": 0}, "max_tokens is 0, but it must be an integer of 1 or more"),
            (["a"], {"deadline": float("nan")}, "deadline is nan, but it must be a finite number of 0 or more"),
            (["a"], {"stop": ""}, "stop is '', but it must be a text or a list of texts, none of them empty"),
        ],
    )
    def test_bad_requests_run_nothing(
        self, model: santacoder.SantaCoder, prompts: Any, options: dict[str, Any], message: str
    ) -> None:
        before = model._scheduler.engine.native_seconds
        with pytest.raises(santacoder.InvalidRequestError) as error:
            model.complete_many(prompts, **options)
        assert str(error.value) == message
        assert model._scheduler.engine.native_seconds == before

    def test_a_prompt_too_long_is_named(self, model: santacoder.SantaCoder) -> None:
        message = r"^prompts\[1\]: the prompt has 250 tokens and max_tokens is 9, together 259, but the context has 256"
        with pytest.raises(santacoder.ContextOverflowError, match=message):
            model.complete_many([[1], [1] * 250], max_tokens=9)

    def test_unknown_keywords(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^'max_token' is no keyword; these are: max_tokens, "
        ):
            model.complete("a", max_token=5)  # type: ignore[call-arg]


requests = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(PROMPTS),
        "max_tokens": st.integers(1, 20),
        "temperature": st.sampled_from([0.0, 0.7, 1.5]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "stop": st.lists(st.sampled_from(["\n", "e", "in", "é"]), max_size=2),
        "stop_tokens": st.lists(st.integers(5, 511), max_size=40),
        "seed": st.integers(0, 3),
        "lookup": st.booleans(),
        "pieces": st.integers(0, 30),  # after so many the stream is closed
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(requests, min_size=1, max_size=8))
def test_any_mix_gives_the_serial_answers(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> None:
    jobs = [dict(job) for job in mix]
    expected, streams = [], []
    for job in jobs:
        prompt, pieces = job.pop("prompt"), job.pop("pieces")
        expected.append(alone(model, prompt, **job))
        streams.append((model.stream(prompt, **job), pieces))
    texts = [""] * len(jobs)
    for turn in range(31):  # in turns, so that all are under way together
        for i, (stream, pieces) in enumerate(streams):
            if turn == pieces:
                stream.close()
            texts[i] += getattr(next(stream, None), "text", "")
    for text, (_, pieces), (whole, *_) in zip(texts, streams, expected, strict=True):
        assert text == whole if pieces == 30 else whole.startswith(text)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)`, `work(1)`, ... in threads; an exception in one of them is raised here."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class TestThreads:
    def test_many_requests_of_many_threads(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 8, "temperature": 1.0}
        expected = {
            (prompt, seed): alone(model, PROMPTS[prompt], seed=seed, **options)
            for prompt in range(8)
            for seed in range(2)
        }

        def work(number: int) -> None:
            for turn in range(50):
                prompt, seed = (number + turn) % 8, turn % 2
                found = model.complete(PROMPTS[prompt], seed=seed, **options)
                assert facts(found) == expected[prompt, seed]

        in_threads(8, work)

    def test_requests_of_threads_share_steps(self, parts: tuple[Transformer, Tokenizer]) -> None:
        engine = Counted(parts[0])
        scheduler = Scheduler(engine)
        params = SamplingParams(max_tokens=100, temperature=1.0, seed=0, ignore_eos=True, lookup=False)
        ready = threading.Barrier(4)

        def work(number: int) -> None:
            sample = new_sample(parts[1], [number + 5], params, 256)
            ready.wait()
            scheduler.finish([sample])

        in_threads(4, work)
        assert len(engine.rows) < 300  # of 400 tokens
        assert max(engine.rows) >= 3

    def test_a_small_request_need_not_wait_for_a_large_job(self, model: santacoder.SantaCoder) -> None:
        ended: list[str] = []

        def work(number: int) -> None:
            if number == 0:
                model.complete_many(PROMPTS, n=40, max_tokens=20, temperature=1.0, seed=1)
                ended.append("job")
            else:
                time.sleep(0.05)
                model.complete("a", max_tokens=2)
                ended.append("request")

        in_threads(2, work)
        assert 40 * len(PROMPTS) > 2 * MAX_RUNNING
        assert ended == ["request", "job"]

    def test_close_under_fire(self) -> None:
        model = santacoder.load(FILE, threads=2)
        begun = threading.Barrier(4)

        def work(number: int) -> None:
            begun.wait()
            if number == 3:
                time.sleep(0.02)
                model.close()
                return
            with pytest.raises(santacoder.ModelClosedError, match=r"^the model is closed$"):
                list(iter(lambda: model.complete(CODE, max_tokens=100, temperature=1.0, ignore_eos=True), None))

        in_threads(4, work)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_fork_in_the_middle_of_everything(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 60, "temperature": 1.0, "seed": 1, "ignore_eos": True}
        expected = model.complete(CODE, **options).text
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                model.complete("a", max_tokens=50, temperature=1.0)

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(5):
                stream = model.stream(CODE, **options)
                text = next(stream).text
                child = os.fork()
                if not child:
                    text += "".join(piece.text for piece in stream)
                    os._exit(0 if text == expected == model.complete(CODE, **options).text else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert text + "".join(piece.text for piece in stream) == expected
        finally:
            stop.set()
            thread.join()


class TestInterruptions:
    @pytest.mark.parametrize("call", [1, 2, 7, 20])
    def test_what_others_had_begun_goes_on(
        self, parts: tuple[Transformer, Tokenizer], monkeypatch: pytest.MonkeyPatch, call: int
    ) -> None:
        """Ctrl-C in the leader, in the middle of choosing a token for somebody else's sample."""
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=20, temperature=1.0, seed=3, stop="zz", ignore_eos=True)
        prompts = [tokenizer.encode(CODE[:length]) for length in (10, 20, 30)]
        expected = []
        for prompt in prompts:
            sample = new_sample(tokenizer, prompt, params, 256)
            Scheduler(transformer).finish([sample])
            expected.append(sample.completion("").text)
        scheduler, calls = Scheduler(transformer), 0
        follow = Sampler.follow

        def interrupted(self: Sampler, token: int) -> None:
            nonlocal calls
            follow(self, token)
            calls += 1
            if calls == call:
                raise KeyboardInterrupt

        samples = [new_sample(tokenizer, prompt, params, 256) for prompt in prompts]
        scheduler.submit(samples)
        monkeypatch.setattr(Sampler, "follow", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scheduler.run_until(lambda: all(sample.finished for sample in samples), samples)
        scheduler.run_until(lambda: all(sample.finished for sample in samples), samples)
        assert [sample.completion("").text for sample in samples] == expected

    def test_deadline(self, model: santacoder.SantaCoder) -> None:
        whole = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True)
        nothing = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True, deadline=0)
        assert (nothing.text, nothing.finish_reason) == ("", "deadline")
        for deadline in (0.005, (5.0, 0.005), (5.0, 0.02)):
            part = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True, deadline=deadline)
            assert whole.text.startswith(part.text.rstrip("\ufffd"))
            assert part.finish_reason == ("length" if part.text == whole.text else "deadline")
        assert model.complete(CODE, max_tokens=5, deadline=(60, 60)).finish_reason in ("stop", "length")

    def test_who_was_cancelled_by_somebody_else_hears_of_it(self, model: santacoder.SantaCoder) -> None:
        stream = model.stream(CODE, max_tokens=100, ignore_eos=True)
        next(stream)
        model._scheduler.cancel(list(model._scheduler._all()))
        with pytest.raises(santacoder.SantaCoderError, match=r"^the request was cancelled$"):
            list(stream)

    def test_closing_a_stream_ends_its_work(self, model: santacoder.SantaCoder) -> None:
        stream = model.stream(CODE, max_tokens=100, ignore_eos=True)
        next(stream)
        stream.close()
        model.complete("a", max_tokens=1)
        assert not list(model._scheduler._all()) or model._scheduler._running[0].finished

    def test_memory_threads_and_files_stay_flat(self, model: santacoder.SantaCoder) -> None:
        def use(completions: int) -> None:
            for number in range(completions):
                model.complete(PROMPTS[number % 8], max_tokens=1)
                if number % 10 == 0:
                    stream = model.stream(PROMPTS[number % 8], max_tokens=9, ignore_eos=True)
                    next(stream)
                    stream.close()
            gc.collect()

        def state() -> tuple[int, int, int]:
            status = Path("/proc/self/status").read_text()
            resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            return resident, threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())

        use(500)
        before = state()
        use(9_500)
        after = state()
        assert after[1:] == before[1:]
        assert after[0] - before[0] < 2048  # KB: a fifth of a kilobyte each


class Interrupting(Scheduler[Transformer]):
    """Raises KeyboardInterrupt once, at a chosen point of its own code."""

    place, countdown = "", 0

    def _strike(self, place: str) -> None:
        if place == self.place:
            self.countdown -= 1
            if self.countdown == 0:
                raise KeyboardInterrupt

    def _retire(self) -> None:
        super()._retire()
        self._strike("retire")

    def _start(self, engine: Any, sample: Sample) -> bool:
        started = super()._start(engine, sample)
        self._strike("start")
        return started

    def _plan(self, batch: list[Sample], chunk: int) -> Any:
        plan = super()._plan(batch, chunk)
        self._strike("plan")
        return plan

    def _advance(self, plan: Any, logits: Any) -> None:
        self._strike("logits")
        super()._advance(plan, logits)
        self._strike("advance")


@pytest.mark.parametrize("place", ["retire", "start", "plan", "logits", "advance"])
@pytest.mark.parametrize("countdown", [1, 2, 3, 9])
def test_ctrl_c_in_the_scheduler_loses_nobody(parts: tuple[Transformer, Tokenizer], place: str, countdown: int) -> None:
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=12, temperature=1.0, seed=3, ignore_eos=True)
    prompts = [tokenizer.encode(CODE[:length]) for length in (10, 20, 30, 30)]
    expected = []
    for prompt in prompts:
        sample = new_sample(tokenizer, prompt, params, 256)
        Scheduler(transformer).finish([sample])
        expected.append(sample.tokens)
    scheduler = Interrupting(transformer)
    scheduler.place, scheduler.countdown = place, countdown
    samples = [new_sample(tokenizer, prompt, params, 256) for prompt in prompts]
    scheduler.submit(samples)
    for _ in range(2):
        try:
            scheduler.run_until(lambda: all(sample.finished for sample in samples), samples)
        except KeyboardInterrupt:
            assert scheduler._leader is None
    assert [sample.tokens for sample in samples] == expected


class TestLogprobs:
    @pytest.mark.parametrize("k", [0, 1, 5])
    @pytest.mark.parametrize("lookup", [True, False])
    def test_are_those_of_the_logits(self, model: santacoder.SantaCoder, k: int, lookup: bool) -> None:
        options: dict[str, Any] = {"max_tokens": 20, "temperature": 1.0, "seed": 4, "lookup": lookup, "logprobs": k}
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

    def test_are_off_by_default(self, model: santacoder.SantaCoder) -> None:
        assert model.complete("a", max_tokens=1).logprobs is None
        with pytest.raises(santacoder.InvalidRequestError, match=r"^logprobs is 101, but it must be an integer in 0"):
            model.complete("a", logprobs=101)


class TestLookup:
    TEXT = "alpha beta gamma\n" * 6

    def test_guesses_save_steps_and_change_nothing(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        rows = {}
        texts = {}
        for lookup in (False, True):
            engine = Counted(transformer)
            bias = dict.fromkeys(tokenizer.encode(self.TEXT), 50.0)  # few tokens, so that what was guessed comes
            params = SamplingParams(max_tokens=100, temperature=0, ignore_eos=True, logit_bias=bias, lookup=lookup)
            sample = new_sample(tokenizer, tokenizer.encode(self.TEXT), params, 256)
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


class TestSession:
    def test_typing(self, parts: tuple[Transformer, Tokenizer]) -> None:
        from santacoder.session import Session

        transformer, tokenizer = parts
        engine = Counted(transformer)
        session = Session(Scheduler(engine), tokenizer)  # type: ignore[arg-type]
        options: dict[str, Any] = {"max_tokens": 4, "temperature": 1.0, "seed": 5, "ignore_eos": True, "lookup": False}
        fresh = Scheduler(transformer)
        for end in range(len(CODE) - 12, len(CODE)):
            engine.rows.clear()
            found = session.complete(CODE[:end], **options)
            sample = new_sample(tokenizer, tokenizer.encode(CODE[:end]), SamplingParams(**options), 256)
            fresh.forget()
            fresh.finish([sample])
            assert facts(found) == facts(sample.completion(""))
            if end > len(CODE) - 12:
                assert sum(engine.rows) <= 3 + 4  # what the new character changed, and the tokens but the last

    def test_streams_and_edits(self, model: santacoder.SantaCoder) -> None:
        session = model.session()
        options: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": 2}
        for prompt in (CODE, CODE[:30], "x" + CODE, CODE, ""):
            text = "".join(piece.text for piece in session.stream(prompt, **options))
            assert text == alone(model, prompt, **options)[0]
            assert model.complete(prompt + "x", **options).text == alone(model, prompt + "x", **options)[0]
        stream = session.stream(CODE, max_tokens=50, ignore_eos=True)
        next(stream)
        stream.close()
        assert session.complete(CODE, **options).text == alone(model, CODE, **options)[0]


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

    def test_cancelling_stops_the_work(self, model: santacoder.SantaCoder) -> None:
        async def work() -> None:
            task = asyncio.create_task(model.acomplete(CODE, max_tokens=100, ignore_eos=True, temperature=1.0))
            await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        before = threading.active_count()
        asyncio.run(work())
        model.complete("a", max_tokens=1)
        limit = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < limit:
            time.sleep(0.01)
        assert threading.active_count() <= before


def test_common_prefix_is_found_in_kept_caches() -> None:
    from santacoder.prefix_cache import PrefixCache, common_prefix

    a, b = np.array([1, 2, 3, 4], np.int32), np.array([1, 2, 9], np.int32)
    assert common_prefix(a, b) == 2
    assert common_prefix(a, a[:3]) == 3
    assert common_prefix(a, a[:0]) == 0
    assert PrefixCache().find(a) == (0, None)


def test_sample_restores_after_any_token(parts: tuple[Transformer, Tokenizer]) -> None:
    """Sampler and text that are built anew in the middle change neither tokens nor pieces."""
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=30, temperature=1.0, seed=9, presence_penalty=0.5, stop="zq", lookup=False)
    whole = new_sample(tokenizer, tokenizer.encode(CODE), params, 256)
    Scheduler(transformer).finish([whole])

    class Restoring(Sample):
        def advance(self, *arguments: Any) -> None:
            super().advance(*arguments)
            if not self.finished:
                self.restore()

    again = Restoring(tokenizer, tokenizer.encode(CODE), params, 9)
    Scheduler(transformer).finish([again])
    assert again.pieces == whole.pieces
    assert again.tokens == whole.tokens


class TestSessionFiles:
    OPTIONS: dict[str, Any] = {"max_tokens": 8, "temperature": 1.0, "seed": 2, "lookup": False}  # noqa: RUF012

    @pytest.fixture
    def saved(self, model: santacoder.SantaCoder, tmp_path: Path) -> Path:
        session = model.session()
        session.complete(CODE * 2, **self.OPTIONS)
        session.save(tmp_path / "a.session")
        return tmp_path / "a.session"

    def test_goes_on(self, parts: tuple[Transformer, Tokenizer], model: santacoder.SantaCoder, saved: Path) -> None:
        from santacoder.session import Session

        engine = Counted(parts[0])
        engine.fingerprint, engine.config = parts[0].fingerprint, parts[0].config  # type: ignore[attr-defined]
        session = Session(Scheduler(engine), parts[1])  # type: ignore[arg-type]
        session.load(saved)
        found = session.complete(CODE * 2, **self.OPTIONS)
        assert facts(found) == facts(model.complete(CODE * 2, **self.OPTIONS))
        assert sum(engine.rows) == found.usage.completion_tokens  # the prompt's last token, and all but the last one

    def test_nothing_else_in_the_folder(self, saved: Path) -> None:
        assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    def test_every_damaged_byte_is_noticed(self, model: santacoder.SantaCoder, saved: Path, tmp_path: Path) -> None:
        data = saved.read_bytes()
        random = np.random.default_rng(0)
        places = {*range(60), len(data) - 1, *random.integers(60, len(data), 40).tolist()}
        session = model.session()
        bad = tmp_path / "bad"
        for place in places:
            bad.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(santacoder.SessionFormatError):
                session.load(bad)
        for length in (0, 7, 51, 52, 100, len(data) - 1):
            bad.write_bytes(data[:length])
            with pytest.raises(santacoder.SessionFormatError):
                session.load(bad)
        bad.write_bytes(data + b"x")
        with pytest.raises(santacoder.SessionFormatError, match="its header asks for"):
            session.load(bad)
        assert len(session) == 0
        assert facts(session.complete("a", **self.OPTIONS)) == alone(model, "a", **self.OPTIONS)

    def test_another_model(self, saved: Path) -> None:
        other = FILE.with_name("mha-q4_k_m.gguf")
        with santacoder.load(other) as model, pytest.raises(santacoder.SessionFormatError, match="another model"):
            model.session().load(saved)

    def test_a_smaller_context(self, saved: Path) -> None:
        with (
            santacoder.load(FILE, context=16) as model,
            pytest.raises(santacoder.SessionFormatError, match=r"holds 91 tokens in 2 blocks"),
        ):
            model.session().load(saved)

    def test_unwritable(self, model: santacoder.SantaCoder, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            model.session().save(tmp_path / "none" / "a.session")
