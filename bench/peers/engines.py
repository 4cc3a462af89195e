"""Runs engines as processes that take turns: lists them, starts them, and measures them round by round."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import processes
from bench.peers.workloads import Work

HERE = Path(__file__).parent
OURS = "santacoder"
#: The peers, and the module that an interpreter must be able to import for each.
PEERS = {
    "llama.cpp": ("llama_cpp",),
    "ctranslate2": ("ctranslate2", "transformers", "torch"),
    "transformers": ("transformers", "torch"),
    "openvino": ("openvino", "optimum.intel", "transformers", "torch"),
}
#: The peers that load a conversion of the random checkpoint: a folder within its own, by the peer's kind.
CONVERTED = ("ctranslate2", "openvino")
#: Seconds between two measurements. Idle OpenMP threads spin for some 10 ms before they sleep. OMP_WAIT_POLICY=passive
#: lets them sleep at once but slows llama.cpp, whose operations wait for each other.
PAUSE = 0.2

#: Work -> engine -> one value per round. An engine that cannot do a work is absent.
Values = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Peer:
    """An engine to compare with: its kind, its name in the tables, and the interpreter that has it installed."""

    kind: str
    name: str
    python: str

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Return the peer that `KIND[:NAME][=PYTHON]` names."""
        head, _, python = text.partition("=")
        kind, _, name = head.partition(":")
        if kind not in PEERS:
            raise argparse.ArgumentTypeError(f"{kind!r} is not one of {', '.join(PEERS)}")
        return cls(kind, name or kind, python or sys.executable)


def installed() -> list[Peer]:
    """Return the peers that this interpreter can import."""
    found = [kind for kind, modules in PEERS.items() if all(map(_importable, modules))]
    return [Peer.parse(kind) for kind in found]


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in is missing
        return False


@dataclass
class Engine:
    """A worker process that waits for works, and the program to start for works that measure a whole process."""

    name: str
    worker: subprocess.Popen[str]
    versions: dict[str, str]
    program: list[str] | None
    environment: dict[str, str]
    model: Path

    def measure(self, work: Work) -> float | None:
        """Return tokens per second, seconds or multiples of the file's size, by work; None if the engine cannot."""
        time.sleep(PAUSE)
        if not work.of_process:
            assert self.worker.stdin is not None
            self.worker.stdin.write(work.name + "\n")
            self.worker.stdin.flush()
            return float(_answer(self.name, self.worker))
        if self.program is None:
            return None
        value = processes.measure(self.program, work, self.environment)
        return value / self.model.stat().st_size if work.kind == "memory" else value


def _answer(name: str, worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with status {worker.wait()}; its message is above")
    return line


@contextmanager
def start(peer: Peer, model: Path, weights: Path, threads: int, environment: dict[str, str]) -> Iterator[Engine]:
    """Load an engine (ours or a peer) and end it afterwards; `weights` is the path that it loads for `model`."""
    if peer.python != sys.executable:
        environment = {"PYTHONPATH": ""} | environment  # the other Python has packages of its own
    worker = subprocess.Popen(
        [peer.python, str(HERE / "worker.py"), peer.kind, str(weights), "--threads", str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        versions = json.loads(_answer(peer.name, worker))
        program = processes.command(peer.kind, peer.python, model, threads)
        yield Engine(peer.name, worker, versions, program, environment, model)
    finally:
        worker.communicate()


@contextmanager
def start_all(arguments: argparse.Namespace, threads: int) -> Iterator[list[Engine]]:
    """Start our engine, then the peers, as the options of `add_arguments` say."""
    model, isa = arguments.model, arguments.isa
    peers = [] if arguments.alone else arguments.peer or installed()
    ours = Peer(OURS, f"{OURS} {isa}".strip(), sys.executable)
    weights = [_weights(peer, model, arguments.cache_dir) for peer in peers]
    with ExitStack() as stack:
        yield [
            stack.enter_context(start(ours, model, model, threads, {"SANTACODER_ISA": isa} if isa else {})),
            *(
                stack.enter_context(start(peer, model, path, threads, {}))
                for peer, path in zip(peers, weights, strict=True)
            ),
        ]


def _weights(peer: Peer, model: Path, cache: Path) -> Path:
    """Return the path that the peer loads: the model itself, or random weights of its shape, which are made once."""
    if peer.kind == "llama.cpp":
        return model
    program = [sys.executable, "-m", "santacoder", "info", "--json", "--model", str(model)]
    shape = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    sizes = "context_length", "embedding_length", "feed_forward_length", "block_count", "head_count", "vocab_size"
    numbers = {name: shape[name] for name in sizes}
    folder = cache / "-".join(map(str, ("random", *numbers.values())))
    program = [peer.python, str(HERE / "random_checkpoint.py"), str(folder), "--shape", json.dumps(numbers)]
    if peer.kind not in CONVERTED:
        subprocess.run(program, check=True)
        return folder
    subprocess.run([*program, "--convert", peer.kind], check=True)
    return folder / peer.kind


def interleave(engines: Sequence[Engine], works: Sequence[Work], rounds: int) -> Values:
    """Measure every engine once on every work in each round, in an order that changes with each measurement."""
    values: Values = {work.name: {} for work in works}
    for work in works:
        if work.of_process:
            for engine in engines:
                engine.measure(work)  # so that all files are in memory
    for turn in range(rounds):
        for index, work in enumerate(works):
            first = (turn + index) % len(engines)
            for engine in (*engines[first:], *engines[:first]):
                value = engine.measure(work)
                if value is not None:
                    values[work.name].setdefault(engine.name, []).append(value)
                    print(f"round {turn + 1}: {work.name}, {engine.name}: {value:.4g}", file=sys.stderr, flush=True)
    return values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide which engines run, and how."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("model", type=Path, help="a GGUF file; `make_model.py` writes one of SantaCoder's shape")
    parser.add_argument("--threads", type=int, default=2, help="threads of every engine (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--isa", default="", help="instruction set that santacoder must use (default: the best)")
    parser.add_argument(
        "--peer",
        type=Peer.parse,
        action="append",
        metavar="KIND[:NAME][=PYTHON]",
        help=f"an engine to compare with, repeatable: {', '.join(PEERS)}; NAME is shown in the tables, PYTHON is the "
        "interpreter that has it installed (default: every engine that this one can import)",
    )
    parser.add_argument("--alone", action="store_true", help="measure no peers")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=caches / "santacoder-bench",
        help="where the random weights of peers that read no GGUF are kept, 3.4 GB (default: %(default)s)",
    )
