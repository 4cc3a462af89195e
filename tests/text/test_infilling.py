"""Infilling: prompts, cuts of long texts, completions; test_infill_filters.py tests where the text ends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.gguf.reader import GGUFFile
from santacoder.text.infill_filters import infill_filters
from santacoder.text.infilling import CUT, fit, infill_prompt
from santacoder.text.tokenizer import Tokenizer
from tests.support.gguf_builder import MERGES, byte_symbols, tiny_builder
from tests.support.paths import DATA, FILE, distributed
from tests.support.scripted_model import EOT, Script, infilled, scripted_sequence, tokens_of

PRE, MIDDLE, SUF = 1, 2, 3  # ids of the markers in both tokenizers
SUFFIX = ")\n    return x\n"


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(FILE, threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def starcoder() -> Tokenizer:
    with GGUFFile.open(distributed(DATA / "ggml-vocab-starcoder.gguf")) as file:
        return Tokenizer.from_gguf(file, len(file.metadata["tokenizer.ggml.tokens"]))  # type: ignore[arg-type]


class TestPrompt:
    @pytest.mark.parametrize(("mode", "typing", "psm"), [
        ("psm", False, True), ("psm", True, True), ("spm", False, False), ("spm", True, False),
        ("auto", False, True), ("auto", True, False),
    ])  # fmt: skip
    def test_modes(self, starcoder: Tokenizer, mode: Any, typing: bool, psm: bool) -> None:
        prefix, suffix = starcoder.encode("def f():"), starcoder.encode("return x")
        assert (starcoder.fim_prefix_id, starcoder.fim_middle_id, starcoder.fim_suffix_id) == (PRE, MIDDLE, SUF)
        expected = [PRE, *prefix, SUF, *suffix, MIDDLE] if psm else [PRE, SUF, *suffix, MIDDLE, *prefix]
        assert infill_prompt(starcoder, "def f():", "return x", mode, 99, typing=typing) == expected
        empty = [PRE, SUF, MIDDLE]
        assert infill_prompt(starcoder, "", "", mode, 3, typing=typing) == empty

    def test_auto_is_what_the_file_names(self, starcoder: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
        for mode in ("psm", "spm"):
            monkeypatch.setattr(starcoder, "fim_mode", mode)
            expected = infill_prompt(starcoder, "def f():", "return x", mode, 99)
            assert infill_prompt(starcoder, "def f():", "return x", "auto", 99) == expected
            typing = infill_prompt(starcoder, "def f():", "return x", "auto", 99, typing=True)
            assert typing == infill_prompt(starcoder, "def f():", "return x", "spm", 99)

    def test_special_spellings_are_text(self, starcoder: Tokenizer) -> None:
        text = "<fim-middle>é<fim_suffix><|endoftext|>"
        plain = starcoder.encode(text, special=False)
        assert min(plain) > SUF
        assert infill_prompt(starcoder, text, text, "spm", 99) == [PRE, SUF, *plain, MIDDLE, *plain]

    def test_cut(self, starcoder: Tokenizer) -> None:
        """Between tokens, at the lengths that the documentation of `fit` names."""
        prefix, suffix = "".join(f"a{i} " for i in range(700)), "".join(f" b{i}é" for i in range(300))
        head, tail = starcoder.encode(prefix), starcoder.encode(suffix)
        assert len(head) > 2000
        assert len(tail) > 600
        dropped, kept = fit(len(head), len(tail), 2000)
        expected = [PRE, *head[dropped:], SUF, *tail[:kept], MIDDLE]
        assert infill_prompt(starcoder, prefix, suffix, "psm", 2003) == expected

    @given(prefix=st.text("ab \n(é🎅", max_size=60), suffix=st.text("ab \n)é🎅", max_size=60), room=st.integers(3, 90))
    def test_always_fits(self, starcoder: Tokenizer, prefix: str, suffix: str, room: int) -> None:
        prompt = infill_prompt(starcoder, prefix, suffix, "spm", room)
        head, tail = starcoder.encode(prefix), starcoder.encode(suffix)
        at = prompt.index(MIDDLE)
        assert len(prompt) <= room
        assert prompt[:2] == [PRE, SUF]
        assert prompt[2:at] == tail[: at - 2]
        assert prompt[at + 1 :] == head[len(head) - (len(prompt) - at - 1) :]

    def test_typing_keeps_the_cache(self, starcoder: Tokenizer) -> None:
        """Typing a long file: all but the last tokens of a prompt are those of the one before, with few exceptions."""
        source = "".join(f"def name_{i}(self, value):\n    return self.items[{i}].get(value)\n\n" for i in range(230))
        prefix, typed, suffix = source[:9000], source[9000:9900], source[9900:]
        prompts = [
            infill_prompt(starcoder, prefix + typed[:n], suffix, "auto", 1500, typing=True) for n in range(0, 900, 15)
        ]
        breaks = 0
        for before, now in pairwise(prompts):
            same = next((i for i, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]), len(before))
            breaks += same < len(before) - 10
        assert {prompt.index(MIDDLE) for prompt in prompts} == {2 + 1497 // 4}
        assert len(starcoder.encode(typed)) > CUT
        assert breaks == 1

    def test_errors(self, starcoder: Tokenizer) -> None:
        with pytest.raises(santacoder.InvalidRequestError) as error:
            infill_prompt(starcoder, "a", "b", "msp", 9)  # type: ignore[arg-type]
        assert str(error.value) == "mode is 'msp', but it must be 'auto', 'psm' or 'spm'"
        with pytest.raises(santacoder.ContextOverflowError) as overflow:
            infill_prompt(starcoder, "a", "b", "psm", 2)
        message = "max_tokens leaves 2 positions of the context, but a prompt to infill has 3 or more"
        assert str(overflow.value) == message


class TestFit:
    @pytest.mark.parametrize(("prefix", "suffix", "room", "expected"), [
        (0, 0, 0, (0, 0)), (5, 5, 0, (5, 0)), (5, 5, 1, (4, 0)), (5, 5, 9, (0, 3)), (5, 5, 10, (0, 5)),
        (1500, 500, 2000, (0, 500)),  # all fits
        (1501, 500, 2000, (256, 500)), (1756, 500, 2000, (256, 500)), (1757, 500, 2000, (512, 500)),
        (3000, 900, 2000, (1536, 500)), (300, 9000, 2000, (0, 1488)),  # as documented
        (256, 9000, 2000, (0, 1744)), (257, 9000, 2000, (0, 1488)),  # the suffix takes what a short prefix leaves
        (3000, 100, 2000, (1280, 100)),  # and the other way round
        (1280, 9000, 2000, (0, 720)), (1281, 9000, 2000, (0, 500)), (1500, 9000, 2000, (0, 500)),
        (0, 9000, 2000, (0, 2000)), (9000, 0, 2000, (7168, 0)), (100, 100, 80, (40, 20)),
    ])  # fmt: skip
    def test_limits(self, prefix: int, suffix: int, room: int, expected: tuple[int, int]) -> None:
        assert fit(prefix, suffix, room) == expected

    @given(prefix=st.integers(0, 5000), suffix=st.integers(0, 5000), room=st.integers(0, 3000))
    def test_shares(self, prefix: int, suffix: int, room: int) -> None:
        dropped, kept = fit(prefix, suffix, room)
        assert 0 <= dropped <= prefix
        assert 0 <= kept <= suffix
        assert prefix - dropped + kept <= room
        assert kept >= min(suffix, room // 4)
        assert dropped == 0 or 2 * (prefix - dropped) >= room
        assert dropped % max(1, min(CUT, room // 4)) == 0
        if prefix + suffix <= room:
            assert (dropped, kept) == (0, suffix)

    @settings(max_examples=30)
    @given(suffix=st.integers(0, 5000), room=st.integers(64, 3000))
    def test_stable_while_the_prefix_grows(self, suffix: int, room: int) -> None:
        """Both limits move one way, and at most three times while the prefix grows by a cut."""
        cut = min(CUT, room // 4)
        limits = [fit(prefix, suffix, room) for prefix in range(room + 3 * cut)]
        for before, now in pairwise(limits):
            assert now[0] in (before[0], before[0] + cut)
            assert now[1] <= before[1]
        moves = [i for i, (before, now) in enumerate(pairwise(limits)) if before != now]
        assert all(later - first >= cut for first, later in zip(moves, moves[3:], strict=False))


class TestCompletion:
    @pytest.mark.parametrize(("text", "max_tokens", "expected", "reason", "n_tokens"), [
        ("x)\n    return x\n    more", 99, "x", "stop", 16),  # ends with the suffix's first line
        ("x)\n    return x", 99, "x", "stop", 15),
        ("x)\n    return x", 12, "x", "stop", 12),  # a repeat that max_tokens cuts off
        ("x)\n    return x", 9, "x)\n    re", "length", 9),
        ("x)\n    return y", 99, "x)\n    return y", "stop", 15),
    ])  # fmt: skip
    def test_reason(self, text: str, max_tokens: int, expected: str, reason: str, n_tokens: int) -> None:
        for restore in (False, True):
            got = infilled("print(", SUFFIX, text, restore, max_tokens=max_tokens).completion()
            assert (got.text, got.finish_reason, len(got.tokens)) == (expected, reason, n_tokens)

    def test_deadline(self) -> None:
        for n, text, reason in ((9, "x)\n    re", "deadline"), (12, "x", "stop")):
            sequence = scripted_sequence(partial(infill_filters, "(", SUFFIX, False), temperature=0, lookup=False)
            scheduler = Scheduler(Script([*tokens_of("x)\n    return"), EOT]))
            scheduler.submit(Call(), [sequence])
            while sequence.generated < n:
                scheduler.step()
            sequence.expire()
            assert ("".join(piece.text for piece in sequence.pieces), sequence.finish_reason) == (text, reason)


class TestModel:
    @pytest.mark.parametrize("mode", ["psm", "spm", "auto"])
    def test_prompt_and_echo(self, model: santacoder.SantaCoder, mode: Any) -> None:
        options: dict[str, Any] = {"max_tokens": 10, "seed": 1, "stop": "\n", "token_healing": False}
        completion = model.infill("a = ", "\n", mode=mode, **options)
        prompt = infill_prompt(model.tokenizer, "a = ", "\n", mode, 246)
        assert completion.tokens == model.complete(prompt, **options).tokens
        echoed = model.infill("a = ", "\n", mode=mode, echo=True, **options)
        assert echoed.text == "a = " + completion.text

    def test_long_context(self, model: santacoder.SantaCoder) -> None:
        completion = model.infill("b = 2\n" * 500, "c = 3\n" * 500, max_tokens=56, temperature=0)
        assert 100 < completion.usage.prompt_tokens <= 200
        with pytest.raises(santacoder.ContextOverflowError, match=r"^max_tokens leaves 2 positions"):
            model.infill("a", "b", max_tokens=254)

    def test_single_line(self, model: santacoder.SantaCoder) -> None:
        newline = model.tokenizer.encode("\n")[0]
        options: dict[str, Any] = {"temperature": 2, "ignore_eos": True, "max_tokens": 40, "logit_bias": {newline: 4}}
        completions = [model.infill("a = ", "", single_line=True, seed=i, **options) for i in range(10)]
        assert {"stop"} <= {completion.finish_reason for completion in completions}
        assert all("\n" not in completion.text for completion in completions)

    def test_stream(self, model: santacoder.SantaCoder) -> None:
        options: dict[str, Any] = {"mode": "spm", "single_line": True, "seed": 3, "max_tokens": 20, "echo": True}
        pieces = list(model.stream_infill("a = ", "\n", **options))
        completion = model.infill("a = ", "\n", **options)
        assert "".join(piece.text for piece in pieces) == completion.text
        assert [token for piece in pieces for token in piece.tokens] == completion.tokens
        assert pieces[-1].finish_reason == completion.finish_reason

    def test_session(self, model: santacoder.SantaCoder) -> None:
        """A session gives the same result as the model, and keeps the suffix while someone types."""
        options: dict[str, Any] = {"seed": 3, "max_tokens": 8}
        suffix = "\n    return 1\n" * 8
        length = len(infill_prompt(model.tokenizer, "def f():", suffix, "spm", 248))
        session = model.session()
        for typed in ("", "\n", "\n  a", "\n  a = ", "\n  b"):
            prefix = "def f():" + typed
            found = session.infill(prefix, suffix, **options)
            lone = model.infill(prefix, suffix, mode="spm", **options)
            assert (found.text, found.tokens, found.usage) == (lone.text, lone.tokens, lone.usage)
            assert not typed or found.timings.prompt_tokens < found.usage.prompt_tokens - length + 8
        pieces = list(session.stream_infill("a", "b", single_line=True, echo=True, **options))
        whole = model.infill("a", "b", mode="spm", single_line=True, echo=True, **options)
        assert "".join(piece.text for piece in pieces) == whole.text

    def test_errors_come_at_once(self, model: santacoder.SantaCoder) -> None:
        wrong: Any = 5
        for call in (model.infill, model.stream_infill):
            with pytest.raises(santacoder.InvalidRequestError, match=r"^mode is 5, but"):
                call("a", "b", mode=wrong)
            with pytest.raises(santacoder.InvalidRequestError, match="the text is a int"):
                call("a", wrong)
            with pytest.raises(santacoder.InvalidRequestError, match=r"^single_line is 5, but"):
                call("a", "b", single_line=wrong)

    def test_model_without_the_tokens(self, tmp_path: Path) -> None:
        merged = [merge.replace(" ", "") for merge in MERGES]
        tokens = [*byte_symbols(), *merged, "<|endoftext|>", "<a>", "<b>", "<c>", "<d>", "[PAD267]", "[PAD268]"]
        path = tmp_path / "no-fim.gguf"
        path.write_bytes(tiny_builder(metadata={"tokenizer.ggml.tokens": tokens}).build())
        with santacoder.load(path) as model, pytest.raises(santacoder.InvalidRequestError) as error:
            model.infill("a", "b", max_tokens=4)
        assert str(error.value) == (
            "this model has no fill-in-the-middle tokens, so it cannot infill: all of SantaCoder's checkpoints but "
            "no-fim have them"
        )
