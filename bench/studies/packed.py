"""What packed weights in a file save: `python bench/studies/packed.py MODEL [--peer PYTHON]`.

Prints, in one run, with packed weights and without: seconds from a process's start to its first token, beside those of
llama-cpp-python if another interpreter has it; the memory of one process and of four at once, as their proportional
set size; and tokens per second of generation, both in one process. All take turns. The packed file is written first,
unless the cache has it; /proc tells how much of it lies in huge pages. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.peers import processes
from santacoder.engine.packed_weights import pack_model
from santacoder.sources.packed import PackedCache

HOLD = """
import sys, santacoder
with santacoder.load(sys.argv[1], int(sys.argv[2]), packed=sys.argv[3] == "packed") as model:
    model.complete("def fib(n):", max_tokens=8, temperature=0)
    print("ready", flush=True)
    sys.stdin.read()
"""
PROMPT = "def fib(n):"
KINDS = ("memory", "packed")


def starts(model: str, threads: int, peer: str | None, rounds: int) -> None:
    """Measure the time to the first token."""
    ours = processes.command("santacoder", sys.executable, Path(model), threads)
    assert ours is not None
    programs = {"memory": ours, "packed": [*ours, "--packed"]}
    if peer is not None:
        theirs = processes.command("llama.cpp", peer, Path(model), threads)
        assert theirs is not None
        programs["llama.cpp"] = theirs
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    with TemporaryDirectory() as compiled:  # an installed package is compiled, too
        ours_only = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        for turn in range(rounds + 1):
            for name, program in programs.items():
                environment = {"PYTHONPATH": ""} if name == "llama.cpp" else ours_only
                taken = processes.run([*program, "--max-tokens", "1"], PROMPT, environment).first_byte
                if turn:  # the first round compiles, and fills the page cache
                    seconds[name].append(taken)
    print(f"process start to first token, seconds, median of {rounds} (least to most):")
    for name, found in seconds.items():
        ratio = f"  packed is {median(seconds['packed']) / median(found):.2f} of it" if name != "packed" else ""
        print(f"  {name:10} {median(found):.3f} ({min(found):.3f} to {max(found):.3f}){ratio}")


def memory(model: str, threads: int, file_bytes: int) -> None:
    """Measure the memory of processes that have generated a few tokens."""
    print(f"proportional set size, MB, and over the packed file's {file_bytes / 1e6:.0f} MB:")
    for kind in KINDS:
        for count in (1, 4):
            total = _memory(model, threads, kind, count)
            print(f"  {kind:10} {count} processes: {total / 1e6:7.0f}  {total / file_bytes:.2f}")


def _memory(model: str, threads: int, kind: str, count: int) -> int:
    command = [sys.executable, "-c", HOLD, model, str(threads), kind]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return sum(_kilobytes(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss:") << 10 for process in running)
    finally:
        for process in running:
            process.communicate()


def _kilobytes(path: Path, name: str) -> int:
    return sum(
        int(line.split()[1]) for line in path.read_text("ascii", "replace").splitlines() if line.startswith(name)
    )


def decode(model: str, threads: int, tokens: int, rounds: int) -> None:
    """Measure generation of models that are loaded both ways."""
    loaded = {kind: santacoder.load(model, threads, packed=kind == "packed") for kind in KINDS}
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(rounds + 1):
        for kind in KINDS if turn % 2 else reversed(KINDS):
            begin = perf_counter()
            loaded[kind].complete(PROMPT, max_tokens=tokens, temperature=0, ignore_eos=True, lookup=False)
            if turn:
                rates[kind].append(tokens / (perf_counter() - begin))
    print(f"generation, tokens per second, median of {rounds} (least to most); {_huge_pages()}:")
    for kind, found in rates.items():
        print(f"  {kind:10} {median(found):.2f} ({min(found):.2f} to {max(found):.2f})")
    pairs = [a / b for a, b in zip(rates["packed"], rates["memory"], strict=True)]
    print(f"  packed over memory {median(pairs):.3f} ({min(pairs):.3f} to {max(pairs):.3f})")
    for each in loaded.values():
        each.close()


def _huge_pages() -> str:
    """Say how much of the mapped file this process sees in huge pages."""
    mapping = Path("/proc/self/smaps").read_text("utf-8", "replace").partition(".panels\n")[2].partition("VmFlags")[0]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in mapping.splitlines() if line.endswith("kB")}
    huge = sizes["FilePmdMapped"] + sizes["ShmemPmdMapped"]
    return f"{huge / sizes['Size']:.0%} of the file lie in huge pages"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has llama-cpp-python")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=48, help="tokens of each generation")
    parser.add_argument("--only", choices=("start", "memory", "decode"), action="append")
    args = parser.parse_args(argv)
    begin = perf_counter()
    packed = pack_model(args.model, PackedCache.within(), args.threads)
    print(f"{packed}: packed or found in {perf_counter() - begin:.2f} s")
    parts = args.only or ["start", "memory", "decode"]
    if "start" in parts:
        starts(args.model, args.threads, args.peer, args.rounds)
    if "memory" in parts:
        memory(args.model, args.threads, packed.stat().st_size)
    if "decode" in parts:
        decode(args.model, args.threads, args.tokens, args.rounds)


if __name__ == "__main__":
    main()
