"""How speed holds up when other processes use the CPUs: `python bench/studies/contention.py MODEL [MODEL ...]`.

Each condition is produced for real, on the first and the last CPU that this process may use, and engines take turns:
this library with one thread and with two, each `--peer` likewise, and with `--before PYTHON` the version that another
interpreter has. Rates are medians of tokens per second; "2/1" is two threads over one in the same condition, "share"
the number of the two CPUs that is left. The model "packaged" is the one that ships in the package.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.peers import engines
from bench.peers.engines import OURS, Engine, Peer
from bench.peers.workloads import Work
from bench.studies import loads
from santacoder.sources.packaged import packaged_model

ALL = sorted(os.sched_getaffinity(0))
FIRST, SECOND = ALL[0], ALL[-1]

#: Conditions with busy processes: the share in CPUs, and the processes: program, CPU, niceness.
BUSY: dict[str, tuple[float, list[tuple[str, int | None, int]]]] = {
    "quiet": (2, []),
    "one busy": (1.5, [(loads.SPIN, SECOND, 0)]),
    "one busy unpinned": (1.5, [(loads.SPIN, None, 0)]),
    "three busy on one": (1.25, [(loads.SPIN, SECOND, 0)] * 3),
    "one of higher priority": (1.25, [(loads.SPIN, SECOND, -5)]),
    "one on and off": (1.5, [(loads.ON_AND_OFF, SECOND, 0)]),
    "both busy": (1, [(loads.SPIN, FIRST, 0), (loads.SPIN, SECOND, 0)]),
}


class Bench:
    """Engines of one model, started on first use and kept."""

    def __init__(self, model: Path, stack: ExitStack, rounds: int) -> None:
        self.model, self.rounds = model, rounds
        self._stack = stack
        self._running: dict[tuple[str, int, int], Engine] = {}

    def engine(self, peer: Peer, threads: int, number: int = 0) -> Engine:
        """Return an engine of this kind and number of threads; `number` tells several apart."""
        key = peer.name, threads, number
        if key not in self._running:
            started = engines.start(peer, self.model, self.model, threads, {})
            self._running[key] = self._stack.enter_context(started)
        return self._running[key]

    def rates(self, choices: list[tuple[Peer, int]], work: Work) -> list[float]:
        """Return the median rate of each choice; the choices take turns."""
        found: list[list[float]] = [[] for _ in choices]
        for turn in range(self.rounds):
            for index in sorted(range(len(choices)), key=lambda i: (i - turn) % len(choices)):
                rate = self.engine(*choices[index]).measure(work)
                assert rate is not None
                found[index].append(rate)
        return [median(rates) for rates in found]


def works(model: Path) -> list[Work]:
    """Return generation and a prompt, long enough for the condition to take effect."""
    small = model.stat().st_size < 1 << 26
    return [Work.parse("decode:400" if small else "decode:48"), Work.parse("prompt:1000" if small else "prompt:512")]


def conditions(bench: Bench, peers: list[Peer], chosen: list[str]) -> Iterator[str]:
    """Yield a line for each condition of busy processes, work and engine."""
    for name in chosen:
        share, programs = BUSY[name]
        for work in works(bench.model):
            choices = [(peer, threads) for peer in peers for threads in (1, 2)]
            for peer, threads in choices:
                bench.engine(peer, threads)  # loaded before the CPUs are busy
            with loads.busy(programs):
                rates = bench.rates(choices, work)
            for index, peer in enumerate(peers):
                one, two = rates[2 * index : 2 * index + 2]
                yield f"{name:26} {share:5} {work.label:26} {peer.name:11} {one:8.1f} {two:8.1f} {two / one:6.2f}"


def more_threads(bench: Bench, ours: Peer) -> Iterator[str]:
    """Measure more threads than CPUs."""
    for work in works(bench.model):
        two, four, eight = bench.rates([(ours, 2), (ours, 4), (ours, 8)], work)
        yield f"threads=4, {work.label}: {four / two:.2f} of threads=2; threads=8: {eight / two:.2f}"


def crowd(bench: Bench, ours: Peer, count: int = 4) -> Iterator[str]:
    """Measure several processes at once, with two threads each."""
    for work in works(bench.model):
        running = [bench.engine(ours, 2, number) for number in range(count)]
        with ThreadPoolExecutor(count) as pool:
            rounds = [
                (_rate(running[0], work), sum(pool.map(_rate, running, [work] * count))) for _ in range(bench.rounds)
            ]
        ratio = median(together / alone for alone, together in rounds)
        yield f"{count} processes at once, {work.label}: their sum {ratio:.2f} of a single one"


def limited(bench: Bench, ours: Peer) -> Iterator[str]:
    """Measure a quota of one CPU, and a worker held half of the time, against two unlimited threads.

    The share of the CPU time is one half in the first case and three quarters in the second.
    """
    two = bench.engine(ours, 2)
    for work in works(bench.model):
        [quiet] = bench.rates([(ours, 2)], work)
        with loads.quota(two.worker.pid, 1) as possible:
            if possible:
                rate = median(_rate(two, work) for _ in range(bench.rounds))
                yield f"a quota of one CPU, {work.label}: {rate / quiet:.2f} of two threads without, share 0.5"
        with loads.held(loads.busiest_worker(two.worker.pid), 0.05, 0.05):
            rate = median(_rate(two, work) for _ in range(bench.rounds))
        yield f"one worker held half of the time, {work.label}: {rate / quiet:.2f} of two threads, share 0.75"


def narrowed(bench: Bench, ours: Peer) -> Iterator[str]:
    """Restrict all threads to one CPU in the middle of a generation, and measure the tokens after that."""
    work = works(bench.model)[0]
    after = Work.parse("decode:20")
    one, two = bench.engine(ours, 1), bench.engine(ours, 2)
    ratios = []
    for _ in range(bench.rounds):
        loads.narrow(one.worker.pid, {FIRST})
        alone = _rate(one, after)
        before = threading.Thread(target=lambda: two.measure(work))
        before.start()
        time.sleep(engines.PAUSE + 0.02)
        loads.narrow(two.worker.pid, {FIRST})
        before.join()
        ratios.append(_rate(two, after) / alone)
        for engine in (one, two):
            loads.narrow(engine.worker.pid, set(ALL))
    yield f"affinity reduced to one CPU midway, the next 20 tokens: {median(ratios):.2f} of threads=1"


def _rate(engine: Engine, work: Work) -> float:
    rate = engine.measure(work)
    assert rate is not None
    return rate


@contextmanager
def _bench(name: str, rounds: int) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(Path(packaged_model()) if name == "packaged" else Path(name), stack, rounds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help='GGUF files, or "packaged"')
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--peer", type=Peer.parse, action="append", default=[], metavar="KIND[:NAME][=PYTHON]")
    parser.add_argument("--before", metavar="PYTHON", help="an interpreter that has another version of this library")
    parser.add_argument("--conditions", default=",".join(BUSY), help="of %(default)s")
    parser.add_argument("--only", choices=["conditions", "others"], help="run only this part")
    arguments = parser.parse_args()
    ours = Peer(OURS, OURS, sys.executable)
    peers = [ours, *([Peer(OURS, "before", arguments.before)] if arguments.before else []), *arguments.peer]
    for name in arguments.models:
        print(
            f"\n{Path(name).name}\n{'condition':26} share {'work':26} {'engine':11} {'1 thread':>8} {'2':>8} {'2/1':>6}"
        )
        with _bench(name, arguments.rounds) as bench:
            if arguments.only != "others":
                for line in conditions(bench, peers, arguments.conditions.split(",")):
                    print(line, flush=True)
        others: list[Callable[[Bench, Peer], Iterator[str]]] = [more_threads, crowd, limited, narrowed]
        for part in others if arguments.only != "conditions" else []:
            with _bench(name, arguments.rounds) as bench:
                for line in part(bench, ours):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
