"""OpenAI's completions: each answer is the one that the library gives in process."""

from __future__ import annotations

from typing import Any

import pytest

from santacoder.decoding.results import Completion
from santacoder.model import SantaCoder
from santacoder.server import Settings
from tests.support.http_server import LiveServer, serving

C = "/v1/completions"
SAMPLING = {"temperature": 0.9, "top_p": 0.95, "seed": 11, "max_tokens": 12}
PROMPT = "def add(a, b):\n    return"


def choices(server: LiveServer, **body: object) -> list[Any]:
    reply = server.post(C, {**SAMPLING, **body})
    assert reply.status == 200, reply.body
    return list(reply.json["choices"])


def texts(rows: list[list[Completion]]) -> list[str]:
    return [completion.text for row in rows for completion in row]


@pytest.mark.parametrize(
    "prompts", [PROMPT, [PROMPT, "x = "], [5, 6, 7], [[5, 6, 7], [8]], "", [""], [[]], ["é\U0001f600"]]
)
def test_answers_are_those_of_the_library(server: LiveServer, model: SantaCoder, prompts: Any) -> None:
    several = prompts if isinstance(prompts, list) and isinstance(prompts[0], str | list) else [prompts]
    expected = model.complete_many(several, n=3, **SAMPLING)  # type: ignore[arg-type]
    found = choices(server, prompt=prompts, n=3)
    assert [choice["text"] for choice in found] == texts(expected)
    assert [choice["index"] for choice in found] == [*range(3 * len(several))]
    assert [choice["seed"] for choice in found] == [11] * len(found)


def test_members_of_an_answer(server: LiveServer, model: SantaCoder) -> None:
    reply = server.post(C, {"prompt": ["a b", "c"], "n": 2, **SAMPLING})
    expected = model.complete_many(["a b", "c"], n=2, **SAMPLING)  # type: ignore[arg-type]
    answer = reply.json
    assert set(answer) == {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert (answer["object"], answer["model"]) == ("text_completion", "santacoder")
    assert answer["id"].startswith("cmpl-")
    usage = answer["usage"]
    assert usage["prompt_tokens"] == sum(row[0].usage.prompt_tokens for row in expected)
    assert usage["completion_tokens"] == sum(each.usage.completion_tokens for row in expected for each in row)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 0
    assert reply.body.count(b"\n") == 0
    assert b'"text":"' in reply.body


def test_options_reach_the_library(server: LiveServer, model: SantaCoder) -> None:
    options: dict[str, Any] = {
        "max_tokens": 20, "temperature": 1.5, "top_p": 0.9, "top_k": 50, "min_p": 0.01, "seed": 3,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.2, "stop": ["ab", "\n"],
        "ignore_eos": True, "token_healing": False,
    }  # fmt: skip
    expected = model.complete(PROMPT, **options, logit_bias={7: 5.0, 8: -100.0}, stop_tokens=[9])
    body = {
        **options,
        "logit_bias": {"7": 5, "8": -100},
        "stop_token_ids": [9.0],
        "max_tokens": 20.0,
        "stop": ["", "ab", "\n"],
    }
    assert choices(server, prompt=PROMPT, **body)[0]["text"] == expected.text


def test_defaults(server: LiveServer, model: SantaCoder) -> None:
    expected = model.complete(PROMPT, max_tokens=16, temperature=0.2, top_p=0.95, seed=5)
    reply = server.post(C, {"prompt": PROMPT, "seed": 5, "temperature": None, "stop": None, "n": None, "model": ""})
    assert reply.json["choices"][0]["text"] == expected.text


def test_a_drawn_seed_repeats_its_choice(server: LiveServer) -> None:
    found = choices(server, prompt=["a", "b"], n=2, seed=-1)
    assert found[0]["seed"] == found[1]["seed"]
    assert found[0]["seed"] != found[2]["seed"]
    again = choices(server, prompt="b", n=2, seed=found[2]["seed"])
    assert [each["text"] for each in again] == [each["text"] for each in found[2:]]


def test_the_best_of_several(server: LiveServer, model: SantaCoder) -> None:
    [row] = model.complete_many([PROMPT], n=5, logprobs=0, **SAMPLING)  # type: ignore[arg-type]
    best = sorted(row, key=lambda each: -(each.mean_logprob or 0.0))[:2]
    reply = server.post(C, {"prompt": PROMPT, "n": 2, "best_of": 5, **SAMPLING})
    assert [choice["text"] for choice in reply.json["choices"]] == [each.text for each in best]
    assert [choice["logprobs"] for choice in reply.json["choices"]] == [None, None]
    assert reply.json["usage"]["completion_tokens"] == sum(each.usage.completion_tokens for each in row)


@pytest.mark.parametrize("suffix", ["", "\n\nprint(add(1, 2))\n", "<fim-prefix>"])
@pytest.mark.parametrize("mode", [None, "psm", "spm"])
def test_a_suffix_makes_it_an_infill(server: LiveServer, model: SantaCoder, suffix: str, mode: Any) -> None:
    expected = model.infill(PROMPT, suffix, mode=mode, **SAMPLING)  # type: ignore[arg-type]
    [choice] = choices(server, prompt=PROMPT, suffix=suffix, fim_mode=mode)
    assert choice["text"] == expected.text
    expected = model.infill(PROMPT, suffix, mode=mode, single_line=True, **SAMPLING)  # type: ignore[arg-type]
    assert choices(server, prompt=PROMPT, suffix=suffix, fim_mode=mode, single_line=True)[0]["text"] == expected.text


def test_a_suffix_of_a_long_file_is_cut(server: LiveServer, model: SantaCoder) -> None:
    before, after = "x = 1\n" * 500, "y = 2\n" * 500
    expected = model.infill(before, after, **SAMPLING)  # type: ignore[arg-type]
    assert choices(server, prompt=before, suffix=after)[0]["text"] == expected.text
    whole = choices(server, prompt=before, suffix=after, max_tokens=1 << 30, ignore_eos=True)
    assert whole[0]["finish_reason"] in ("length", "stop")


def test_markers_of_other_models(server: LiveServer, model: SantaCoder) -> None:
    expected = model.complete("<fim-prefix>a<fim-suffix>b<fim-middle>", **SAMPLING)  # type: ignore[arg-type]
    for first, prompt in (
        ("<fim_prefix>", "<fim_prefix>a<fim_suffix>b<fim_middle>"),
        ("<|fim_prefix|>", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"),
    ):
        reply = server.post(C, {"prompt": prompt, **SAMPLING})
        assert reply.json["choices"][0]["text"] == expected.text
        assert reply.headers["x-santacoder-fim"] == first
    reply = server.post(C, {"prompt": "<fim_prefix>a<fim_suffix>b<fim_middle><fim_middle>", **SAMPLING})
    assert "x-santacoder-fim" not in reply.headers


def entry_lists(found: Any) -> tuple[list[str], list[Any], list[Any], list[int]]:
    lists = (found["tokens"], found["token_logprobs"], found["top_logprobs"], found["text_offset"])
    assert len({len(each) for each in lists}) == 1
    assert all(a <= b for a, b in zip(lists[3], lists[3][1:], strict=False))
    return lists


def test_logprobs_of_the_completion(server: LiveServer, model: SantaCoder) -> None:
    expected = model.complete(PROMPT, logprobs=3, **SAMPLING)  # type: ignore[arg-type]
    [choice] = choices(server, prompt=PROMPT, logprobs=3)
    tokens, values, best, offsets = entry_lists(choice["logprobs"])
    assert expected.logprobs is not None
    entries = [*expected.logprobs, *([] if expected.end_logprobs is None else [expected.end_logprobs])]
    assert values == [entry.logprob for entry in entries]
    for entry, token, top in zip(entries, tokens, best, strict=True):
        assert top[token] == entry.logprob
        assert len(top) in (3, 4)
        assert [*top.values()][:3] == [value for _, value in entry.top]
    assert offsets[0] <= len(PROMPT)
    assert choices(server, prompt=PROMPT, logprobs=0)[0]["logprobs"]["top_logprobs"] == [
        {token: value} for token, value in zip(tokens, values, strict=True)
    ]


@pytest.mark.parametrize("prompt", [[40, 41, 42, 43], [7], [], "a <|endoftext|> b", ""])
@pytest.mark.parametrize("max_tokens", [0, 1, 4])
def test_echo_with_logprobs(server: LiveServer, model: SantaCoder, prompt: Any, max_tokens: int) -> None:
    asked = prompt if isinstance(prompt, str) else [prompt]
    settings = {"temperature": 0, "max_tokens": max_tokens, "logprobs": 1, "seed": 1234, "echo": True}
    reply = server.post(C, {"model": "x", "prompt": asked, **settings})
    [choice] = reply.json["choices"]
    tokens, values, best, _ = entry_lists(choice["logprobs"])
    ids = model.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    score = model.score(ids)
    assert values[: len(score.tokens)] == score.logprobs
    assert best[0] is None
    for token, value, top, greedy in zip(tokens[1:], values[1:], best[1:], score.is_greedy[1:], strict=False):
        assert top[token] == value
        assert greedy is (max(top, key=top.__getitem__) == token)
    generated = reply.json["usage"]["completion_tokens"]
    assert len(tokens) - len(score.tokens) in (
        (generated,) if choice["finish_reason"] == "length" else (generated, generated + 1)
    )
    if max_tokens == 1:
        assert len(tokens) == len(score.tokens) + 1
    assert choice["text"].startswith(prompt if isinstance(prompt, str) else model.tokenizer.decode(prompt))


def joined(events: list[Any]) -> dict[int, dict[str, Any]]:
    """Join the events of a stream to choices."""
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        for choice in event["choices"]:
            before = found.setdefault(choice["index"], {"text": "", "logprobs": None, "finish_reason": None})
            assert before["finish_reason"] is None
            before["text"] += choice["text"]
            before["finish_reason"] = choice["finish_reason"]
            before["seed"] = choice["seed"]
            if choice["logprobs"] is not None:
                lists = before["logprobs"] or {name: [] for name in choice["logprobs"]}
                before["logprobs"] = {name: lists[name] + choice["logprobs"][name] for name in lists}
    return found


STREAMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"prompt": ["a", PROMPT], "n": 3},
    "drawn": {"seed": None},
    "echo": {"echo": True, "n": 2},
    "logprobs": {"logprobs": 2},
    "echo and logprobs": {"echo": True, "logprobs": 2, "n": 2},
    "only scores": {"echo": True, "logprobs": 2, "max_tokens": 0},
    "nothing": {"max_tokens": 0},
    "suffix": {"suffix": "\n\nprint(1)\n", "n": 2},
    "suffix and logprobs": {"suffix": "\n\nprint(1)\n", "logprobs": 1},
    "stop": {"stop": ["e", "\n"], "max_tokens": 40},
    "bytes": {"temperature": 3, "top_p": 1, "max_tokens": 60, "logprobs": 1},
}


@pytest.mark.parametrize("changes", STREAMS.values(), ids=STREAMS)
def test_streams_join_to_the_whole_answer(server: LiveServer, changes: dict[str, Any]) -> None:
    body = {"prompt": PROMPT, **SAMPLING, **changes}
    reply = server.post(C, {**body, "stream": True, "stream_options": {"include_usage": True}})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, last, done = reply.events
    assert done == "[DONE]"
    if body["seed"] is None:
        body["seed"] = events[-1]["choices"][0]["seed"]
    whole = server.post(C, body).json
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert len({event["id"] for event in [*events, last]}) == 1
    found = joined(events)
    assert [{**found[choice["index"]], "index": choice["index"]} for choice in whole["choices"]] == whole["choices"]


def test_a_deadline_ends_with_the_text_so_far(server: LiveServer) -> None:
    reply = server.post(C, {"prompt": PROMPT, "max_tokens": 200}, {"x-request-timeout-ms": "0"})
    assert reply.status == 200
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert server.post(C, {"prompt": PROMPT}, {"x-request-timeout-ms": "soon"}).status == 400


def test_models(server: LiveServer, model: SantaCoder) -> None:
    listed = server.get("/v1/models").json
    [entry] = listed["data"]
    assert server.get("/models").json == listed
    assert server.get("/v1/models/santacoder").json == entry
    assert entry["meta"]["n_vocab"] == model.config.vocab_size
    assert entry["meta"]["n_ctx_train"] == model.config.context_length


def test_names(model: SantaCoder) -> None:
    from tests.support.paths import FILE

    with serving(model, Settings(model_file=str(FILE))) as server:
        assert server.get("/v1/models").json["data"][0]["id"] == FILE.stem
        first = server.post(C, {"prompt": "a", "max_tokens": 1}).json["system_fingerprint"]
    with serving(model, Settings(model_file=str(FILE), alias="mine/own")) as server:
        assert server.get("/v1/models/mine/own").status == 200
        assert server.post(C, {"prompt": "a", "max_tokens": 1}).json["system_fingerprint"] == first
