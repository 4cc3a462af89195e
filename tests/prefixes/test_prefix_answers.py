"""Prompts from the disk: less is computed, and nothing else changes, whatever has become of the files."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.limits import Limits
from santacoder.batching.scheduler import Scheduler
from santacoder.batching.session import Session
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.engine.kv_cache import KV_BLOCK
from santacoder.engine.transformer import Transformer
from santacoder.errors import ModelClosedError
from santacoder.prefixes.store import StoredPrefixes
from santacoder.requests import check_request, new_sequences
from santacoder.text.tokenizer import Tokenizer
from tests.support.interrupting import interrupt
from tests.support.paths import DATA, FILE
from tests.support.samples import CODE, Counted, facts, new_sequence
from tests.support.stored_blocks import DAMAGES, block_paths, damage
from tests.support.waiting import HANG, wait_for

Start = Callable[[], StoredPrefixes]
TEXT = CODE * 5
#: With common beginnings of any length.
PROMPTS = ["", CODE, TEXT[:200], TEXT[:300], TEXT, TEXT[:200] + "import os\n" * 20, "x = 1\n" * 30]

options = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(0, 12),
        "temperature": st.sampled_from([0.0, 0.7, 1.5]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "stop": st.sampled_from([(), ("e", "in")]),
        "seed": st.integers(0, 3),
        "lookup": st.booleans(),
        "logprobs": st.sampled_from([None, 2]),
        "prompt_logprobs": st.sampled_from([None, None, 1]),
        "token_healing": st.sampled_from([None, False]),
    }
)
jobs = st.lists(st.tuples(st.sampled_from(PROMPTS), st.integers(1, 4), options), min_size=1, max_size=5)


def samples(tokenizer: Tokenizer, mix: list[tuple[str, int, dict[str, Any]]]) -> list[list[Sequence]]:
    """The samples of requests: prompt, number, options."""
    rows = []
    for prompt, count, params in mix:
        if params["prompt_logprobs"] is not None:
            params = {**params, "token_healing": False}
        request = check_request(tokenizer, 256, prompt, SamplingParams(**params))
        rows.append(new_sequences(request, range(count)))
    return rows


def answer(sequence: Sequence) -> tuple[Any, ...]:
    """What must not depend on caches."""
    completion = sequence.completion()
    return (*facts(completion), completion.logprobs, completion.prompt_logprobs)


def run(scheduler: Scheduler[Transformer], rows: list[list[Sequence]], cancelled: list[tuple[int, int]]) -> None:
    """Run samples together; some are given up before a step."""
    sequences = list(itertools.chain.from_iterable(rows))
    calls = [Call() for _ in rows]
    for call, row in zip(calls, rows, strict=True):
        scheduler.submit(call, row)
    for step in itertools.count():
        scheduler.cancel(sequences[i] for at, i in cancelled if at == step and i < len(sequences))
        for call in calls:
            call.take_ended()
        if not any(calls):
            return
        scheduler.step()


@settings(max_examples=60)
@given(
    mix=jobs,
    most=st.sampled_from([1, 2, 64]),
    cancelled=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 15)), max_size=6),
    damages=st.lists(st.sampled_from(DAMAGES), max_size=6),
    seed=st.integers(0, 1 << 32),
    limit=st.sampled_from([1 << 30, 1 << 30, 5 << 15]),
)
def test_any_mix_gives_the_answers_of_no_cache(
    parts: tuple[Transformer, Tokenizer],
    folder: Path,
    mix: list[tuple[str, int, dict[str, Any]]],
    most: int,
    cancelled: list[tuple[int, int]],
    damages: list[str],
    seed: int,
    limit: int,
) -> None:
    """The folder is that of all examples before, with their damages; each example has three processes, so to speak."""
    transformer, tokenizer = parts
    random = Random(seed)  # not one of Hypothesis: what is drawn depends on the files that there are
    expected = []
    for sequence in itertools.chain.from_iterable(samples(tokenizer, mix)):
        Scheduler(transformer).finish([sequence])
        expected.append(answer(sequence))
    for given_up in (cancelled, [], []):
        for kind in damages:
            damage(folder, kind, random)
        rows = samples(tokenizer, mix)
        stored = StoredPrefixes(folder, limit, transformer.fingerprint, transformer.block_bytes)
        scheduler = Scheduler(transformer, Limits(max_running=most), stored)
        run(scheduler, rows, given_up)
        sequences = list(itertools.chain.from_iterable(rows))
        found = {i: answer(sequence) for i, sequence in enumerate(sequences) if not sequence.cancelled}
        assert found == {i: expected[i] for i in found}
        assert len(found) == len(sequences) or given_up
        assert stored.flush(HANG)


class TestRows:
    """What is computed."""

    def rows(self, parts: tuple[Transformer, Tokenizer], stored: StoredPrefixes | None, *prompts: str) -> list[int]:
        engine = Counted(parts[0])
        params = SamplingParams(max_tokens=1, token_healing=False)
        scheduler = Scheduler(engine, stored=stored)
        for prompt in prompts:
            scheduler.finish([new_sequence(parts[1], prompt, params)])
        if stored is not None:
            assert stored.flush(HANG)
        return engine.rows

    def test_after_a_restart(self, parts: tuple[Transformer, Tokenizer], start: Start, folder: Path) -> None:
        size = parts[1].encode(TEXT).__len__()
        assert 3 * KV_BLOCK < size < 4 * KV_BLOCK
        assert self.rows(parts, start(), TEXT) == [size]
        assert len(block_paths(folder)) == 3
        assert self.rows(parts, start(), TEXT) == [size - 3 * KV_BLOCK]

    def test_another_text_that_begins_alike(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        other = CODE * 3 + "import os\n"
        size = parts[1].encode(other).__len__()
        assert KV_BLOCK < size < 3 * KV_BLOCK
        self.rows(parts, start(), TEXT)
        assert self.rows(parts, start(), other)[0] < size
        assert self.rows(parts, start(), "x" + TEXT)[0] > 3 * KV_BLOCK

    def test_what_the_memory_holds_is_not_read(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        stored = start()
        self.rows(parts, stored, TEXT)
        stored.look_up = None  # type: ignore[method-assign, assignment]
        longer = start()
        assert self.rows(parts, longer, TEXT, TEXT)[1:] == [1]

    def test_samples_of_a_prompt_read_it_once(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        self.rows(parts, start(), TEXT)
        engine = Counted(parts[0])
        params = SamplingParams(max_tokens=2, temperature=0, token_healing=False, lookup=False, ignore_eos=True)
        request = check_request(parts[1], 256, TEXT, params)
        sequences = new_sequences(request, range(20))
        Scheduler(engine, stored=start()).finish(sequences)
        assert engine.rows == [request.token_ids.size - 3 * KV_BLOCK, 1]
        assert len({tuple(sequence.tokens) for sequence in sequences}) == 1

    def test_a_block_that_ends_the_prompt(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        """The logits of its last token are needed."""
        tokens = parts[1].encode(TEXT)[: 2 * KV_BLOCK]
        params = SamplingParams(max_tokens=1, temperature=0, token_healing=False)
        found = []
        for _ in range(2):
            engine, stored = Counted(parts[0]), start()
            sequence = new_sequence(parts[1], tokens, params)
            Scheduler(engine, stored=stored).finish([sequence])
            assert stored.flush(HANG)
            found.append((engine.rows, sequence.reused, sequence.tokens))
        assert found[0][:2] == ([2 * KV_BLOCK], 0)
        assert found[1] == ([1], 2 * KV_BLOCK - 1, found[0][2])

    def test_counters(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        self.rows(parts, start(), TEXT)
        scheduler = Scheduler(parts[0], stored=start())
        scheduler.finish([new_sequence(parts[1], TEXT, SamplingParams(max_tokens=1, token_healing=False))])
        counters = scheduler.counters()
        assert counters.cached_tokens == 3 * KV_BLOCK
        assert counters.prompt_tokens + counters.cached_tokens == len(parts[1].encode(TEXT))

    def test_what_may_be_read_in_a_time(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        """The disk counts as memory does."""
        self.rows(parts, start(), TEXT)
        scheduler = Scheduler(parts[0], stored=start())
        params = SamplingParams(max_tokens=1, token_healing=False)
        scheduler.finish([new_sequence(parts[1], "x = 1\n" * 40, params)])
        reading = scheduler.reading(1.0)
        assert reading is not None
        prompt = np.array(parts[1].encode(TEXT), np.int32)
        assert reading.uncached(prompt) == prompt.size - 3 * KV_BLOCK
        assert reading.uncached(prompt[: 2 * KV_BLOCK]) == 1
        assert reading.uncached(prompt[1:]) == prompt.size - 1

    def test_a_session(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        """The first process may read what it wrote itself, so rows are compared with those without a cache."""
        found = []
        for stored in (None, start(), start()):
            engine = Counted(parts[0])
            session = Session(Scheduler(engine, stored=stored), parts[1])  # type: ignore[arg-type]
            texts = [session.complete(TEXT[:end], max_tokens=3, seed=1).text for end in (250, 300, 200, len(TEXT))]
            assert stored is None or stored.flush(HANG)
            found.append((texts, sum(engine.rows)))
        assert found[0][0] == found[1][0] == found[2][0]
        assert found[2][1] <= found[0][1] - 3 * KV_BLOCK


class TestInterruptions:
    def test_ctrl_c_anywhere(self, parts: tuple[Transformer, Tokenizer], start: Start) -> None:
        """The scheduler goes on, and answers as before."""
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=2, temperature=0, token_healing=False)
        first = new_sequence(tokenizer, TEXT, params)
        Scheduler(transformer, stored=start()).finish([first])
        for at in itertools.count():
            stored = start()
            scheduler = Scheduler(transformer, stored=stored)
            sequence = new_sequence(tokenizer, TEXT, params)
            if not interrupt(lambda: scheduler.finish([sequence]), at):  # noqa: B023
                break
            again = new_sequence(tokenizer, TEXT + "x", params)
            after = new_sequence(tokenizer, TEXT, params)
            scheduler.finish([again, after])
            assert after.tokens == first.tokens
            assert stored.flush(HANG)
        assert at > 100

    def test_cancelled_while_it_is_read(
        self, parts: tuple[Transformer, Tokenizer], start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is read then goes nowhere."""
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=2, temperature=0, token_healing=False)
        first = new_sequence(tokenizer, TEXT, params)
        before = start()
        Scheduler(transformer, stored=before).finish([first])
        assert before.flush(HANG)
        stored = start()
        scheduler = Scheduler(transformer, stored=stored)
        read, reads = stored._files.read, 0

        def cancel(name: str, block: np.ndarray[Any, Any]) -> bool:
            nonlocal reads
            reads += 1
            scheduler.cancel([given_up])
            wait_for(lambda: given_up.loading is None)
            return read(name, block)

        monkeypatch.setattr(stored._files, "read", cancel)
        given_up, other = (new_sequence(tokenizer, prompt, params) for prompt in (TEXT, CODE))
        call, others = Call(), Call()
        scheduler.submit(call, [given_up])
        scheduler.step()
        scheduler.submit(others, [other])
        while others.unfinished():
            scheduler.step()
        assert reads == 1
        monkeypatch.undo()
        again = new_sequence(tokenizer, TEXT, params)
        scheduler.finish([again])
        assert again.tokens == first.tokens

    def test_closed_while_it_is_read(
        self, parts: tuple[Transformer, Tokenizer], start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        transformer, tokenizer = parts
        params = SamplingParams(max_tokens=2, token_healing=False)
        before = start()
        Scheduler(transformer, stored=before).finish([new_sequence(tokenizer, TEXT, params)])
        assert before.flush(HANG)
        stored = start()
        scheduler = Scheduler(transformer, stored=stored)

        def close(*_: object) -> bool:
            scheduler.close()
            return False

        monkeypatch.setattr(stored._files, "read", close)
        with pytest.raises(ModelClosedError):
            scheduler.finish([new_sequence(tokenizer, TEXT, params)])


def test_another_models_blocks_are_not_taken(folder: Path) -> None:
    """Not even under the names of this one's."""
    prompt = list(range(100, 100 + 130))
    ask: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    with santacoder.load(DATA / "mqa-q8_0.gguf", threads=1) as other:
        expected = other.complete(prompt, **ask).tokens
    with santacoder.load(FILE, threads=1, prefix_cache=folder) as model:
        model.complete(prompt, **ask)
    mine = block_paths(folder)
    assert len(mine) == 2
    for _ in range(2):
        with santacoder.load(DATA / "mqa-q8_0.gguf", threads=1, prefix_cache=folder) as other:
            assert other.complete(prompt, **ask).tokens == expected
        theirs = sorted(set(block_paths(folder)) - set(mine))
        assert len(theirs) == 2
        for one, two in zip(mine, theirs, strict=True):
            two.write_bytes(one.read_bytes())
