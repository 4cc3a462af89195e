"""Batches, threads, interruptions: a sample is the same in any batch."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.engine_lock import Waiter
from santacoder.batching.limits import Limits
from santacoder.batching.policy import MAX_RUNNING
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sampler import Sampler
from santacoder.decoding.sequence import Sequence
from santacoder.engine.transformer import Transformer
from santacoder.requests import check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer
from tests.support.interrupting import interrupt
from tests.support.needs import needs_fork, needs_proc
from tests.support.paths import FILE
from tests.support.samples import CODE, PROMPTS, Counted, alone, facts, new_sequence, run_until
from tests.support.waiting import HANG


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
        params = SamplingParams(max_tokens=1, temperature=1.0, seed=0, token_healing=False)
        request = check_request(parts[1], 256, CODE, params)
        Scheduler(engine).finish(new_sequences(request, range(20)))
        assert sum(engine.rows) == request.token_ids.size

    def test_memory_is_bounded(self, parts: tuple[Transformer, Tokenizer]) -> None:
        transformer, tokenizer = parts
        limit = 5  # blocks: two samples of 2 blocks, and what was kept
        scheduler = Scheduler(transformer, Limits(cache_bytes=limit * transformer.block_bytes))
        params = SamplingParams(max_tokens=60, temperature=1.0, seed=0, ignore_eos=True, lookup=False)
        prompts = [[i + 5] * 20 for i in range(9)]
        samples = [new_sequence(tokenizer, prompt, params) for prompt in prompts]
        most = 0
        step = scheduler.step

        def watched() -> None:
            nonlocal most
            step()
            most = max(most, scheduler._batch.blocks)

        scheduler.step = watched  # type: ignore[method-assign]
        scheduler.finish(samples)
        assert 2 <= most <= limit
        for prompt, sample in zip(prompts, samples, strict=True):
            single = new_sequence(tokenizer, prompt, params)
            Scheduler(transformer).finish([single])
            assert single.tokens == sample.tokens

    @pytest.mark.parametrize(
        ("prompts", "options", "message"),
        [
            (["a", 5], {}, "prompts[1]: the prompt is a int, but it must be a text or a list of token ids"),
            (["a", [600]], {}, "prompts[1]: token id 600 is not in 0..511"),
            ("abc", {}, "prompts is a str, but it must be a list of texts or of lists of token ids"),
            (["a"], {"n": 0}, "n is 0, but it must be an integer of 1 or more"),
            (["a"], {"max_tokens": -1}, "max_tokens is -1, but it must be an integer of 0 or more"),
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
            santacoder.InvalidRequestError,
            match=r"^'max_token' is not a keyword \(did you mean max_tokens\?\); the keywords are: max_",
        ):
            model.complete("a", max_token=5)  # type: ignore[call-arg]


requests = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(PROMPTS),
        "max_tokens": st.integers(0, 20),
        "temperature": st.sampled_from([0.0, 0.7, 1.5]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "stop": st.lists(st.sampled_from(["\n", "e", "in", "é"]), max_size=2),
        "stop_tokens": st.lists(st.integers(5, 511), max_size=40),
        "seed": st.integers(0, 3),
        "lookup": st.booleans(),
        "min_indent": st.integers(0, 1),
        "logprobs": st.sampled_from([None, 0, 1]),
        "prompt_logprobs": st.sampled_from([None, 0, 1]),
        "pieces": st.integers(0, 30),  # pieces, after which the stream is closed
    }
)


def check_logprobs(job: dict[str, Any], completion: santacoder.Completion, score: list[float | None]) -> None:
    """Check that a completion has the log-probabilities that were asked for: of the prompt those of `score`."""
    if job["prompt_logprobs"] is None:
        assert completion.prompt_logprobs is None
    else:
        assert [entry and entry.logprob for entry in completion.prompt_logprobs or ()] == score
    if job["logprobs"] is None:
        assert (completion.logprobs, completion.end_logprobs) == (None, None)
    else:
        entries = [*(completion.logprobs or ()), *filter(None, [completion.end_logprobs])]
        ends = [] if completion.end_token is None else [completion.end_token]
        assert [entry.token for entry in entries] in (completion.tokens, [*completion.tokens, *ends])
        assert {len(entry.top) for entry in entries} <= {job["logprobs"]}


@settings(max_examples=40)
@given(st.lists(requests, min_size=1, max_size=8))
def test_any_mix_gives_the_serial_answers(model: santacoder.SantaCoder, mix: list[dict[str, Any]]) -> None:
    jobs = [dict(job) for job in mix]
    expected, streams = [], []
    for job in jobs:
        prompt, pieces = job.pop("prompt"), job.pop("pieces")
        expected.append(alone(model, prompt, **job))
        streams.append((model.stream(prompt, **job), pieces))
    scores = {prompt: model.score(prompt).logprobs for prompt in PROMPTS}
    texts = [""] * len(jobs)
    for turn in range(31):  # in turns, so that all run together
        for i, (stream, pieces) in enumerate(streams):
            if turn == pieces:
                stream.close()
            piece = next(stream, None)
            texts[i] += getattr(piece, "text", "")
            if piece and piece.completion:
                check_logprobs(mix[i], piece.completion, scores[mix[i]["prompt"]])
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
            sample = new_sequence(parts[1], [number + 5], params)
            call = Call()
            scheduler.submit(call, [sample])
            ready.wait(HANG)
            run_until(scheduler, call, lambda: sample.ended)

        in_threads(4, work)
        assert max(engine.rows) == 4
        assert len(engine.rows) < 110  # for 400 tokens

    def test_a_step_wakes_only_whom_it_serves(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread sleeps until its request is done, perhaps waking once to lead, but not for each step."""
        sleeps = 0
        sleep = Waiter.sleep

        def counted(self: Waiter, lock: Any, seconds: float) -> None:
            nonlocal sleeps
            sleeps += 1
            sleep(self, lock, seconds)

        monkeypatch.setattr(Waiter, "sleep", counted)
        monkeypatch.setattr("santacoder.batching.engine_lock.LOOK_AGAIN", 3600.0)
        count = 150
        begin = threading.Barrier(count)

        def work(number: int) -> None:
            begin.wait(HANG)
            model.complete(f"# {number}\n", max_tokens=2, temperature=1.0, ignore_eos=True)

        in_threads(count, work)
        assert sleeps <= 3 * count

    def test_no_wake_up_is_lost(self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
        """No thread re-checks by itself here, so a lost wake-up would leave threads waiting."""
        monkeypatch.setattr("santacoder.batching.engine_lock.LOOK_AGAIN", 3600.0)

        def work(number: int) -> None:
            options: dict[str, Any] = {"max_tokens": 6, "temperature": 1.0, "seed": number, "ignore_eos": True}
            for turn in range(12):
                prompt = f"# {number} {turn}\n"
                kind = (number + turn) % 6
                if kind == 0:
                    model.complete(prompt, **options)
                elif kind == 1:
                    list(model.stream(prompt, **options))
                elif kind == 2:
                    model.score(prompt)
                elif kind == 3:
                    model.complete(prompt, **options, deadline=0.002 * (turn % 3))
                elif kind == 4:
                    stream = model.stream(prompt, **options)
                    next(stream)
                    stream.close()
                else:

                    async def leave(prompt: str = prompt, turn: int = turn) -> None:
                        task = asyncio.ensure_future(model.acomplete(prompt, **options))
                        await asyncio.sleep(0.001 * turn)
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)

                    asyncio.run(leave())

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        assert not any(thread.is_alive() for thread in threads)

    def test_callers_take_turns(self, parts: tuple[Transformer, Tokenizer]) -> None:
        """When places come free one by one, a single request gets the next one, before the rest of an earlier job."""
        transformer, tokenizer = parts
        scheduler = Scheduler(transformer)
        job, single = Call(), Call()
        lengths = range(2, MAX_RUNNING + 12)
        samples = [
            new_sequence(tokenizer, [5 + i % 200, 9], SamplingParams(max_tokens=length, ignore_eos=True, lookup=False))
            for i, length in enumerate(lengths)
        ]
        scheduler.submit(job, samples)
        scheduler.step()
        request = new_sequence(tokenizer, [7], SamplingParams(max_tokens=2))
        scheduler.submit(single, [request])
        while not request.in_batch:
            scheduler.step()
        assert sum(sample.in_batch or sample.ended for sample in samples) <= MAX_RUNNING + 1

    def test_a_small_request_need_not_wait_for_a_large_job(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It comes while the job's first step runs, and is done before the twentieth."""
        submit, forward_batch = model._scheduler.submit, model._scheduler.engine.forward_batch
        begun, submitted = threading.Event(), threading.Event()
        request: list[Sequence] = []
        done: list[bool] = []  # before each step

        def submitting(call: Call, samples: list[Sequence]) -> None:
            submit(call, samples)
            if len(samples) == 1:
                request.extend(samples)
                submitted.set()

        def forward(*arguments: Any) -> Any:
            begun.set()
            assert submitted.wait(HANG)
            done.append(request[0].ended)
            return forward_batch(*arguments)

        monkeypatch.setattr(model._scheduler, "submit", submitting)
        monkeypatch.setattr(model._scheduler.engine, "forward_batch", forward)

        def work(number: int) -> None:
            if number == 0:
                model.complete_many(PROMPTS, n=40, max_tokens=20, temperature=1.0, seed=1)
            else:
                assert begun.wait(HANG)
                model.complete("a", max_tokens=2)

        in_threads(2, work)
        assert 40 * len(PROMPTS) > 2 * MAX_RUNNING
        assert len(done) > 50
        assert done[20]

    def test_close_under_fire(self) -> None:
        """While every thread is at its second request or a later one."""
        model = santacoder.load(FILE, threads=2)
        answered = [threading.Event() for _ in range(3)]

        def ask_again_and_again(answered: threading.Event) -> NoReturn:
            while True:
                model.complete(CODE, max_tokens=100, temperature=1.0, ignore_eos=True)
                answered.set()

        def work(number: int) -> None:
            if number < len(answered):
                with pytest.raises(santacoder.ModelClosedError, match=r"^the model is closed$"):
                    ask_again_and_again(answered[number])
            else:
                assert all(event.wait(HANG) for event in answered)
                model.close()

        in_threads(len(answered) + 1, work)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @needs_fork
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
        """Ctrl-C in the leader while it chooses a token for another caller's sample."""
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=20, temperature=1.0, seed=3, stop="zz", ignore_eos=True)
        prompts = [tokenizer.encode(CODE[:length]) for length in (10, 20, 30)]
        expected = []
        for prompt in prompts:
            sample = new_sequence(tokenizer, prompt, params)
            Scheduler(transformer).finish([sample])
            expected.append(sample.completion().text)
        scheduler, calls = Scheduler(transformer), 0
        follow = Sampler.follow

        def interrupted(self: Sampler, token: int) -> None:
            nonlocal calls
            follow(self, token)
            calls += 1
            if calls == call:
                raise KeyboardInterrupt

        samples = [new_sequence(tokenizer, prompt, params) for prompt in prompts]
        request = Call()
        scheduler.submit(request, samples)
        monkeypatch.setattr(Sampler, "follow", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_until(scheduler, request, lambda: all(sample.ended for sample in samples))
        run_until(scheduler, request, lambda: all(sample.ended for sample in samples))
        assert [sample.completion().text for sample in samples] == expected

    def test_deadline(self, model: santacoder.SantaCoder) -> None:
        whole = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True)
        nothing = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True, deadline=0)
        assert (nothing.text, nothing.finish_reason) == ("", "deadline")
        for deadline in (0.005, (5.0, 0.005), (5.0, 0.02)):
            part = model.complete(CODE, max_tokens=100, seed=1, ignore_eos=True, deadline=deadline)
            assert whole.text.startswith(part.text.rstrip("\ufffd"))
            assert part.finish_reason == ("length" if len(part.tokens) == len(whole.tokens) else "deadline")
        assert model.complete(CODE, max_tokens=5, deadline=(HANG, HANG)).finish_reason in ("stop", "length")

    def test_who_was_cancelled_by_somebody_else_hears_of_it(self, model: santacoder.SantaCoder) -> None:
        stream = model.stream(CODE, max_tokens=100, ignore_eos=True)
        next(stream)
        model._scheduler.cancel(model._scheduler.sequences)
        with pytest.raises(santacoder.SantaCoderError, match=r"^the request was cancelled$"):
            list(stream)

    def test_closing_a_stream_ends_its_work(self, model: santacoder.SantaCoder) -> None:
        stream = model.stream(CODE, max_tokens=100, ignore_eos=True)
        next(stream)
        stream.close()
        model.complete("a", max_tokens=1)
        assert all(sequence.ended for sequence in model._scheduler.sequences)

    @needs_proc
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # came as a generator ended
@pytest.mark.parametrize("first", range(4))
def test_ctrl_c_anywhere_loses_nobody(parts: tuple[Transformer, Tokenizer], first: int) -> None:
    """Ctrl-C at every 40th place where the library's own code begins or ends a function."""
    transformer, tokenizer = parts
    params = SamplingParams(max_tokens=6, temperature=1.0, seed=3, ignore_eos=True)
    requests = [check_request(tokenizer, 256, CODE[:length], params) for length in (10, 20, 30, 30)]
    expected = []
    for request in requests:
        sequences = new_sequences(request)
        Scheduler(transformer).finish(sequences)
        expected.append(sequences[0].tokens)
    for at in itertools.count(10 * first, 40):
        scheduler, call = Scheduler(transformer), Call()
        sequences = [sequence for request in requests for sequence in new_sequences(request)]
        scheduler.submit(call, sequences)

        def run(
            scheduler: Scheduler[Transformer] = scheduler, call: Call = call, sequences: list[Sequence] = sequences
        ) -> None:
            run_until(scheduler, call, lambda: all(sequence.ended for sequence in sequences))

        more = interrupt(run, at)
        run()
        assert [sequence.tokens for sequence in sequences] == expected, f"interrupted at place {at}"
        if not more:
            assert at > 200
            return
