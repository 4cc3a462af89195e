"""The first suggestion in a known file after a restart: `python bench/studies/stored_prefixes.py MODEL`.

Each measurement is a process of its own: it loads the model and writes 16 tokens, without guesses, at the end of the
first `--tokens` tokens of a file; "start" is from its beginning until the model is loaded. Processes take turns: one
without a prefix cache, one that keeps the file in a prefix cache on disk, one that finds it there. "step" is the time
of a token at that depth, and "over" is what is left of the whole after start and 16 steps. With `--cold` the files of
the cache are dropped from the system's memory before each reading process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

#: Reads a job in JSON, and writes when the model was loaded, when the tokens were there, a step's seconds, the tokens.
WORKER = """
import json, sys, time
import santacoder
job = json.loads(sys.argv[1])
with santacoder.load(job["model"], job["threads"], prefix_cache=job["folder"]) as model:
    loaded = time.monotonic()
    found = model.complete(job["text"], max_tokens=job["new"], temperature=0, ignore_eos=True, lookup=False)
    done = time.monotonic()
    timings = found.timings
    more = model.complete(job["text"], max_tokens=2 * job["new"], temperature=0, ignore_eos=True, lookup=False).timings
print(json.dumps({
    "loaded": loaded, "done": done, "cached": timings.cached_tokens, "tokens": found.tokens,
    "step": 1 / more.generation_tokens_per_second, "prompt": found.usage.prompt_tokens,
}))
"""


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run a process; add the seconds until the model was loaded and until the tokens were there."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", WORKER, json.dumps(job)], stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return {**result, "start": result["loaded"] - begin, "all": result["done"] - begin}


def drop_from_memory(folder: Path) -> None:
    """Have the system read the files of a folder from the disk next time."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def first_tokens(model: str, path: Path, count: int) -> str:
    """Return the beginning of a file, this many tokens long."""
    import santacoder

    with santacoder.load(model, 1) as loaded:
        return loaded.tokenizer.decode(loaded.tokenizer.encode(path.read_text(encoding="utf-8"))[:count])


def row(name: str, results: Sequence[dict[str, Any]], new: int) -> str:
    """Format the medians of one kind of process."""
    start, whole, step = (median(result[key] for result in results) for key in ("start", "all", "step"))
    over = median(result["all"] - result["start"] - new * result["step"] for result in results)
    cached, prompt = results[0]["cached"], results[0]["prompt"]
    return (
        f"{name:<16} {start:6.3f} s {whole:8.3f} s {step * 1e3:7.1f} ms {over:8.3f} s   "
        f"{cached} of {prompt} tokens of the prompt were there"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How soon is the first suggestion there after a restart?")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--file", type=Path, default=Path(argparse.__file__), help="the text (default: argparse.py)")
    parser.add_argument("--tokens", type=int, default=1500, help="of the text (default: %(default)s)")
    parser.add_argument("--new", type=int, default=16, help="tokens to write (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--cold", action="store_true", help="read the cache from the disk, not from memory")
    arguments = parser.parse_args()
    text = first_tokens(arguments.model, arguments.file, arguments.tokens)
    kinds: dict[str, list[dict[str, Any]]] = {"without": [], "writes": [], "reads": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "prefixes"
        job = {"model": arguments.model, "threads": arguments.threads, "text": text, "new": arguments.new}
        for _ in range(arguments.rounds):
            kinds["without"].append(run({**job, "folder": False}))
            for model in folder.glob("*/"):
                shutil.rmtree(model)
            kinds["writes"].append(run({**job, "folder": str(folder)}))
            if arguments.cold:
                drop_from_memory(folder)
            kinds["reads"].append(run({**job, "folder": str(folder)}))
    answers = {tuple(result["tokens"]) for results in kinds.values() for result in results}
    assert len(answers) == 1, "the cache changed the answer"
    print(f"{'':16} {'start':>8} {'in all':>10} {'step':>10} {'over':>10}")
    for name, results in kinds.items():
        print(row(name, results, arguments.new))


if __name__ == "__main__":
    main()
