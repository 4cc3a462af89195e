"""Token healing: whatever is taken back comes again, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder._native import ffi, lib
from santacoder.engine.isa import available
from santacoder.hf import CausalLM
from santacoder.requests import Request
from tests.support.paths import FILE
from tests.support.samples import CODE, PROMPTS, facts

TEXTS = st.text(st.sampled_from("ab é\t\n\r(_)=1旧'"), min_size=1, max_size=30)


def test_only_tokens_of_a_range_of_ranks_stay() -> None:
    random = np.random.default_rng(1)
    for n in (1, 7, 64, 1000):
        logits = random.standard_normal(n).astype(np.float32)
        ranks = random.integers(-1, 50, n).astype(np.int32)
        for first, last in ((0, 0), (0, 50), (10, 11), (3, 40), (49, 50)):
            found = logits.copy()
            lib.sc_restrict(
                ffi.from_buffer("float[]", found, require_writable=True),
                ffi.from_buffer("int32_t[]", ranks), n, first, last,
            )  # fmt: skip
            expected = np.where((ranks >= first) & (ranks < last), logits, np.float32(-np.inf))
            np.testing.assert_array_equal(found, expected)


@settings(max_examples=60)
@given(TEXTS, st.sampled_from([0.0, 1.0]), st.integers(1, 12))
def test_the_text_goes_on_behind_the_prompt(
    model: santacoder.SantaCoder, text: str, temperature: float, max_tokens: int
) -> None:
    """Prompt and text are what kept and generated tokens spell together: nothing is twice or missing."""
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": 5}
    found = model.complete(text, token_healing=True, **options)
    ids, piece = model.tokenizer.encode_to_cut(text)
    kept = ids[: max(len(ids) - piece, 1)]
    whole = b"".join(map(model.tokenizer.token_bytes, [*kept, *found.tokens]))
    assert whole.startswith(text.encode())
    assert found.text == whole[len(text.encode()) :].decode(errors="replace")
    assert found.usage.prompt_tokens == len(ids)
    assert found.usage.completion_tokens <= max_tokens
    assert len(found.tokens) <= max_tokens + len(ids) - len(kept)
    echoed = model.complete(text, token_healing=True, echo=True, **options)
    assert echoed.text == text + found.text
    pieces = list(model.stream(text, token_healing=True, **options))
    assert "".join(piece.text for piece in pieces) == found.text
    assert [token for piece in pieces for token in piece.tokens] == found.tokens


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.3}, {"stop": ["\n", "e"]}, {"logprobs": 3}])
def test_the_same_in_batches_streams_sessions_and_with_guesses(
    model: santacoder.SantaCoder, options: dict[str, Any]
) -> None:
    options = {"max_tokens": 16, "temperature": 1.0, "seed": 3, "token_healing": True, **options}
    prompts = [prompt + end for prompt in PROMPTS for end in ("", "\n", "    ", "ret")]
    expected = [facts(model.complete(prompt, lookup=False, **options)) for prompt in prompts]
    model._scheduler.forget()
    assert [facts(first) for first, _ in model.complete_many(prompts, n=2, **options)] == expected
    requests = [Request(prompt, options) for prompt in prompts]  # type: ignore[arg-type]
    assert [facts(found) for _, found in sorted(model.complete_each(requests), key=lambda pair: pair[0])] == expected
    session = model.session()
    assert [facts(session.complete(prompt, **options)) for prompt in prompts] == expected


def test_the_same_on_every_instruction_set_and_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [prompt + end for prompt in PROMPTS for end in ("", "\n", "    ", "ret")]
    found = []
    for level in available():
        monkeypatch.setenv("SANTACODER_ISA", level)
        for threads in (1, 3):
            with santacoder.load(FILE, threads=threads) as model:
                rows = model.complete_many(prompts, max_tokens=12, temperature=1.0, seed=3, token_healing=True)
            found.append([facts(row[0]) for row in rows])
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("mode", ["psm", "spm"])
def test_infilling(model: santacoder.SantaCoder, mode: Any) -> None:
    options: dict[str, Any] = {"max_tokens": 16, "temperature": 1.0, "seed": 3, "mode": mode}
    for end in range(1, len(CODE) - 1, 7):
        prefix, suffix = CODE[:end], CODE[end + 1 :]
        healed = model.infill(prefix, suffix, token_healing=True, **options)
        plain = model.infill(prefix, suffix, token_healing=False, **options)
        assert healed.usage.prompt_tokens == plain.usage.prompt_tokens
        assert facts(model.session().infill(prefix, suffix, token_healing=True, **options)) == facts(healed)
        echoed = model.infill(prefix, suffix, token_healing=True, echo=True, **options)
        assert echoed.text == prefix + healed.text


@pytest.mark.parametrize("end", ["", "\n", "    ", "ret", "\r\n"])
def test_by_default_infilling_heals_but_for_one_case(model: santacoder.SantaCoder, end: str) -> None:
    """Not in "psm" after a line break."""
    for mode in ("psm", "spm"):
        options: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 3, "mode": mode}
        prefix = CODE + end
        heals = mode == "spm" or not prefix.endswith("\n")
        expected = model.infill(prefix, CODE, token_healing=heals, **options)
        assert facts(model.infill(prefix, CODE, **options)) == facts(expected)
        assert (expected.healed > 0) == heals


def test_ids_are_never_healed(model: santacoder.SantaCoder) -> None:
    ids = model.tokenizer.encode(CODE[:-1])
    plain = model.complete(ids, max_tokens=8, temperature=0, seed=1)
    assert facts(model.complete(CODE[:-1], max_tokens=8, temperature=0, seed=1, token_healing=False)) == facts(plain)
    with pytest.raises(santacoder.InvalidRequestError, match=r"^token_healing is True, but the prompt is token ids"):
        model.complete(ids, max_tokens=8, token_healing=True)
    with pytest.raises(santacoder.InvalidRequestError, match=r"^token_healing is 1, but it must be True or False"):
        model.complete("a", token_healing=1)  # type: ignore[arg-type]


def test_the_result_says_how_many_tokens_were_taken_back(model: santacoder.SantaCoder) -> None:
    for text in (CODE + "    ", CODE + "retu", "x", CODE + "<|endoftext|>"):
        found = model.complete(text, max_tokens=4, temperature=0, token_healing=True)
        ids, piece = model.tokenizer.encode_to_cut(text)
        assert found.healed == min(piece, len(ids) - 1)
        whole = model.tokenizer.decode([*ids[: len(ids) - found.healed], *found.tokens])
        assert whole == text + found.text
        assert model.complete(text, max_tokens=4, token_healing=False).healed == 0


def test_generate_of_hf(model: santacoder.SantaCoder) -> None:
    causal, tokenizer = CausalLM(model), model.tokenizer
    texts = [CODE + "    retu", CODE + "    "]
    for text in texts:
        ids = np.array([tokenizer.encode(text)])
        plain = causal.generate(ids, max_new_tokens=6, eos_token_id=[], pad_token_id=0)
        assert plain[0, : ids.shape[1]].tolist() == ids[0].tolist()
        [healed] = causal.generate(ids, max_new_tokens=6, eos_token_id=[], pad_token_id=0, token_healing=True)
        options: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "ignore_eos": True, "any_token": True}
        found = model.complete(text, token_healing=True, **options)
        assert healed.tolist() == [*ids[0, : ids.shape[1] - found.healed].tolist(), *found.tokens]
        assert tokenizer.decode(healed.tolist()) == text + found.text
    mask = np.array([[1, 0]])
    with pytest.raises(santacoder.InvalidRequestError, match=r"^token_healing is on, but a prompt is padded"):
        causal.generate(np.array([[5, 6]]), attention_mask=mask, token_healing=True)


def test_nothing_is_taken_back_behind_a_special_token(model: santacoder.SantaCoder) -> None:
    for prompt in ("a b<|endoftext|>", "", "x"):
        healed = model.complete(prompt, max_tokens=8, temperature=0, seed=1, token_healing=True)
        assert facts(healed) == facts(model.complete(prompt, max_tokens=8, temperature=0, seed=1, token_healing=False))


def test_a_context_that_is_full_stays_within_it(model: santacoder.SantaCoder) -> None:
    """The bytes that are owed may need more tokens than were taken back, and the context has no room for these."""
    prompt = "x = 1\n" * 200
    while not model.fits(prompt + "    retur", 2):
        prompt = prompt[6:]
    for seed in range(20):
        found = model.complete(
            prompt + "    retur", max_tokens=2, temperature=50.0, seed=seed, top_p=1.0, token_healing=True
        )
        ids, piece = model.tokenizer.encode_to_cut(prompt + "    retur")
        assert len(ids) - piece + len(found.tokens) <= model.context
        assert found.finish_reason in ("length", "stop")


def test_stop_tokens_do_not_end_what_is_owed(model: santacoder.SantaCoder) -> None:
    """A token that only spells bytes of the prompt is none of the text's."""
    prompt = CODE + "    "
    healed = model.complete(prompt, max_tokens=8, temperature=0, seed=1, token_healing=True)
    stops = [
        token for token in range(model.tokenizer.n_tokens) if set(model.tokenizer.token_bytes(token)) <= set(b" \n")
    ]
    found = model.complete(prompt, max_tokens=8, temperature=0, token_healing=True, stop_tokens=stops)
    assert healed.text.startswith(found.text)
    assert found.usage.completion_tokens >= 1


def test_prompts_cut_at_every_byte(model: santacoder.SantaCoder) -> None:
    """Of characters of several bytes, runs of blanks, tabs and both line breaks: no error, no half character."""
    line = "é旧𝕏\t\t  \r\n\r\n   ñ=  'x'\n\n    "
    prompts = [(line * 3)[:end] for end in range(1, 3 * len(line))]
    for samples in model.complete_many(prompts, max_tokens=3, temperature=0, token_healing=True, ignore_eos=True):
        assert samples[0].finish_reason in ("length", "stop")
    ids = [model.tokenizer.encode_to_cut(prompt) for prompt in prompts]
    for prompt, (tokens, piece) in zip(prompts, ids, strict=True):
        head = b"".join(map(model.tokenizer.token_bytes, tokens[: len(tokens) - piece]))
        assert prompt.encode().startswith(head)
        head.decode()  # a piece begins with a whole character
