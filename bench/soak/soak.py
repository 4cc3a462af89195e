"""`make soak`: tries for some minutes to crash the library, and writes the table of docs/explanation/reliability.md.

    python bench/soak/soak.py [--minutes 10] [--seed 1] [--peer PYTHON] [--write docs/explanation/reliability.md]

Needs the built package on the path and the packages of the tests. PYTHON is an interpreter with llama-cpp-python. Each
part has a share of the time. A part that is cut short, or a run stopped by Ctrl-C or SIGTERM, says what it covered.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.soak import seeded_bugs
from santacoder._util.atomic_file import atomic_file
from tests.support import malformed, small_checkpoint
from tests.support.paths import FILE

HERE = Path(__file__).parent
BEGIN, END = "<!-- made by `make soak`: -->", "<!-- end -->"
HANG_SECONDS = 10.0
MAX_MILLISECONDS, MAX_KB = 100.0, 16 << 10  # what a refusal may cost
MAX_LEAK = 1024  # bytes that a request may leave behind
#: Each section's share of the time; time left over goes to the next ones.
SHARES = {"mutants": 0.25, "checkpoints": 0.2, "load": 0.3, "server": 0.4, "peer": 0.2, "bugs": 1.0}


class Worker:
    """A process of soak_worker.py, restarted whenever it dies or hangs."""

    def __init__(self, kind: str, python: str, folder: Path, valid: Path = FILE) -> None:
        self.command = [python, str(HERE / "soak_worker.py"), kind, str(valid)]
        self.environment = dict(os.environ)
        if kind == "llama.cpp":
            self.environment.pop("PYTHONPATH", None)  # our environment's packages are not for another Python
        self.log = folder / f"{kind}.stderr"
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str] = queue.Queue()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        if self.lines.get(timeout=60) != "ready":
            raise SystemExit(f"{' '.join(self.command)} does not start: {self.log.read_text()}")

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.strip())
        lines.put("")  # it ended

    def try_file(self, path: Path) -> tuple[str, float, int]:
        """Return the outcome ("loaded", "refused", "died", "hung" or an exception's name), milliseconds and KB."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(str(path)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it died after its last answer: that counts for this file
            self.process.wait()
            return "died", 0.0, 0
        try:
            line = self.lines.get(timeout=HANG_SECONDS)
        except queue.Empty:
            self.stop()
            return "hung", HANG_SECONDS * 1e3, 0
        if not line:
            self.process.wait()
            return "died", 0.0, 0
        outcome, milliseconds, kilobytes = json.loads(line)
        return outcome, milliseconds, kilobytes

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Outcomes:
    """The outcomes of many files."""

    counts: Counter[str] = field(default_factory=Counter)
    milliseconds: float = 0.0  # the slowest refusal
    kilobytes: int = 0
    slow: int = 0  # refused, but over a limit
    findings: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """The number of files tried."""
        return self.counts.total()

    def add(self, name: str, outcome: str, milliseconds: float, kilobytes: int) -> None:
        """Count one file."""
        self.counts[outcome] += 1
        if outcome not in ("loaded", "refused"):
            self.findings.append(f"{name}: {outcome}")
        elif outcome == "refused":
            self.milliseconds = max(self.milliseconds, milliseconds)
            self.kilobytes = max(self.kilobytes, kilobytes)
            if milliseconds > MAX_MILLISECONDS or kilobytes > MAX_KB:
                self.slow += 1
                self.findings.append(f"{name}: refused after {milliseconds:.0f} ms and {kilobytes} KB")

    def __str__(self) -> str:
        """Return the counts, sorted."""
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items())) or "none tried"


class Soak:
    """One run: the table so far, and the time that is left."""

    def __init__(self, minutes: float, seed: int, folder: Path) -> None:
        self.start = time.monotonic()
        self.end = self.start + 60 * minutes
        self.minutes, self.seed, self.folder = minutes, seed, folder
        self.rows: dict[str, str] = {}
        self.findings: list[str] = []

    def deadline(self, section: str) -> float:
        """Return the time by which a section must be done."""
        return time.monotonic() + SHARES[section] * max(self.end - time.monotonic(), 0)

    def row(self, name: str, value: str) -> None:
        """Set a row of the table and print it."""
        self.rows[name] = value
        print(f"{time.monotonic() - self.start:6.0f} s  {name}: {value}", flush=True)

    def table(self) -> str:
        """Return the table in Markdown, and how it was made."""
        seconds = time.monotonic() - self.start
        head = (
            f"`make soak MINUTES={self.minutes:g} SEED={self.seed}`, which ran for {seconds:.0f} s: Python "
            f"{platform.python_version()}, {santacoder.isa()}, {os.cpu_count()} CPUs.\n\n| what | result |\n|---|---|\n"
        )
        return head + "".join(f"| {name} | {value} |\n" for name, value in self.rows.items())

    # Sections.

    def malformed(self, worker: Worker) -> None:
        """Try the list of malformed files, then odd ones that the reader must survive."""
        results = Outcomes()
        wrong = 0
        for case in malformed.cases():
            outcome, milliseconds, kilobytes = worker.try_file(case.write(self.folder))
            wrong += outcome != ("loaded" if case.problem is None else "refused")
            results.add(case.name, outcome, milliseconds, kilobytes)
        self.row("malformed and odd files tried", f"{results} ({wrong} not as they should be)")
        self.refusals("malformed files", results)

    def refusals(self, what: str, results: Outcomes) -> None:
        """Set the rows that malformed files and mutants share."""
        self.row(f"{what}: crashes, hangs", f"{results.counts['died']}, {results.counts['hung']}")
        limits = f"limits 100 ms, 16 MiB: {results.slow} over"
        self.row(f"{what}: worst refusal", f"{results.milliseconds:.1f} ms, {results.kilobytes} KB ({limits})")
        self.findings += results.findings

    def mutants(self, worker: Worker) -> None:
        """Try every single-byte change and truncation of two small models, as far as time allows."""
        results, deadline, path = Outcomes(), self.deadline("mutants"), self.folder / "mutant.gguf"
        try:
            for name, data in all_mutants(self.seed):
                if time.monotonic() > deadline:
                    break
                path.unlink(missing_ok=True)
                path.write_bytes(data)
                results.add(name, *worker.try_file(path))
        finally:
            total = sum(1 for _ in all_mutants())
            self.row("mutants tried", f"{results.tried} of {total}: {results}")
            self.refusals("mutants", results)

    def checkpoints(self) -> None:
        """Try mutants of a checkpoint's files: convert each checkpoint, and load the result."""
        path = self.folder / "checkpoint"
        valid = self.folder / "valid-checkpoint"
        small_checkpoint.write(valid, small_checkpoint.files("model.safetensors"))
        worker = Worker("converter", sys.executable, self.folder, valid)
        results, deadline = Outcomes(), self.deadline("checkpoints")
        try:
            for name, what, data in checkpoint_mutants(self.seed):
                if time.monotonic() > deadline:
                    break
                small_checkpoint.write(path, small_checkpoint.files(name) | {name: data})
                results.add(f"{name}, {what}", *worker.try_file(path))
        finally:
            worker.stop()
            total = sum(1 for _ in checkpoint_mutants())
            shown = str(results).replace("loaded", "converted")
            names = ", ".join(small_checkpoint.readable())
            self.row("mutants of checkpoints tried", f"{results.tried} of {total} ({names}): {shown}")
            self.refusals("mutants of checkpoints", results)

    def faults(self) -> None:
        """Make every allocation of the C side fail once."""
        from tests.support.failing_allocator import PROGRAM, SOURCE

        library = self.folder / "failing_allocator.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"], check=True)
        model = self.folder / "model.gguf"
        model.write_bytes(malformed.model(context=64).build())
        command = [sys.executable, "-c", PROGRAM, str(library), str(model)]
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            self.findings.append(f"allocation failures: {done.stderr}")
            self.row("faults injected", f"the process ended with {done.returncode}")
            return
        total, errors, refused = map(int, done.stdout.split())
        self.row("allocations and threads refused, each once", str(total))
        self.row("of these survived, without a leak", f"{errors} by MemoryError, {refused} without a word")

    def load(self) -> None:
        """Run concurrent requests, dropped streams and forks."""
        seconds = self.deadline("load") - time.monotonic()
        completions, wrong, forks, slope = self._last_line("soak_load.py", seconds, "[0, 0, 0, null]")
        self.row("completions by 8 threads at once", f"{completions}, with {forks} forks in the middle")
        self.row("wrong answers", str(wrong))
        self._leak("memory left behind by a completion", slope)
        if wrong or (slope or 0) > MAX_LEAK:
            self.findings.append(f"load: {wrong} wrong answers, {slope} bytes a call")

    def server(self) -> None:
        """Run good, bad, slow and cut clients of a server, which is killed and started again in the middle."""
        seconds = self.deadline("server") - time.monotonic()
        good, refused, bad, slow, cut, wrong, hung, kills, slope = self._last_line(
            "soak_server.py", seconds, "[0, 0, 0, 0, 0, 0, 0, 0, null]"
        )
        clients = f"{good} answered, {refused} came too early, {bad} bad, {slow} slow, {cut} cut off"
        self.row("requests to a server by 12 clients", f"{clients}, with {kills} kill and restart of the server")
        self.row("server: wrong answers, hangs", f"{wrong}, {hung}")
        self._leak("server: memory left behind by a request", slope)
        if wrong or hung or (slope or 0) > MAX_LEAK:
            self.findings.append(f"server: {wrong} wrong answers, {hung} hangs, {slope} bytes a request")

    def _leak(self, name: str, slope: float | None) -> None:
        grown = "too little was seen to tell" if slope is None else f"{slope:.0f} bytes (limit {MAX_LEAK})"
        self.row(name, grown)

    def _last_line(self, script: str, seconds: float, nothing: str) -> list[Any]:
        """Run a script that reports its progress, and return its last report."""
        command = [sys.executable, str(HERE / script), str(FILE), f"{seconds:.0f}"]
        last = nothing
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    last = line
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            self.findings.append(f"{script}: status {process.returncode}")
        report: list[Any] = json.loads(last)
        return report

    def peer(self, python: str) -> None:
        """Try llama-cpp-python in such processes: all malformed files, and mutants as far as time allows."""
        worker = Worker("llama.cpp", python, self.folder)
        parts: list[tuple[str, Iterable[tuple[str, Path]], int]] = [
            ("malformed files", self._case_paths(), sum(1 for _ in malformed.cases())),
            ("mutants", self._mutant_paths(), sum(1 for _ in all_mutants())),
        ]
        try:
            for what, paths, total in parts:
                results = Outcomes()
                deadline = float("inf") if what == "malformed files" else self.deadline("peer")
                try:
                    for name, path in paths:
                        if time.monotonic() > deadline:
                            break
                        results.add(name, *worker.try_file(path))
                finally:
                    died = f"died {results.counts['died']} times, hung {results.counts['hung']} times"
                    self.row(f"llama-cpp-python, {what}", f"{results.tried} of {total} tried: {died} ({results})")
                    print(*(f"          llama-cpp-python, {finding}\n" for finding in results.findings), sep="", end="")
        finally:
            worker.stop()

    def _case_paths(self) -> Iterator[tuple[str, Path]]:
        for case in malformed.cases():
            path = case.write(self.folder)
            if "\0" not in str(path):
                yield case.name, path

    def _mutant_paths(self) -> Iterator[tuple[str, Path]]:
        path = self.folder / "mutant.gguf"
        for name, data in all_mutants(self.seed):
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            yield name, path

    def bugs(self) -> None:
        """Run the mutation tests as far as time allows; a bug that is begun is finished."""
        deadline = self.deadline("bugs")
        missed: list[str] = []
        counts = [0, 0]

        def report(bug: seeded_bugs.Bug, caught: bool) -> None:
            counts[0] += 1
            counts[1] += caught
            if not caught:
                missed.append(bug.name)

        try:
            seeded_bugs.try_all(seeded_bugs.BUGS, report, lambda: time.monotonic() > deadline)
        finally:
            tried = f"{counts[0]} of {len(seeded_bugs.BUGS)} tried, {counts[1]} caught"
            self.row("bugs seeded in reader and kernels", tried + (f"; missed: {', '.join(missed)}" if missed else ""))
            self.findings += [f"not caught: {name}" for name in missed]


def all_mutants(seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """Yield the mutants of a model in F16, then of one in Q8_0; together they would take half a gigabyte."""
    for weight_type, sizes in (("F16", {}), ("Q8_0", {"width": 32, "hidden": 32})):
        data = malformed.model(weight_type=weight_type, **sizes).build()
        for name, mutant in mutants_of(data, seed):
            yield f"{weight_type}, {name}", mutant


def checkpoint_mutants(seed: int = 1) -> Iterator[tuple[str, str, bytes]]:
    """Yield a file of a checkpoint, what was done to it, and its bytes; the files take turns."""
    names = small_checkpoint.readable()
    turns = [mutants_of(small_checkpoint.files(name)[name], seed) for name in names]
    for turn in itertools.zip_longest(*turns):
        for name, mutant in zip(names, turn, strict=True):
            if mutant is not None:
                yield name, *mutant


def mutants_of(data: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield every change of one byte and every truncation, in random order."""
    places = list(range(len(data)))
    random.Random(seed).shuffle(places)
    for place in places:
        yield from malformed.flips(data, [place])
        yield from malformed.truncations(data, [place])


def write(path: Path, table: str) -> None:
    """Write the table between its marks in a document."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with atomic_file(path) as file:
        file.write(f"{before}{BEGIN}\n{table}{END}{after}".encode())


def run(soak: Soak, peer: str | None) -> None:
    """Run all sections, one after another."""
    worker = Worker("santacoder", sys.executable, soak.folder)
    try:
        soak.malformed(worker)
        soak.faults()
        soak.mutants(worker)
    finally:
        worker.stop()
    soak.checkpoints()
    soak.load()
    soak.server()
    if peer is not None:
        soak.peer(peer)
    soak.bugs()


def main() -> None:
    """Run, write the table, and exit with status 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Try to make the library crash.")
    parser.add_argument("--minutes", type=float, default=10, help="at most 20 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer", help="a Python with llama-cpp-python")
    parser.add_argument("--write", type=Path, help="the document with the table to replace")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cut = False
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(min(arguments.minutes, 20), arguments.seed, Path(folder))
        try:
            run(soak, arguments.peer)
        except BaseException as error:  # Ctrl-C, SIGTERM or a bug of this program: the table says how far it got
            cut = True
            if not isinstance(error, KeyboardInterrupt | SystemExit):
                traceback.print_exc()
            soak.row("this run", f"was cut short ({type(error).__name__}): what is missing above was not tried")
    print("\n" + soak.table())
    for finding in soak.findings:
        print(f"FOUND {finding}")
    if arguments.write is not None:
        write(arguments.write, soak.table())
    sys.exit(bool(soak.findings) or cut)


if __name__ == "__main__":
    main()
