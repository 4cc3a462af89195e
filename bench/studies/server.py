"""What does HTTP cost beside a call in the process? `python bench/studies/server.py WHAT MODEL`.

The server is a process of its own, and takes turns with a model in this one; equal requests must get equal texts. The
clients run in this process and share the CPUs with the server; their CPU time is stated.

    load        64 clients at once, streamed and not, against complete_many; time to the first token
    overload    256 clients at once where 128 have room; single requests while it is full; /health meanwhile
    steps       16 streams: the share of a step that is not the model's, and the CPU time of the loop
    peer        16 clients of this server and of llama-cpp-python's, with `--peer PYTHON`
    keystrokes  40 characters typed one by one into a file of 1500 tokens, against a session in process
    cancel      from a disconnect in a prompt of 2000 tokens to the next request's first token
    idle        CPU time in a minute, and memory beside that of the model
    leaks       1,000 connections cut off and 10,000 requests: memory, threads, descriptors
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.studies.scheduling import SOURCES, ask, timed
from bench.studies.server_clients import Answer, Probe, Served, burst, quantile, request, serving, serving_peer

MILLISECONDS = 1e3
COMPLETIONS = "/v1/completions"
DELAYS = (0.3, 0.7, 1.1, 1.5, 1.9, 2.3)  # seconds from the start of a prompt to a disconnect
COUNTED = ("steps", "prompt_seconds", "generated_seconds")
CUT, ASKED, AT_ONCE = 1000, 10_000, 16


def bodies(count: int, tokens: int, number: int = 0) -> list[dict[str, Any]]:
    """Return requests for so many tokens each, whose prompts no other number has."""
    options = {"max_tokens": tokens, "temperature": 0.8, "top_p": 0.95, "ignore_eos": True, "seed": number}
    texts = [source[start : start + 120] for start in range(0, 4000, 40) for source in SOURCES]
    return [{"prompt": f"# {number}\n{text}", **options} for text in texts[:count]]


def in_process(model: santacoder.SantaCoder, asked: Sequence[dict[str, Any]]) -> tuple[float, list[str]]:
    """Return the tokens per second of `complete_many` for requests, and the texts."""
    options = {name: value for name, value in asked[0].items() if name not in ("prompt", "stream")}
    model._scheduler.forget()
    seconds, rows = timed(model.complete_many, [each["prompt"] for each in asked], **options)
    return sum(each.usage.completion_tokens for [each] in rows) / seconds, [each.text for [each] in rows]


def text_of(answer: Answer, stream: bool) -> str:
    """Return the text of an answer."""
    assert answer.status == 200, bytes(answer.data[:200])
    found = answer.events if stream else [json.loads(answer.body)]
    return "".join(each["choices"][0]["text"] for each in found)


def ask_all(served: Served, asked: Sequence[dict[str, Any]], stream: bool) -> tuple[list[Answer], float, float]:
    """Return the answers to requests that come at once, the seconds, and the share of a CPU that the clients took."""
    requests = [request(COMPLETIONS, {**each, "stream": stream}) for each in asked]
    begin, cpu = time.perf_counter(), time.process_time()
    answers = burst(served.port, requests)
    seconds = time.perf_counter() - begin
    return answers, seconds, (time.process_time() - cpu) / seconds


def warm_up(model: santacoder.SantaCoder, served: Served) -> None:
    """Run what would be slower the first time."""
    asked = bodies(8, 4, number=1 << 20)
    in_process(model, asked)
    ask_all(served, asked, stream=True)


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Return the median of seconds, and the worst, in milliseconds."""
    found = {"p50": median(values), "p99": quantile(values, 0.99), "worst": max(values)}
    return {name: round(MILLISECONDS * value, 1) for name, value in found.items()}


def load(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure tokens per second, and the time to the first token."""
    rates: dict[str, list[float]] = {"in process": [], "whole": [], "streamed": []}
    ratios: dict[str, list[float]] = {"whole": [], "streamed": []}
    cpu: dict[str, list[float]] = {"whole": [], "streamed": []}
    waits: list[float] = []
    with santacoder.load(arguments.model, threads=arguments.threads) as model, _served(arguments) as served:
        warm_up(model, served)
        for number in range(2 * arguments.rounds):
            asked = bodies(64, arguments.tokens, number)
            stream = number % 2 == 1
            name = "streamed" if stream else "whole"
            rate, texts = in_process(model, asked)
            answers, seconds, share = ask_all(served, asked, stream)
            assert [text_of(each, stream) for each in answers] == texts, "the texts differ"
            found = 64 * arguments.tokens / seconds
            rates["in process"].append(rate)
            rates[name].append(found)
            ratios[name].append(found / rate)
            cpu[name].append(share)
            waits += [each.first - each.sent for each in answers] if stream else []
    result: dict[str, Any] = {f"tokens per second, {name}": median(found) for name, found in rates.items()}
    for name in ratios:
        result[f"ratio to in process, {name}"] = median(ratios[name])
        result[f"CPUs of the clients, {name}"] = median(cpu[name])
    return result | {"ms to the first token": milliseconds(waits)}


def overload(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure refusals, and /health under full load."""
    result: dict[str, Any] = {}
    with _served(arguments) as served, Probe(served.port) as probe:
        burst(served.port, [request(COMPLETIONS, each) for each in bodies(8, 4, number=1 << 20)])
        for number in range(arguments.rounds):
            time.sleep(0.5)
            asked = bodies(256, arguments.tokens, number)
            answers, seconds, share = ask_all(served, asked, stream=False)
            good = [each for each in answers if each.status == 200]
            refused = [each for each in answers if each.status == 429]
            result[f"256 clients, round {number + 1}"] = {
                "served": len(good),
                "refused with Retry-After": sum(each.retry_after for each in refused),
                "ms to a refusal": milliseconds([each.ended - each.sent for each in refused]),
                "CPUs of the clients": round(share, 3),
                "tokens per second": round(len(good) * arguments.tokens / seconds, 1),
            }
        result["/health meanwhile, ms"] = milliseconds(probe.seconds)
        result["single refusals, ms"] = milliseconds(_single_refusals(served))
    return result


def _single_refusals(served: Served) -> list[float]:
    """Return the seconds of refusals, one after the other, while the server is full."""
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]
    for connection in held:
        connection.sendall(request(COMPLETIONS, {**bodies(1, 1500)[0], "n": 64, "stream": True}))
    while served.metrics()["santacoder_samples_waiting"] < 64:
        time.sleep(0.1)
    seconds = []
    for each in bodies(100, 16):
        time.sleep(0.02)
        [answer] = burst(served.port, [request(COMPLETIONS, each)])
        assert answer.status == 429, bytes(answer.data[:200])
        seconds.append(answer.ended - answer.sent)
    for connection in held:
        connection.close()
    return seconds


def steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure where the time of a step goes."""
    result: dict[str, Any] = {}
    with santacoder.load(arguments.model, threads=arguments.threads) as model, _served(arguments) as served:
        warm_up(model, served)
        for number in range(2 * arguments.rounds):
            asked, stream = bodies(16, arguments.tokens, number), number % 2 == 1
            first, begin = model.counters(), time.perf_counter()
            _, texts = in_process(model, asked)
            seconds, last = time.perf_counter() - begin, model.counters()
            spent = [getattr(last, name) - getattr(first, name) for name in COUNTED]
            direct = _shares(seconds, *spent)
            before, cpu = served.metrics(), served.cpu_seconds(loop=True)
            answers, seconds, share = ask_all(served, asked, stream)
            cpu, after = served.cpu_seconds(loop=True) - cpu, served.metrics()
            assert [text_of(each, stream) for each in answers] == texts, "the texts differ"
            spent = [after[f"santacoder_{name}_total"] - before[f"santacoder_{name}_total"] for name in COUNTED]
            found = _shares(seconds, *spent) | {
                "CPU of the loop, ms a step": round(MILLISECONDS * cpu / spent[0], 3),
                "CPUs of the clients": round(share, 3),
            }
            result[f"round {number + 1}"] = {"in process": direct, "streamed" if stream else "whole": found}
    return result


def _shares(seconds: float, steps: float, prompts: float, generation: float) -> dict[str, float]:
    """Return the time of a step, and the share of it that is not the model's, by counts and seconds of the model."""
    spent = prompts + generation
    return {"ms a step": round(MILLISECONDS * seconds / steps, 3), "not the model's": round(1 - spent / seconds, 4)}


def peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure 16 clients of either server."""
    if arguments.peer is None:
        raise SystemExit("--peer is missing: a Python that has llama-cpp-python with its extra server")
    rates: dict[str, list[float]] = {"this": [], "llama-cpp-python": []}
    with _served(arguments) as ours, serving_peer(arguments.peer, arguments.model, arguments.threads) as theirs:
        for number in range(arguments.rounds):
            for name, served in (("this", ours), ("llama-cpp-python", theirs)):
                asked = bodies(16, arguments.tokens, number)
                answers, seconds, _ = ask_all(served, asked, stream=False)
                assert {each.status for each in answers} == {200}, name
                usages = [json.loads(each.body)["usage"] for each in answers]
                rates[name].append(sum(usage["completion_tokens"] for usage in usages) / seconds)
    result: dict[str, Any] = {f"tokens per second, {name}": median(found) for name, found in rates.items()}
    return result | {"ratio": median(a / b for a, b in zip(*rates.values(), strict=True))}


def keystrokes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a suggestion for each of 40 keys."""
    typed = "    for index, value in enumerate(values):"[:40]
    with santacoder.load(arguments.model, threads=arguments.threads) as model, _served(arguments) as served:
        ids = model.tokenizer.encode("\n".join(SOURCES))
        prefix, suffix = model.tokenizer.decode(ids[:1100]), model.tokenizer.decode(ids[1100:1500])
        options: dict[str, Any] = {"temperature": 0.2, "top_p": 0.95, "seed": 1}
        live = model.session()
        times: dict[str, list[float]] = {"in process": [], "over HTTP": []}
        for stop in range(len(typed) + 1):
            body = {"input_prefix": prefix, "input_suffix": suffix, "prompt": typed[:stop], "n_predict": 8, **options}
            direct, found = timed(ask, live, prefix + typed[:stop], suffix, {"max_tokens": 8, **options})
            remote, answer = timed(served.post, "/infill", body)
            assert answer["content"] == found.text, "the texts differ"
            if stop:  # the first one reads the file
                times["in process"].append(direct)
                times["over HTTP"].append(remote)
    differences = [remote - direct for direct, remote in zip(*times.values(), strict=True)]
    times["difference"] = differences
    return {f"{name}, ms": milliseconds(found) for name, found in times.items()}


def cancel(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the first token of a request behind one whose client left."""
    draw = random.Random(1)
    plain, after = [], []
    with _served(arguments) as served:
        vocabulary = served.post("/tokenize", {"content": "a"})
        assert vocabulary["count"] == 1
        for delay in DELAYS:
            long = {**bodies(1, 1)[0], "prompt": [draw.randrange(256, 40_000) for _ in range(2000)]}
            short = request(COMPLETIONS, {**bodies(1, 1)[0], "prompt": f"# {delay}", "stream": True})
            [answer] = burst(served.port, [short])
            plain.append(answer.first - answer.sent)
            with socket.create_connection(("127.0.0.1", served.port)) as connection:
                connection.sendall(request(COMPLETIONS, long))
                time.sleep(delay)
                assert served.metrics()["santacoder_samples_running"] == 1, "the prompt was read before"
                left = time.perf_counter()
            [answer] = burst(served.port, [short])
            after.append(answer.first - left)
    return {"by itself, ms": milliseconds(plain), "after a disconnect, ms": milliseconds(after)}


def idle(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure a server that has nothing to do."""
    with _served(arguments) as served:
        served.post(COMPLETIONS, bodies(1, 4)[0])
        time.sleep(3)
        before = served.cpu_seconds()
        time.sleep(arguments.seconds)
        share = (served.cpu_seconds() - before) / arguments.seconds
        resident = served.resident
    with santacoder.load(arguments.model, threads=arguments.threads) as model:
        model.complete(**bodies(1, 4)[0])
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        own = pages * os.sysconf("SC_PAGESIZE")
    return {"percent of a CPU": 100 * share, "MB of memory": resident / 1e6, "MB in process": own / 1e6}


def leaks(arguments: argparse.Namespace) -> dict[str, Any]:
    """Count what stays behind."""
    draw = random.Random(1)
    rows: list[dict[str, Any]] = []
    with _served(arguments) as served:

        def note(after: str) -> None:
            time.sleep(1.0)
            facts = {"MB": served.resident / 1e6, "threads": served.threads, "descriptors": served.descriptors}
            rows.append({"after": after, **facts})

        _ask_many(served, ASKED // 10)
        note("warming up")
        for part in range(4):
            for _ in range(CUT // 4):
                data = request(COMPLETIONS, {**bodies(1, 64, draw.randrange(99))[0], "stream": True})
                with socket.create_connection(("127.0.0.1", served.port)) as connection:
                    connection.sendall(data[: draw.choice([draw.randrange(len(data)), len(data)])])
                    time.sleep(0.002)
            note(f"{(part + 1) * CUT // 4} cut")
            _ask_many(served, ASKED // 4)
            note(f"{(part + 1) * ASKED // 4} asked")
    return {"rows": rows}


def _ask_many(served: Served, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        asked = bodies(AT_ONCE, 4, first)
        data = [request(COMPLETIONS, {**each, "stream": i % 2 == 0}) for i, each in enumerate(asked)]
        answers = burst(served.port, data)
        assert {each.status for each in answers} == {200}


def _served(arguments: argparse.Namespace) -> Any:
    return serving(arguments.model, "--threads", str(arguments.threads))


WORKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    each.__name__: each for each in (load, overload, steps, peer, keystrokes, cancel, idle, leaks)
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WORKS)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32, help="of a completion (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="to be idle (default: %(default)s)")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has llama-cpp-python's server")
    arguments = parser.parse_args()
    print(json.dumps(WORKS[arguments.what](arguments), indent=1))


if __name__ == "__main__":
    main()
