"""santacoder and llama.cpp on the same file, taking turns: `python bench/compare.py MODEL` writes bench/RESULTS.md.

Each round measures every engine once on every work; the table has the medians over rounds, and the median of the ratios
within a round. `--llama-python NAME=PYTHON` takes another build of llama.cpp: the interpreter that has it installed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKS: dict[str, dict[str, Any]] = {
    "prompt 512": {"work": "prompt", "length": 512, "depth": 0},
    "prompt 1984": {"work": "prompt", "length": 1984, "depth": 0},
    "decode 64, empty context": {"work": "decode", "length": 64, "depth": 0},
    "decode 64 at depth 1536": {"work": "decode", "length": 64, "depth": 1536},
}


@dataclass
class Engine:
    """A worker process."""

    name: str
    process: subprocess.Popen[str]
    versions: dict[str, str]

    @classmethod
    def start(cls, name: str, kind: str, python: str, model: Path, threads: int, environment: dict[str, str]) -> Engine:
        """Start a worker and wait until its model is loaded."""
        process = subprocess.Popen(
            [python, str(HERE / "worker.py"), kind, str(model), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        assert process.stdout is not None
        return cls(name, process, json.loads(process.stdout.readline()))

    def measure(self, work: dict[str, Any]) -> float:
        """Tokens per second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(work) + "\n")
        self.process.stdin.flush()
        return 1 / float(self.process.stdout.readline())

    def stop(self) -> None:
        """End the worker."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def machine() -> str:
    """The processor's name and its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def table(engines: list[Engine], rates: dict[str, dict[str, list[float]]]) -> str:
    """Medians per engine, and our rate over each peer's, round by round."""
    ours, peers = engines[0], engines[1:]
    head = [
        "tokens per second",
        *(engine.name for engine in engines),
        *(f"ratio to {peer.name}" for peer in peers),
    ]
    rows = [head, ["---"] * len(head)]
    for work, by_engine in rates.items():
        medians = [f"{statistics.median(by_engine[engine.name]):.1f}" for engine in engines]
        ratios = []
        for peer in peers:
            pairs = zip(by_engine[ours.name], by_engine[peer.name], strict=True)
            quotients = [mine / theirs for mine, theirs in pairs]
            ratios.append(f"{statistics.median(quotients):.2f} ({min(quotients):.2f}-{max(quotients):.2f})")
        rows.append([work, *medians, *ratios])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description="Compare santacoder with llama.cpp on one file.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", default="", help="force an instruction set on santacoder")
    parser.add_argument("--llama-python", default=f"llama.cpp={sys.executable}", metavar="NAME=PYTHON")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    arguments = parser.parse_args()
    forced = {"SANTACODER_ISA": arguments.isa} if arguments.isa else {}
    ours = f"santacoder {arguments.isa}".strip()
    peer, _, python = arguments.llama_python.partition("=")
    engines = [
        Engine.start(ours, "santacoder", sys.executable, arguments.model, arguments.threads, forced),
        Engine.start(peer, "llama.cpp", python, arguments.model, arguments.threads, {}),
    ]
    rates: dict[str, dict[str, list[float]]] = {work: {engine.name: [] for engine in engines} for work in WORKS}
    for _ in range(arguments.rounds):
        for work, by_engine in rates.items():
            for engine in engines:
                by_engine[engine.name].append(engine.measure(WORKS[work]))
    versions = "\n".join(f"- {engine.name}: {json.dumps(engine.versions)}" for engine in engines)
    for engine in engines:
        engine.stop()
    report = (
        f"# Speed beside llama.cpp\n\n{machine()}, {arguments.threads} threads, {datetime.date.today()}. "
        f"{arguments.model.name}, {arguments.model.stat().st_size / 1e6:.0f} MB. Medians of {arguments.rounds} "
        f"rounds in which the engines take turns; ratios are medians (least-most) over rounds.\n"
        f"`python bench/make_model.py MODEL` writes such a file, "
        f"`python bench/compare.py MODEL --threads {arguments.threads} --rounds {arguments.rounds}` measures again.\n\n"
        f"{table(engines, rates)}\n\n{versions}\n"
    )
    print(report)
    arguments.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
