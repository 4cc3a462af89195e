"""The cost or gain of batches, sessions, drafts and callers' threads: `python bench/studies/scheduling.py WHAT MODEL`.

Every figure is a ratio of two ways to do the same job, which take turns; their results are checked to be equal.

    batches   8 prompts x 16 samples: complete_many against one sample after another, and against llama-cpp-python
    session   40 characters typed one by one into a file of 1500 tokens, with 8 tokens after each
    lookup    the rest of files with recurring passages, text without repeats, and 120 keys typed into a file in a
              session, with prompt lookup and without
    callers   the CPU time of 100 to 2,000 requests of 2 tokens, each from its own task (or thread), and of one call's
    pauses    the longest pause of another thread while 600 KB are tokenized, in parts and whole
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import santacoder
from santacoder.decoding.options import SamplingOptions

SAMPLES = 16  # of each prompt
MOST_THREADS = 800  # of callers

#: Functions of the standard library, as prompts and as text to edit.
SOURCES = [inspect.getsource(part) for part in (textwrap, json.decoder, argparse, inspect)]


def timed(work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[float, Any]:
    """Return the seconds, and the result."""
    begin = time.perf_counter()
    result = work(*arguments, **options)
    return time.perf_counter() - begin, result


def batches(model: santacoder.SantaCoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the tokens per second of many samples at once, and of `--alone` of them run singly and compared.

    A single sample starts without a cache and uses no drafts.
    """
    prompts = [source[:start] for source in SOURCES[:4] for start in (500, 900)]
    options: dict[str, Any] = {"max_tokens": arguments.tokens, "temperature": 0.8, "seed": 1, "ignore_eos": True}
    seconds, many = timed(model.complete_many, prompts, n=SAMPLES, **options)
    together = sum(c.usage.completion_tokens for row in many for c in row) / seconds
    every = [(prompt, index) for prompt in range(len(prompts)) for index in range(SAMPLES)]
    single: Any = {**options, "lookup": False}
    rates = []
    for prompt, index in every[:: max(1, len(every) // arguments.alone)]:
        model._scheduler.forget()
        sequence = model._continuation(prompts[prompt], single, index)
        seconds, _ = timed(model._scheduler.finish, [sequence])
        lone = sequence.completion()
        assert (lone.text, lone.tokens) == (many[prompt][index].text, many[prompt][index].tokens), (prompt, index)
        rates.append(lone.usage.completion_tokens / seconds)
    result = {
        "together": together,
        "one by one": median(rates),
        "ratio": together / median(rates),
        "equal to their lone runs": len(rates),
    }
    return result | peer(prompts, options, arguments, together)


def peer(
    prompts: list[str], options: dict[str, Any], arguments: argparse.Namespace, together: float, samples: int = 1
) -> dict[str, Any]:
    """Do the same job with llama-cpp-python's own interface, if it is installed: one completion after another.

    Runs `--alone` of the prompts, with `samples` samples of each.
    """
    try:
        import llama_cpp
    except ImportError:
        return {}
    llama = llama_cpp.Llama(str(arguments.model), n_ctx=2048, n_threads=arguments.threads, verbose=False)
    chosen = {name: options[name] for name in ("max_tokens", "temperature", "top_p", "top_k") if name in options}
    rates = []
    for prompt in prompts[: arguments.alone]:
        llama.reset()
        begin, tokens = time.perf_counter(), 0
        for seed in range(1, samples + 1):  # after the first, the prompt is in the cache
            answer: Any = llama.create_completion(prompt, seed=seed, **chosen)
            tokens += answer["usage"]["completion_tokens"]
        rates.append(tokens / (time.perf_counter() - begin))
    return {"llama-cpp-python": median(rates), "ratio to llama-cpp-python": together / median(rates)}


def session(model: santacoder.SantaCoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds per keystroke with a session and without any cache, for completing and for infilling."""
    ids = model.tokenizer.encode("\n".join(SOURCES))
    text, typed = model.tokenizer.decode(ids[:1500]), "    for index, value in enumerate(values):"[:40]
    suffix = model.tokenizer.decode(ids[1500:2200])
    options: dict[str, Any] = {"max_tokens": 8, "temperature": 0.2, "seed": 1}
    result = {}
    for name, end in (("complete", None), ("infill", suffix)):
        prefix = text if end is None else model.tokenizer.decode(ids[:1100])
        live = model.session()
        ask(live, prefix, end, options)
        with_session, without = [], []
        for stop in range(1, len(typed) + 1):
            seconds, found = timed(ask, live, prefix + typed[:stop], end, options)
            with_session.append(seconds)
            if stop % (len(typed) // arguments.alone) == 0:
                model._scheduler.forget()
                seconds, fresh = timed(ask, model.session(), prefix + typed[:stop], end, options)
                assert fresh.text == found.text, "a session's answer differs from a fresh one"
                without.append(seconds)
        result[name] = {
            "with": median(with_session), "without": median(without), "ratio": median(without) / median(with_session)
        }  # fmt: skip
    return result


def ask(live: Any, prefix: str, suffix: str | None, options: dict[str, Any]) -> Any:
    """Return a keystroke's answer."""
    if suffix is None:
        return live.complete(prefix, **options)
    return live.infill(prefix, suffix, mode="spm", **options)


def lookup(model: santacoder.SantaCoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the tokens per second with prompt lookup over those without, on text with and without repeats."""
    recurring = []
    for source in SOURCES:
        ids = model.tokenizer.encode(source)[: model.context // 3]
        passage = model.tokenizer.decode(ids)
        recurring.append(passage + "\n\n" + model.tokenizer.decode(ids[: len(ids) // 4]))
    fresh = [model.tokenizer.decode(model.tokenizer.encode(source)[:40]) for source in SOURCES]
    result = {}
    for name, prompts, temperature in (("recurring", recurring, 0.0), ("without repeats", fresh, 1.5)):
        ratios = []
        for prompt in prompts * arguments.rounds:
            seconds = {}
            texts = {}
            for drafting in (True, False):
                model._scheduler.forget()
                options: dict[str, Any] = {"max_tokens": arguments.tokens, "temperature": temperature, "top_p": 1.0}
                answer = model.complete(prompt, seed=1, ignore_eos=True, lookup=drafting, **options)
                seconds[drafting], texts[drafting] = answer.timings.generation_seconds, answer.text
            assert texts[True] == texts[False], "drafts changed the text"
            ratios.append(seconds[False] / seconds[True])
        result[name] = median(ratios)
    return result | {"editing": median(editing(model) for _ in range(arguments.rounds))}


def editing(model: santacoder.SantaCoder) -> float:
    """Return the speed of 8 tokens after each key with prompt lookup over that without."""
    lines = SOURCES[0].splitlines(keepends=True)
    before, typed, after = "".join(lines[:60]), "".join(lines[60:66])[:120], "".join(lines[68:100])
    seconds = {True: 0.0, False: 0.0}
    lives = {drafting: model.session() for drafting in seconds}
    for stop in range(1, len(typed) + 1):
        texts = set()
        for drafting, live in lives.items():
            answer = live.infill(before + typed[:stop], after, max_tokens=8, temperature=0.2, seed=1, lookup=drafting)
            seconds[drafting] += answer.timings.generation_seconds
            texts.add(answer.text)
        assert len(texts) == 1, "drafts changed the text"
    return seconds[False] / seconds[True]


def callers(model: santacoder.SantaCoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the CPU seconds of many short requests, by number of requests."""
    options: SamplingOptions = {"max_tokens": 2, "temperature": 0.0}
    text = "import os\n" * 30

    def one_call(prompts: list[str]) -> list[list[int]]:
        found = dict(model.complete_each(santacoder.Request(prompt, options) for prompt in prompts))
        return [found[number].tokens for number in range(len(prompts))]

    def threads(prompts: list[str]) -> list[list[int]]:
        with ThreadPoolExecutor(len(prompts)) as pool:
            return [answer.tokens for answer in pool.map(lambda prompt: model.complete(prompt, **options), prompts)]

    def tasks(prompts: list[str]) -> list[list[int]]:
        async def gather() -> list[santacoder.Completion]:
            return await asyncio.gather(*(model.acomplete(prompt, **options) for prompt in prompts))

        return [answer.tokens for answer in asyncio.run(gather())]

    result = {}
    for count in (100, 200, 400, 800, 2000):
        seconds, tokens = {}, []
        for way in (one_call, threads, tasks) if count <= MOST_THREADS else (one_call, tasks):
            model._scheduler.forget()
            begin = time.process_time()
            tokens.append(way([f"# {number}\n{text}" for number in range(count)]))
            seconds[way.__name__] = time.process_time() - begin
        assert all(each == tokens[0] for each in tokens), "the answers differ"
        result[str(count)] = seconds
    return result


def pauses(model: santacoder.SantaCoder, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the longest pause, in milliseconds, of another thread that sleeps half a millisecond at a time."""
    text = ("\n".join(SOURCES) * 10)[:600_000]
    longest, over = 0.0, False

    def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not over:
            time.sleep(0.0005)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    thread = threading.Thread(target=watch)
    thread.start()
    encoder = model.tokenizer._encoder
    ways: dict[str, Callable[[], list[int]]] = {
        "in parts": lambda: model.tokenizer.encode(text),
        "whole": lambda: encoder.encode(text, add_special_tokens=False).ids,
    }
    result, ids = {}, []
    for name, way in ways.items():
        time.sleep(0.1)
        longest = 0.0
        ids.append(way())
        time.sleep(0.01)
        result[name] = 1e3 * longest
    over = True
    thread.join()
    assert ids[0] == ids[1], "the tokens differ"
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost or gain of batches, sessions, drafts and callers' threads.")
    parser.add_argument("what", choices=["batches", "session", "lookup", "callers", "pauses"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a completion (default: %(default)s)")
    parser.add_argument("--alone", type=int, default=4, help="requests that are also run singly (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with santacoder.load(arguments.model, threads=arguments.threads) as model:
        print(json.dumps(globals()[arguments.what](model, arguments), indent=1))


if __name__ == "__main__":
    main()
