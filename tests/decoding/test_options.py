"""The declaration of the options: its checks, and that everything written by hand agrees with it."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder import InvalidRequestError
from santacoder.decoding.option import Option
from santacoder.decoding.options import OPTIONS, SamplingOptions, SamplingParams, check_tokens
from santacoder.requests import sampling_params
from tests.support.paths import distributed
from tools.document_options import PLACES, rewritten

WRONG: list[tuple[str, Any, str]] = [
    ("max_tokens", -1, "max_tokens is -1, but it must be an integer of 0 or more"),
    ("max_tokens", True, "max_tokens is True, but it must be an integer of 0 or more"),
    ("max_tokens", 1.0, "max_tokens is 1.0, but it must be an integer of 0 or more"),
    ("temperature", -0.1, "temperature is -0.1, but it must be a finite number of 0 or more"),
    ("temperature", math.nan, "temperature is nan, but it must be a finite number of 0 or more"),
    ("temperature", math.inf, "temperature is inf, but it must be a finite number of 0 or more"),
    ("temperature", "1", "temperature is '1', but it must be a finite number of 0 or more"),
    ("temperature", 10**400, "temperature is 1000000000000000000000000"),
    ("top_k", -1, "top_k is -1, but it must be an integer of 0 or more"),
    ("top_k", 2.5, "top_k is 2.5, but it must be an integer of 0 or more"),
    ("top_p", 1.01, "top_p is 1.01, but it must be a number in 0..1"),
    ("top_p", math.nan, "top_p is nan, but it must be a number in 0..1"),
    ("min_p", -1e-9, "min_p is -1e-09, but it must be a number in 0..1"),
    ("repetition_penalty", 0, "repetition_penalty is 0, but it must be a number in 0.01..100"),
    ("frequency_penalty", 2.1, "frequency_penalty is 2.1, but it must be a number in -2..2"),
    ("presence_penalty", -math.inf, "presence_penalty is -inf, but it must be a number in -2..2"),
    ("logit_bias", {-1: 0.0}, "a token id of logit_bias is -1, but it must be an integer of 0 or more"),
    *(
        ("logit_bias", {key: 0.0}, f"a token id of logit_bias is {key!r}, but it must be an integer of 0 or more")
        for key in ("", "-1", "+7", "07", " 7", "7.0", "1_0", "0x7", "\u0667", "a", "9" * 30, b"7", None, 7.0)
    ),
    *(
        ("logit_bias", {"7": bias}, f"logit_bias[7] is {bias!r}, but it must be a number in -100..100, or -inf")
        for bias in (math.nan, math.inf, 100.5, -101, "1", None, True)
    ),
    ("logit_bias", {"7": 1, 7: 1}, "logit_bias names token 7 twice, but it must have one number for each"),
    ("logit_bias", 5, "logit_bias is 5, but it must be a mapping from token ids to numbers"),
    ("logit_bias", [5], "logit_bias is [5], but it must be a mapping from token ids to numbers"),
    ("stop", "", "stop is '', but it must be a text or a list of texts, none of them empty"),
    ("stop", ["a", ""], "stop is ['a', ''], but it must be a text or a list of texts, none of them empty"),
    ("stop", [1], "stop is [1], but it must be a text or a list of texts, none of them empty"),
    ("stop", {"a": 1}, "stop is {'a': 1}, but it must be a text or a list of texts, none of them empty"),
    ("stop", {"a", ""}, "stop is {'"),
    ("stop", 5, "stop is 5, but it must be a text or a list of texts, none of them empty"),
    ("stop", b"a", "stop is b'a', but it must be a text or a list of texts, none of them empty"),
    ("stop_tokens", -1, "a token id of stop_tokens is -1, but it must be an integer of 0 or more"),
    ("stop_tokens", [1, True], "a token id of stop_tokens is True, but it must be an integer of 0 or more"),
    ("stop_tokens", "7", "stop_tokens is '7', but it must be a token id or a list of token ids"),
    ("seed", -1, "seed is -1, but it must be an integer in 0..18446744073709551615"),
    ("seed", 1 << 64, "seed is 18446744073709551616, but it must be an integer in 0..18446744073709551615"),
    ("echo", 1, "echo is 1, but it must be True or False"),
    ("ignore_eos", "no", "ignore_eos is 'no', but it must be True or False"),
    ("any_token", 1, "any_token is 1, but it must be True or False"),
    ("deadline", -1, "deadline is -1, but it must be a finite number of 0 or more"),
    ("deadline", (1, math.nan), "deadline[1] is nan, but it must be a finite number of 0 or more"),
    ("deadline", (1,), "deadline is (1,), but it must be seconds, or a pair of seconds: for the prompt, and for all"),
    *(("truncate", value, f"truncate is {value!r}, but it must be 'left' or None") for value in ("right", True, "")),
    *(
        (name, value, f"{name} is {value!r}, but it must be a function")
        for name in ("logits_processor", "stopping")
        for value in ("f", True, [print])
    ),
    ("logprobs", 101, "logprobs is 101, but it must be an integer in 0..100"),
]


class TestParams:
    @pytest.mark.parametrize(("name", "value", "message"), WRONG)
    def test_wrong(self, name: str, value: Any, message: str) -> None:
        with pytest.raises(InvalidRequestError) as error:
            SamplingParams(**{name: value})
        assert str(error.value)[: len(message)] == message
        assert len(str(error.value)) < 200

    def test_normal_forms(self) -> None:
        odd: dict[str, Any] = {"max_tokens": np.int64(3), "top_p": np.float32(0.5)}
        bias = {2: 1}
        params = SamplingParams(temperature=1, stop="x", logit_bias=bias, **odd)
        bias[2] = 3
        assert (params.max_tokens, params.temperature, params.top_p) == (3, 1.0, 0.5)
        assert params.stop == ("x",)
        assert params.logit_bias == {2: 1.0}
        assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")
        assert SamplingParams(stop_tokens=np.int64(7)).stop_tokens == (7,)  # type: ignore[arg-type]
        assert SamplingParams(stop_tokens=[7, 8]).stop_tokens == (7, 8)
        assert SamplingParams(stop_tokens=np.array([7, 8])).stop_tokens == (7, 8)
        assert SamplingParams(seed=(1 << 64) - 1).seed == (1 << 64) - 1
        assert SamplingParams(stop_tokens={7}).stop_tokens == (7,)

    @pytest.mark.parametrize(
        "stop", [{"b", "a"}, frozenset("ab"), iter("ab"), {"a": 1, "b": 2}.keys(), np.array(["a", "b"])], ids=repr
    )
    def test_stop_is_any_collection_of_texts(self, stop: Any) -> None:
        assert SamplingParams(stop=stop).stop == ("a", "b")

    def test_biases_as_json_has_them(self) -> None:
        bias = SamplingParams(logit_bias=json.loads('{"0": 1, "49151": -100.0, "7": -Infinity}')).logit_bias
        assert bias == {0: 1.0, 49151: -100.0, 7: -math.inf}
        assert {type(value) for value in bias.values()} == {float}

    @pytest.mark.parametrize(
        "option", [option for option in OPTIONS.values() if option.check is None], ids=lambda option: option.name
    )
    def test_limits_are_allowed_and_no_more(self, option: Option) -> None:
        """Options whose kind says how to check them."""
        right: list[Any] = [limit for limit in (option.low, option.high) if limit is not None]
        beyond = [] if option.low is None else [option.low - 1]
        beyond += [] if option.high is None else [option.high + 1]
        if option.kind == "bool":
            right = [False, True]
        assert right
        for value in right:
            assert getattr(SamplingParams(**{option.name: value}), option.name) == value
        wrong: list[Any] = [*beyond, "1", [1]]
        for value in wrong:
            with pytest.raises(InvalidRequestError, match=f"^{option.name} is .*, but it must be "):
                SamplingParams(**{option.name: value})

    def test_what_is_not_given_has_its_default(self) -> None:
        params = SamplingParams()
        assert {name: getattr(params, name) for name in OPTIONS} == {
            name: option.default for name, option in OPTIONS.items()
        }
        assert sampling_params({}) == params
        assert sampling_params(dict.fromkeys(OPTIONS)) == params

    def test_bias_outside_the_vocabulary(self) -> None:
        message = "a token id of logit_bias is 4, but it must be an integer in 0..3"
        with pytest.raises(InvalidRequestError, match=f"^{message}$"):
            check_tokens(SamplingParams(logit_bias={4: 1.0}), 4)


class TestDeclaration:
    def test_ranges(self) -> None:
        ranges = {name: option.range for name, option in OPTIONS.items() if option.range}
        assert ranges == {
            "max_tokens": "0 or more", "temperature": "0 or more", "top_k": "0 or more", "top_p": "0..1",
            "min_p": "0..1", "repetition_penalty": "0.01..100", "frequency_penalty": "-2..2",
            "presence_penalty": "-2..2", "logit_bias": "-100..100", "stop_tokens": "0 or more", "seed": "0..2^64-1",
            "deadline": "0 or more", "line_deadline": "0 or more", "min_indent": "0 or more",
            "logprobs": "0..100", "prompt_logprobs": "0..100", "match_length": "16 or more",
        }  # fmt: skip

    def test_type_checkers_see_the_same_keywords(self) -> None:
        literal = {name: hint.__forward_arg__ for name, hint in SamplingOptions.__annotations__.items()}
        assert list(literal.items()) == [(name, option.annotation) for name, option in OPTIONS.items()]

    def test_an_unknown_keyword_brings_the_known_ones(self) -> None:
        message = (
            "'top' is not a keyword (did you mean stop?); the keywords are: max_tokens, temperature, top_k, top_p, "
            "min_p, repetition_penalty, frequency_penalty, presence_penalty, logit_bias, stop, stop_tokens, seed, "
            "echo, ignore_eos, any_token, deadline, line_deadline, min_indent, logprobs, prompt_logprobs, lookup, "
            "token_healing, truncate, clip, logits_processor, stopping, attribution, on_match, match_length"
        )
        with pytest.raises(InvalidRequestError) as error:
            sampling_params({"max_tokens": 3, "top": 1})
        assert str(error.value) == message

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("max_new_tokens", "max_tokens"),
            ("max_token", "max_tokens"),
            ("maxTokens", "max_tokens"),
            ("temperatures", "temperature"),
            ("repeat_penalty", "repetition_penalty"),
            ("stop_strings", "stop"),
            ("logprob", "logprobs"),
            ("n", "n of complete_many"),
            ("stopping_criteria", "stopping"),
            ("prefix_allowed_tokens_fn", "logits_processor"),
        ],
    )
    def test_what_an_unknown_keyword_may_mean(self, name: str, meant: str) -> None:
        with pytest.raises(InvalidRequestError, match=rf"^'{name}' is not a keyword \(did you mean {meant}\?\); the k"):
            sampling_params({name: 1})

    @pytest.mark.parametrize("name", ["prompt", "xyz", "", 7])
    def test_nothing_is_guessed_without_a_reason(self, name: Any) -> None:
        with pytest.raises(InvalidRequestError, match=rf"^{name!r} is not a keyword; the keywords are: max_tokens, "):
            sampling_params({name: 1})

    @pytest.mark.parametrize("kind", [santacoder.SantaCoder, santacoder.Session])
    def test_signatures_show_the_options(self, kind: type) -> None:
        """Of every method that takes them, as editors and notebooks ask for it."""
        methods = [
            method for method in vars(kind).values()
            if inspect.isfunction(method) and "Unpack[SamplingOptions]" in method.__annotations__.values()
        ]  # fmt: skip
        assert len(methods) >= 4
        for method in methods:
            shown = list(inspect.signature(method).parameters.values())[-len(OPTIONS) :]
            assert [(each.name, each.default, each.annotation) for each in shown] == [
                (option.name, option.default, option.annotation) for option in OPTIONS.values()
            ]
            assert {each.kind for each in shown} == {inspect.Parameter.KEYWORD_ONLY}
        first = next(iter(inspect.signature(kind.complete.__get__(object())).parameters))  # type: ignore[attr-defined]
        assert first == "prompt"

    def test_reading_it_takes_no_numpy(self) -> None:
        code = "import sys, santacoder.decoding.options; sys.exit('numpy' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[0].name)
def test_texts_say_what_is_declared(place: tuple[Path, str, str, Callable[[], str]]) -> None:
    """Line by line: `python tools/document_options.py` writes them."""
    path, before, after, make = place
    text = distributed(path).read_text(encoding="utf-8")
    part = make()
    assert text.splitlines() == rewritten(text, before, after, part).splitlines()
    assert all(name in part for name in OPTIONS)
