"""Kills processes that write an attribution index, and damages one: `python bench/soak/attribution_index.py`.

Each round a process indexes a corpus of generated code in many small transactions, into a new index or one that was
killed before, and is killed (SIGKILL) at a random moment. What is there must open, and name the right file or none for
each text. Every tenth time another run completes it: then all is found. Mutants of a whole index must be refused with
an `AttributionIndexError` or answer as the whole one does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from santacoder.attribution import builder
from santacoder.attribution.indexing import add_to_index
from tests.support.attribution_corpus import code, make_index, write_corpus
from tests.support.index_mutants import write_mutant

FILES = {f"m{seed}.py": code(seed) for seed in range(120)}
SLOW = 10.0  # seconds in which each index must have answered


def write_index(index: Path, corpus: Path) -> None:
    """Index the corpus in small transactions; called in a process that gets killed."""
    vars(builder).update(LOT_BYTES=5000, CHUNK_BYTES=2500)
    add_to_index(index, [corpus], repository="corpus")


def found(index: Path) -> Counter[bool]:
    """Count for which files of the corpus the index names them, and for which it names nothing.

    Raises:
        AssertionError: it names another.
    """
    count: Counter[bool] = Counter()
    with santacoder.AttributionIndex.open(index) as opened:
        for name, text in FILES.items():
            named = [source.path for match in opened.find(text) for source in match.sources]
            assert named in ([], [name]), f"{name} is said to be in {named}"
            count[bool(named)] += 1
    return count


def kill_writers(kills: int, random: Random, folder: Path) -> None:
    """Kill writers at random moments, and print what was seen."""
    corpus, index = write_corpus(folder / "corpus", FILES), folder / "killed.scidx"
    begin = time.monotonic()
    write_index(index, corpus)
    longest = time.monotonic() - begin
    index.unlink()
    context = multiprocessing.get_context("fork")
    hit = answers = 0
    for kill in range(kills):
        process = context.Process(target=write_index, args=(index, corpus))
        process.start()
        process.join(random.uniform(0, longest))
        hit += process.is_alive()
        process.kill()
        process.join()
        if index.exists():
            answers += found(index)[True]
        if kill % 10 == 9:
            write_index(index, corpus)
            assert found(index)[True] == len(FILES), "the next run did not complete the index"
        if kill % 10 == 9 or random.random() < 0.5:
            index.unlink(missing_ok=True)
            for other in folder.glob("killed.scidx-*"):
                other.unlink()
    print(f"{kills} kills, {hit} of them while writing: {answers} files found, all of them right", flush=True)


def try_mutants(mutants: int, seed: int, folder: Path) -> None:
    """Damage an index in many ways, and print what was seen."""
    index, mutant = make_index(folder, {name: FILES[name] for name in list(FILES)[:12]}), folder / "mutant.scidx"
    texts = [code(number) for number in (0, 5, 11, 4000)]

    def answers(path: Path) -> list[list[santacoder.Match]]:
        with santacoder.AttributionIndex.open(path) as opened:
            return [opened.find(text) for text in texts]

    expected = answers(index)
    refused = 0
    for number in range(mutants):
        did = write_mutant(index, mutant, seed + number)
        begin = time.monotonic()
        try:
            assert answers(mutant) == expected, f"wrong answers after {did}"
        except santacoder.AttributionIndexError:
            refused += 1
        assert time.monotonic() - begin < SLOW, f"slow after {did}"
        for left in folder.glob("mutant.scidx*"):
            left.unlink()
    print(f"{mutants} mutants: {refused} refused, {mutants - refused} with the right answers")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description="Kill writers of an attribution index, and damage one.")
    parser.add_argument("--kills", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--mutants", type=int, default=1600, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        kill_writers(arguments.kills, Random(arguments.seed), Path(temporary))
        try_mutants(arguments.mutants, arguments.seed, Path(temporary))


if __name__ == "__main__":
    main()
