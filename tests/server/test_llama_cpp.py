"""llama.cpp's endpoints: what its clients send, and what they read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.gguf_builder import tiny_builder
from tests.support.http_server import LiveServer, serving

PROMPT = "def add(a, b):\n    return"
SAMPLING = {"temperature": 0.9, "top_p": 0.95, "seed": 11}
MEMBERS = {
    "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated",
    "generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word", "tokens_cached",
    "timings",
}  # fmt: skip
TIMINGS = {
    "cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n", "predicted_ms",
    "predicted_per_token_ms", "predicted_per_second",
}  # fmt: skip


def answer(server: LiveServer, path: str, **body: object) -> Any:
    reply = server.post(path, {**SAMPLING, **body})
    assert reply.status == 200, reply.body
    return reply.json


@pytest.mark.parametrize("path", ["/completion", "/completions"])
@pytest.mark.parametrize("name", ["n_predict", "max_tokens", "max_completion_tokens"])
def test_the_final_object(server: LiveServer, model: SantaCoder, path: str, name: str) -> None:
    expected = model.complete(PROMPT, max_tokens=12, **SAMPLING)  # type: ignore[arg-type]
    found = answer(server, path, prompt=PROMPT, return_tokens=True, id_slot=3, **{name: 12})
    assert set(found) == MEMBERS
    assert set(found["timings"]) == TIMINGS
    assert all(type(value) in (int, float) for value in found["timings"].values())
    assert (found["content"], found["tokens"]) == (expected.text, expected.tokens)
    assert (found["tokens_predicted"], found["tokens_evaluated"]) == (12, expected.usage.prompt_tokens)
    assert (found["stop"], found["stop_type"], found["id_slot"], found["prompt"]) == (True, "limit", 3, "")
    assert found["generation_settings"]["n_ctx"] == model.context
    assert found["generation_settings"]["seed"] == 11


def test_no_limit_fills_the_context(server: LiveServer, model: SantaCoder) -> None:
    found = answer(server, "/completion", prompt=PROMPT, ignore_eos=True)
    assert found["tokens_predicted"] + found["tokens_evaluated"] == model.context
    assert found["truncated"] is True


def test_no_tokens_read_the_prompt(server: LiveServer) -> None:
    prompt = "q = 17\n" * 20
    assert answer(server, "/completion", prompt=prompt, n_predict=0)["tokens_predicted"] == 0
    found = answer(server, "/completion", prompt=prompt, n_predict=1)
    assert found["timings"]["cache_n"] > found["timings"]["prompt_n"]


def test_what_ended_the_text(server: LiveServer, model: SantaCoder) -> None:
    whole = model.complete(PROMPT, max_tokens=30, **SAMPLING)  # type: ignore[arg-type]
    word = whole.text[6:8]
    found = answer(server, "/completion", prompt=PROMPT, n_predict=30, stop=[word])
    assert (found["stop_type"], found["stopping_word"]) == ("word", word)
    assert found["content"] == whole.text[: whole.text.index(word)]
    end = model.tokenizer.eot_id
    found = answer(server, "/completion", prompt=PROMPT, n_predict=30, logit_bias=[[end, 100]], temperature=0)
    assert (found["stop_type"], found["content"]) == ("eos", "")


def test_several_are_an_array(server: LiveServer, model: SantaCoder) -> None:
    rows = model.complete_many([PROMPT, "x ="], n=3, max_tokens=5, **SAMPLING)  # type: ignore[arg-type]
    found = answer(server, "/completion", prompt=[PROMPT, "x ="], n_cmpl=3, n_predict=5)
    assert [each["content"] for each in found] == [each.text for row in rows for each in row]
    assert [each["index"] for each in found] == [*range(6)]
    assert isinstance(answer(server, "/completion", prompt=[PROMPT], n_predict=5), dict)
    assert len(answer(server, "/completion", prompt=PROMPT, n=2, n_predict=5)) == 2


def test_samplers_that_are_not_named_are_off(server: LiveServer, model: SantaCoder) -> None:
    given = {"temperature": 2.0, "top_k": 5, "top_p": 0.5, "min_p": 0.2, "presence_penalty": 2.0, "n_predict": 20}
    expected = model.complete(PROMPT, temperature=2.0, top_k=5, top_p=1, max_tokens=20, seed=11)
    found = answer(server, "/completion", prompt=PROMPT, samplers=["top_k", "temperature", "infill"], **given)
    assert found["content"] == expected.text
    expected = model.complete(PROMPT, temperature=2.0, top_k=5, top_p=0.5, min_p=0.2, max_tokens=20, seed=11)
    found = answer(server, "/completion", prompt=PROMPT, repeat_last_n=0, repeat_penalty=3.0, **given)
    assert found["content"] == expected.text


def test_biases(server: LiveServer, model: SantaCoder) -> None:
    token = model.complete(PROMPT, temperature=0, max_tokens=1, token_healing=False).tokens[0]
    text = model.tokenizer.decode([token])
    body = {"prompt": PROMPT, "temperature": 0, "n_predict": 1, "token_healing": False, "return_tokens": True}
    for bias in ([[token, False]], [[float(token), -100]], {str(token): False}, [[text, False]], {text: -100}):
        assert answer(server, "/completion", logit_bias=bias, **body)["tokens"] != [token]
    assert answer(server, "/completion", logit_bias=[], **body)["tokens"] == [token]
    refused = server.post("/completion", {**body, "logit_bias": [["x" * 10_000, 1], ["y" * 10_000, 1]]})
    assert (refused.status, refused.error["param"]) == (400, "logit_bias")
    assert "20000 characters, but 16384" in refused.error["message"]


def test_probabilities(server: LiveServer, model: SantaCoder) -> None:
    expected = model.complete(PROMPT, max_tokens=4, logprobs=2, **SAMPLING)  # type: ignore[arg-type]
    found = answer(server, "/completion", prompt=PROMPT, n_predict=4, n_probs=2)["completion_probabilities"]
    assert expected.logprobs is not None
    assert [(each["id"], each["logprob"]) for each in found] == [
        (each.token, each.logprob) for each in expected.logprobs
    ]
    for each, entry in zip(found, expected.logprobs, strict=True):
        assert [(top["id"], top["logprob"]) for top in each["top_logprobs"]] == [*entry.top]
        assert bytes(each["bytes"]) == model.tokenizer.token_bytes(entry.token)


def test_response_fields(server: LiveServer) -> None:
    fields = ["content", "timings/prompt_n", "generation_settings/n_ctx", "nope", "content/x"]
    found = answer(server, "/completion", prompt=PROMPT, n_predict=2, response_fields=fields)
    assert [*found] == ["content", "timings/prompt_n", "generation_settings/n_ctx"]
    assert answer(server, "/completion", prompt=PROMPT, n_predict=2, response_fields=[""]) == {}


@pytest.mark.parametrize("path", ["/completion", "/infill"])
@pytest.mark.parametrize("n", [1, 3])
def test_streams(server: LiveServer, path: str, n: int) -> None:
    body = {"prompt": PROMPT, "n_predict": 20, "n_cmpl": n, "return_tokens": True, "n_probs": 1, **SAMPLING}
    if path == "/infill":
        body |= {"input_prefix": "import os\n", "input_suffix": "\n\nx = 1\n"}
    whole = server.post(path, body).json
    objects = whole if n > 1 else [whole]
    events = server.post(path, {**body, "stream": True}).events
    for index, expected in enumerate(objects):
        *parts, last = [event for event in events if event["index"] == index]
        assert [part["stop"] for part in parts] == [False] * len(parts)
        assert {part["tokens_evaluated"] for part in parts} == {expected["tokens_evaluated"]}
        assert "".join(part["content"] for part in parts) == expected["content"]
        assert [token for part in parts for token in part["tokens"]] == expected["tokens"]
        found = [each for part in parts for each in part["completion_probabilities"]]
        assert found == expected["completion_probabilities"]
        assert (last["stop"], last["content"], last["stop_type"]) == (True, "", expected["stop_type"])


def test_infills(server: LiveServer, model: SantaCoder) -> None:
    before, line, after = "def add(a, b):\n", "    return", "\n\nprint(add(1, 2))\n"
    expected = model.infill(before + line, after, mode="spm", max_tokens=20, **SAMPLING)  # type: ignore[arg-type]
    body = {"input_prefix": before, "prompt": line, "input_suffix": after, "n_predict": 20}
    assert answer(server, "/infill", **body)["content"] == expected.text
    several = answer(server, "/infill", **body, n_cmpl=3)
    assert several[0]["content"] == expected.text
    with serving(model, Settings(fim_mode="psm")) as other:
        expected = model.infill(before + line, after, mode="psm", max_tokens=20, **SAMPLING)  # type: ignore[arg-type]
        assert answer(other, "/infill", **body)["content"] == expected.text


#: What llama.vim sends, as it was read in its source.
LLAMA_VIM = {
    "id_slot": 0, "input_prefix": "import os\n\ndef f():\n", "input_suffix": "\n", "input_extra": [
        {"text": "def g():\n    pass\n", "time": [1, 2], "filename": "g.py"},
    ], "prompt": "    ", "n_predict": 128, "stop": [], "n_indent": 4, "top_k": 40, "top_p": 0.90,
    "samplers": ["top_k", "top_p", "infill"], "stream": False, "cache_prompt": True, "t_max_prompt_ms": 500,
    "t_max_predict_ms": 250, "response_fields": [
        "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
        "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms", "timings/predicted_per_second",
        "truncated", "tokens_cached",
    ], "model": "",
}  # fmt: skip


def test_the_request_of_llama_vim(server: LiveServer) -> None:
    reply = server.post("/infill", LLAMA_VIM, {"Authorization": "Bearer "})
    assert reply.status == 200, reply.body
    assert re.match(rb'\{"content":"', reply.body)
    assert b"\n" not in reply.body
    assert [*reply.json] == LLAMA_VIM["response_fields"]
    read, whole = map(int, reply.headers["x-santacoder-context"].split("/"))
    assert 0 < read <= whole
    stream = server.post("/infill", {**LLAMA_VIM, "stream": True})
    assert {event["tokens_evaluated"] for event in stream.events[:-1]} == {read}
    assert stream.headers["x-santacoder-context"] == f"{read}/{whole}"
    warm_up = {
        **LLAMA_VIM,
        "input_prefix": "",
        "input_suffix": "",
        "prompt": "",
        "n_predict": 0,
        "response_fields": [""],
    }
    assert server.post("/infill", warm_up).body == b"{}"


def test_texts_of_other_files_change_the_answer(server: LiveServer, model: SantaCoder) -> None:
    body = {"input_prefix": "x = ", "input_suffix": "\n", "n_predict": 8, "return_tokens": True}
    alone = answer(server, "/infill", **body)
    extra = answer(server, "/infill", **body, input_extra=[{"text": "zebra = 1\n" * 4}])
    assert extra["tokens_evaluated"] > alone["tokens_evaluated"]
    with serving(model, Settings(extra_context=0)) as none:
        found = answer(none, "/infill", **body, input_extra=[{"text": "zebra = 1\n" * 4}])
        assert found["content"] == alone["content"]


def test_a_model_without_markers(own: SantaCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own.tokenizer, "fim_suffix_id", None)
    with serving(own) as server:
        reply = server.post("/infill", {"input_prefix": "a", "input_suffix": "b"})
        assert (reply.status, reply.error["type"], reply.error["code"]) == (400, "not_supported_error", 400)
        assert server.post("/v1/completions", {"prompt": "a", "suffix": "b"}).status == 400
        assert server.post("/completion", {"prompt": "a", "n_predict": 1}).status == 200


def test_lines_that_are_indented_less_end_the_text(server: LiveServer, model: SantaCoder) -> None:
    options: Any = {"temperature": 0, "max_tokens": 60, "logit_bias": {model.tokenizer.encode("\n")[0]: 5.0}}
    expected = model.complete(PROMPT, min_indent=4, **options)
    bias = [[token, value] for token, value in options["logit_bias"].items()]
    found = answer(server, "/completion", prompt=PROMPT, temperature=0, n_predict=60, n_indent=4, logit_bias=bias)
    assert found["content"] == expected.text
    assert found["generation_settings"]["n_indent"] == 4


def test_a_line_is_shown_whatever_the_time(server: LiveServer, model: SantaCoder) -> None:
    """Milliseconds for the text count from its first line break on."""
    newline = model.tokenizer.encode("\n")[0]
    bias = [[newline, False]]
    body = {"prompt": PROMPT, "n_predict": 40, "ignore_eos": True, "logit_bias": bias, "stop": []}
    whole = answer(server, "/completion", **body)
    assert answer(server, "/completion", **body, t_max_predict_ms=1)["content"] == whole["content"]


class TestSamplingDefaults:
    """What a request that does not say gets: the server's flag, the file's value, or the library's."""

    @pytest.fixture
    def recommending(self, tmp_path: Path) -> Iterator[SantaCoder]:
        path = tmp_path / "m.gguf"
        keys = {"temp": 1.5, "top_k": 9, "penalty_repeat": 1.25}
        metadata = {f"general.sampling.{key}": value for key, value in keys.items()}
        path.write_bytes(tiny_builder(metadata=metadata).build())
        with santacoder.load(path, threads=1) as model:
            yield model

    def test_of_the_file(self, recommending: SantaCoder) -> None:
        options: dict[str, Any] = {"max_tokens": 6, "seed": 4, "ignore_eos": True}
        body = {"prompt": "ab", "n_predict": 6, **options}
        with serving(recommending) as server:
            params = server.get("/props").json["default_generation_settings"]["params"]
            content = server.post("/completion", body).json["content"]
            cooler = server.post("/completion", {**body, "temperature": 0.5, "repeat_penalty": 1}).json["content"]
            [choice] = server.post("/v1/completions", {"prompt": "ab", **options}).json["choices"]
        given: dict[str, Any] = {"temperature": 1.5, "top_k": 9, "top_p": 0.95, "min_p": 0.0}
        assert params == {"n_predict": -1, **given, "repeat_penalty": 1.25}
        expected = recommending.complete("ab", **options, **given, repetition_penalty=1.25).text
        assert (content, choice["text"]) == (expected, expected)
        assert cooler == recommending.complete("ab", **options, temperature=0.5, top_k=9).text

    def test_a_flag_comes_before_the_file(self, recommending: SantaCoder) -> None:
        with serving(recommending, Settings(temperature=0.25, top_p=0.5, drain=5)) as server:
            params = server.get("/props").json["default_generation_settings"]["params"]
        assert (params["temperature"], params["top_p"], params["top_k"]) == (0.25, 0.5, 9)


def test_props(server: LiveServer, model: SantaCoder) -> None:
    found = server.get("/props").json
    assert found["default_generation_settings"]["n_ctx"] == model.context
    assert found["default_generation_settings"]["params"] == {
        "n_predict": -1, "temperature": 0.2, "top_k": 0, "top_p": 0.95, "min_p": 0.0, "repeat_penalty": 1.0
    }  # fmt: skip
    assert found["total_slots"] == 64
    assert server.post("/props", {}).status == 405
