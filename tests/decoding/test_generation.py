"""The token loop, with a scripted model: stops, characters, ends, limits, pieces."""

from __future__ import annotations

from collections import abc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder import Completion, ContextOverflowError, InvalidRequestError, NumericalError, Piece
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.results import Timings, Usage
from santacoder.requests import check_request, new_sequences
from santacoder.text.stream import StopFilter
from tests.support.scripted_model import (
    EOT,
    PAD_ID,
    TOKENIZER,
    Script,
    tokens_of,
)


def start(engine: Script, prompt: abc.Sequence[int], params: SamplingParams, echo: str = "") -> Any:
    """The generator of a completion's pieces."""
    request = replace(check_request(TOKENIZER, engine.context, prompt, params), echo=echo)
    return Scheduler(engine).stream(*new_sequences(request))


def finish(generator: Any) -> Completion:
    """Run a completion to its end."""
    try:
        while True:
            next(generator)
    except StopIteration as end:
        completion: Completion = end.value
        return completion


def run(script: abc.Sequence[int], echo: str = "", **params: Any) -> tuple[list[Piece], Completion]:
    """The pieces and the completion of a script, greedily."""
    pieces = []
    generator = start(Script([*script, EOT]), [1, 2], SamplingParams(temperature=0, **params), echo)
    try:
        while True:
            pieces.append(next(generator))
    except StopIteration as end:
        return pieces, end.value


def test_end_of_text_is_no_part() -> None:
    for end in (EOT, PAD_ID):
        pieces, completion = run([*tokens_of("ab"), end])
        assert pieces == [Piece("ab", (256,), None), Piece("", (), "stop")]
        assert (completion.text, completion.tokens, completion.finish_reason) == ("ab", [256], "stop")
        assert completion.usage == Usage(prompt_tokens=2, completion_tokens=1)
        assert completion.usage.total_tokens == 3
    assert run([EOT])[1].text == ""


def test_ignore_eos() -> None:
    _, completion = run([EOT, *tokens_of("ab"), PAD_ID], ignore_eos=True, max_tokens=3)
    assert completion.text == "<|endoftext|>ab<fim-pad>"
    assert completion.tokens == [EOT, 256, PAD_ID]
    assert completion.finish_reason == "length"


def test_stop_tokens() -> None:
    pieces, completion = run(tokens_of("x", "bc", "ab"), stop_tokens=257)
    assert pieces == [Piece("x", (120,), None), Piece("", (257,), "stop")]
    assert (completion.text, completion.tokens, completion.finish_reason) == ("x", [120, 257], "stop")
    assert completion.usage.completion_tokens == 2
    assert run(tokens_of("x", "abc"), stop_tokens=[257, 258], max_tokens=4)[1].text == "xabc"  # "bc" in two tokens


def test_stop_tokens_beside_the_end_of_text() -> None:
    assert run([EOT], stop_tokens=257)[1].tokens == []
    assert run([EOT], stop_tokens=[257, EOT])[1].tokens == [EOT]
    assert run([EOT, PAD_ID, 65], stop_tokens=PAD_ID, ignore_eos=True)[1].tokens == [EOT, PAD_ID]


def test_stop_tokens_end_an_unfinished_character_and_a_false_start_of_a_stop() -> None:
    assert run([120, 0xE2, 257], stop_tokens=257)[1].text == "x\ufffd"
    assert run(tokens_of("x", "ab", 257), stop="abc", stop_tokens=257)[1].text == "xab"


def test_stop_tokens_outside_the_vocabulary() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^a token id of stop_tokens is 264, but it must be an integer in 0\.\.263$"
    ):
        run([], stop_tokens=[257, 264])


def test_max_tokens_runs_no_token_too_many() -> None:
    engine = Script(tokens_of("abcdefgh"))
    completion = finish(start(engine, [1, 2], SamplingParams(temperature=0, max_tokens=3)))
    assert (completion.text, completion.finish_reason) == ("abc", "length")
    assert engine.runs == [[1, 2], [97], [98]]
    assert completion.timings.prompt_tokens == 2
    assert completion.timings.generation_tokens == 2


def test_stop_across_tokens() -> None:
    pieces, completion = run(tokens_of("x", "ab", "cd", "ef"), stop="bcd")
    assert pieces == [
        Piece("x", (120,), None),
        Piece("a", (256,), None),  # "b" may begin the stop
        Piece("", (258,), "stop"),
    ]
    assert completion.text == "xa"
    assert completion.tokens == [120, 256, 258]  # those of the stop are counted


def test_false_start_of_a_stop() -> None:
    pieces, completion = run(tokens_of("ab", "ab", "cd"), stop="abababc")
    assert [piece.text for piece in pieces] == ["ababcd", ""]  # after "d" no stop can have begun
    assert pieces[0].tokens == (256, 256, 258)
    assert (completion.text, completion.finish_reason) == ("ababcd", "stop")


def test_held_back_text_comes_at_the_end() -> None:
    pieces, completion = run(tokens_of("x", "ab"), stop="abc", max_tokens=2)
    assert pieces == [Piece("x", (120,), None), Piece("ab", (256,), "length")]
    assert completion.text == "xab"
    pieces, _ = run(tokens_of("ab"), stop="abc")
    assert pieces == [Piece("ab", (256,), "stop")]


def test_stop_at_the_last_token_is_a_stop() -> None:
    assert run(tokens_of("ab"), stop="b", max_tokens=1)[1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("stops", "text"),
    [
        (("cd", "bcde"), "ab"),  # complete first
        (("bcd", "cd"), "a"),  # complete together: the longest
        (("zz", "d"), "abc"),
        (("é",), "abcdef"),
        (("a",), ""),
    ],
)
@pytest.mark.parametrize("script", [("abcdef",), ("ab", "cd", "ef"), ("a", "bc", "d", "ef")])
def test_several_stops_however_the_text_is_cut(stops: tuple[str, ...], text: str, script: tuple[str, ...]) -> None:
    pieces, completion = run(tokens_of(*script), stop=stops)
    assert completion.text == text == "".join(piece.text for piece in pieces)


def test_stop_filter_on_every_cut() -> None:
    text, stops = "aabaabaaab|rest", ("aabaaa", "baaab|")
    for size in range(1, len(text) + 1):
        stream = StopFilter(stops)
        out = ""
        for start in range(0, len(text), size):
            if not stream.stopped:
                out += stream.feed(text[start : start + size])
        assert (out, stream.stopped) == ("aab", True)


def test_characters_are_whole() -> None:
    pieces, completion = run(tokens_of(b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", "!"))
    assert pieces == [
        Piece("é", (0xC3, 0xA9), None),
        Piece("😀", (0xF0, 0x9F, 0x98, 0x80), None),
        Piece("!", (33,), None),
        Piece("", (), "stop"),
    ]
    assert completion.text == "é😀!"


def test_unfinished_characters() -> None:
    pieces, completion = run(tokens_of("a", b"\xc3", "b", b"\xf0\x9f\x98"), max_tokens=6)
    assert [piece.text for piece in pieces] == ["a", "\ufffdb", "\ufffd"]
    assert completion.text == TOKENIZER.decode(completion.tokens) == "a\ufffdb\ufffd"
    assert completion.finish_reason == "length"


def test_stop_of_several_bytes_over_tokens() -> None:
    pieces, completion = run(tokens_of("x", b"\xe2\x86", b"\x92", "y"), stop="→")
    assert pieces == [Piece("x", (120,), None), Piece("", (0xE2, 0x86, 0x92), "stop")]
    assert completion.text == "x"


def test_echo() -> None:
    pieces, completion = run(tokens_of("ab"), echo="prompt ab", stop="b")
    assert pieces == [
        Piece("prompt ab", (), None),
        Piece("a", (256,), "stop"),
    ]  # a stop string in the prompt does not count
    assert completion.text == "prompt aba"
    assert completion.tokens == [256]


@pytest.mark.parametrize("seed", range(20))
def test_pieces_join(seed: int) -> None:
    random = np.random.default_rng(seed)
    script = random.integers(0, TOKENIZER.vocab_size - 2, 40).tolist()
    stops = ["".join(map(chr, random.integers(97, 100, 2))), "\n"] if seed % 2 else ()
    pieces, completion = run(script, stop=stops, max_tokens=40)
    assert "".join(piece.text for piece in pieces) == completion.text
    assert sum((piece.tokens for piece in pieces), ()) == tuple(completion.tokens)
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish_reason == completion.finish_reason
    assert all(piece.text for piece in pieces[:-1])
    full = TOKENIZER.decode(completion.tokens)
    cuts = [full.index(stop) for stop in stops if stop in full]
    assert completion.text == (full[: min(cuts)] if cuts else full)


def test_context_overflow_before_any_work() -> None:
    engine = Script(tokens_of("ab"), context=10)
    message = "the prompt has 4 tokens and max_tokens is 7, together 11, but the context has 10 positions"
    with pytest.raises(ContextOverflowError, match=f"^{message}$"):
        start(engine, [1, 2, 3, 4], SamplingParams(max_tokens=7))
    assert engine.runs == []
    start(engine, [1, 2, 3, 4], SamplingParams(max_tokens=6))


def test_bias_is_checked_before_any_work() -> None:
    with pytest.raises(InvalidRequestError):
        start(Script([]), [1], SamplingParams(max_tokens=1, logit_bias={5000: 1.0}))


def test_nothing_runs_before_the_first_piece_and_after_close() -> None:
    engine = Script(tokens_of("abcdef"))
    generator = start(engine, [1], SamplingParams(temperature=0, max_tokens=5))
    assert engine.runs == []
    assert next(generator).text == "a"
    generator.close()
    assert engine.runs == [[1]]


def test_seed_is_reported() -> None:
    assert run(tokens_of("a"), seed=5)[1].seed == 5
    drawn = {run(tokens_of("a"))[1].seed for _ in range(4)}
    assert len(drawn) == 4
    assert all(0 <= seed < 1 << 64 for seed in drawn)


def test_not_a_number() -> None:
    class Broken(Script):
        def answer(self, token: int) -> NDArray[np.float32]:
            return np.full(TOKENIZER.vocab_size, np.nan, dtype=np.float32)

    with pytest.raises(NumericalError):
        finish(start(Broken([0]), [1], SamplingParams(max_tokens=1)))


def test_speeds() -> None:
    timings = Timings(prompt_tokens=100, prompt_seconds=0.5, generation_tokens=30, generation_seconds=2.0)
    assert timings.prompt_tokens_per_second == 200
    assert timings.generation_tokens_per_second == 15
    assert Timings(1, 0.1, 0, 0.0).generation_tokens_per_second == 0
