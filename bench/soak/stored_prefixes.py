"""Kills processes that write a prefix cache: `python bench/soak/stored_prefixes.py [MODEL] --kills 200`.

Each round a process completes random prompts with a prefix cache in a folder that all rounds share, and is killed
(SIGKILL) at a random moment after its first answer. Then files are damaged at random: cut, a bit flipped, removed,
swapped, replaced by links. The next process reads what is left, and each of its answers has to be that of a process
without a cache. The folder's limit is small, so that files are dropped all the time too.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from tests.support.stored_blocks import DAMAGES, block_paths, damage

LONGEST = 400  # tokens of a prompt
#: Reads a job in JSON, and writes a line for each answer: prompt, tokens, how many tokens of the prompt were there.
WORKER = """
import json, random, sys
import santacoder
job = json.loads(sys.argv[1])
choose = random.Random(job["seed"])
with santacoder.load(job["model"], 1, prefix_cache=job["folder"], prefix_cache_bytes=job["bytes"]) as model:
    while True:
        number = choose.randrange(len(job["prompts"]))
        found = model.complete(job["prompts"][number], max_tokens=8, temperature=1.0, seed=number)
        print(json.dumps([number, found.tokens, found.timings.cached_tokens]), flush=True)
        model._scheduler.forget()
"""


def make_prompts(random: Random, vocabulary: int, context: int) -> list[list[int]]:
    """Return prompts of any length, some of which begin alike."""
    stems = [[random.randrange(vocabulary) for _ in range(context - 16)] for _ in range(4)]
    prompts = []
    for _ in range(24):
        stem = random.choice(stems)
        cut = random.randrange(1, len(stem))
        prompts.append(
            stem[:cut] + [random.randrange(vocabulary) for _ in range(random.randrange(len(stem) - cut + 1))]
        )
    return prompts


def main() -> None:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description="Kill processes that write a prefix cache, and damage its files.")
    parser.add_argument("model", nargs="?", default="packaged")
    parser.add_argument("--kills", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    with santacoder.load(arguments.model, 1) as model:
        prompts = make_prompts(random, model.config.vocab_size, min(model.context, LONGEST))
        block = model.cache_bytes * 64 // model.context
        expected = [
            model.complete(prompt, max_tokens=8, temperature=1.0, seed=number).tokens
            for number, prompt in enumerate(prompts)
        ]
    answers = cached = damaged = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "prefixes"
        job = {"model": arguments.model, "folder": str(folder), "prompts": prompts, "bytes": 40 * block}
        for kill in range(arguments.kills):
            command = [sys.executable, "-c", WORKER, json.dumps({**job, "seed": arguments.seed + kill})]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                first = process.stdout.readline()
                time.sleep(random.uniform(0, 0.3))
                process.send_signal(signal.SIGKILL)
                lines = [first, *process.stdout]
            assert process.returncode == -signal.SIGKILL, "a process refused to run"
            for line in lines:
                if line.endswith("\n"):
                    number, tokens, known = json.loads(line)
                    assert tokens == expected[number], f"prompt {number} has another answer after kill {kill}"
                    answers, cached = answers + 1, cached + known
            for _ in range(random.randrange(6)):
                damaged += bool(block_paths(folder))
                damage(folder, random.choice(DAMAGES), random)
        left = len(list(folder.rglob(".*")))
    print(f"{arguments.kills} kills, {damaged} damaged files, {left} unfinished files left at the end")
    print(f"{answers} answers, all right; {cached} tokens of their prompts came from the disk")


if __name__ == "__main__":
    main()
