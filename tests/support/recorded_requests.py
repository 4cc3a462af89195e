"""Requests of all dialects with explicit sampling values, and what the library answers to them."""

from __future__ import annotations

import random
from typing import Any

from santacoder.model import SantaCoder
from tests.support.http_server import HttpClient

PIECES = [
    "def add(a, b):\n",
    "    return",
    " x",
    "é",
    "\U0001f600",
    "import os\n",
    "class A:\n\n",
    "# ",
    "<|endoftext|>",
    "1",
]


def text(chance: random.Random) -> str:
    return "".join(chance.choices(PIECES, k=chance.randint(0, 6)))


def options(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {
        "max_tokens": chance.randint(0, 24),
        "temperature": chance.choice([0, 0.2, 0.8, 2.0]),
        "top_p": chance.choice([1, 0.9, 0.5]),
        "seed": chance.randrange(1 << 64),
        "stop": chance.sample(["\n", "e", "ab", ")"], chance.randint(0, 2)),
        "presence_penalty": chance.choice([0, 0.5]),
        "ignore_eos": chance.random() < 0.5,
    }
    if chance.random() < 0.3:
        found |= {"top_k": 40, "min_p": 0.05}
    return found


def recorded(model: SantaCoder, number: int) -> tuple[str, dict[str, Any], Any]:
    """Make request number `number`: its path, its body, and what the library answers."""
    chance = random.Random(number)
    keywords, n = options(chance), chance.choice([1, 1, 2, 4])
    kind = number % 5
    if kind == 0:
        prompts = [text(chance) for _ in range(chance.randint(1, 3))]
        rows = model.complete_many(prompts, n=n, progress=False, **keywords)
        return "/v1/completions", {"prompt": prompts, "n": n, **keywords}, [each.text for row in rows for each in row]
    if kind == 1:
        ids = [chance.randrange(model.config.vocab_size) for _ in range(chance.randint(1, 30))]
        keywords["max_tokens"] = 1
        score = model.score(ids)
        body = {"prompt": [ids], "echo": True, "logprobs": 1, **keywords}
        return "/v1/completions", body, score.logprobs
    before, after = text(chance), text(chance)
    if kind == 2:
        rows = model.infill_many([(before, after)], n=n, progress=False, **keywords)
        body = {"prompt": before, "suffix": after, "n": n, **keywords}
        return "/v1/completions", body, [each.text for row in rows for each in row]
    n_predict = keywords.pop("max_tokens")
    if kind == 3:
        rows = model.complete_many([before], n=n, progress=False, max_tokens=n_predict, **keywords)
        body = {"prompt": before, "n_cmpl": n, "n_predict": n_predict, **keywords}
        return "/completion", body, [each.text for each in rows[0]]
    rows = model.infill_many([(before, after)], n=n, mode="spm", progress=False, max_tokens=n_predict, **keywords)
    body = {
        "input_prefix": "",
        "prompt": before,
        "input_suffix": after,
        "n_cmpl": n,
        "n_predict": n_predict,
        **keywords,
    }
    return "/infill", body, [each.text for each in rows[0]]


def answered(server: HttpClient, path: str, body: dict[str, Any], stream: bool) -> Any:
    """Ask, and return the texts, or the log-probabilities of the prompt."""
    reply = server.post(path, {**body, "stream": stream})
    assert reply.status == 200, reply.body
    if path == "/v1/completions":
        choices = (
            [each for event in reply.events[:-1] for each in event["choices"]] if stream else reply.json["choices"]
        )
        if "logprobs" in body:
            return [value for each in choices for value in each["logprobs"]["token_logprobs"]][: len(body["prompt"][0])]
    else:
        found = reply.events if stream else reply.json
        choices = found if isinstance(found, list) else [found]
    texts: dict[int, str] = {}
    for choice in choices:
        index = choice["index"]
        texts[index] = texts.get(index, "") + choice["text" if path == "/v1/completions" else "content"]
    return [texts[index] for index in sorted(texts)]
