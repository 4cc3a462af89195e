"""Counts the vector registers that the hot loops of the kernels spill, and fails where there are too many.

It also fails where the name of a function does not end with its instruction set: debuggers and profilers show it.

    asm_check.py [--all] isa_avx2.o isa_avx512.o ...

A hot loop is one with HOT multiplications or more that holds no smaller such loop. A vector store to the stack
inside one is a spill: the kernels themselves store nothing there. A load from a place that the same loop stores to
is a reload. Other loads from the stack are of constants that found no register, or of unpacked weights, and cost no
more than any operand in memory. LIMITS bounds stores and reloads per multiplication in every single loop that has
more than FREE. Loops that spill nothing are listed only with --all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = re.compile(r"(linear|attend)_\w+")
MULTIPLY = re.compile(r"(\{vex\} )?v(pdpbusd|pdpwssd|pmaddubsw|pmaddwd|pmullw|fn?madd\d+ps)\b")
STORE = re.compile(r"vmov\w+ +%[xyz]mm\d+,(-?(?:0x)?[0-9a-f]*\(%r[sb]p\))")
LOAD = re.compile(r"(?:\{vex\} )?v\w+ +(?:\$\w+,)?(-?(?:0x)?[0-9a-f]*\(%r[sb]p\)),")
JUMP = re.compile(r"j\w+ +([0-9a-f]+) ")
#: What the worst loop of each needs. With 16 registers, and two for each vector of 16 lanes, a tile's sums lie in
#: memory: a load and a store per group of 32 columns. With 32, few tokens keep the six-bit factors of a superblock
#: there, eight stores. On tile registers Q5_K is unpacked where 16 tokens are added up, and of one or two a factor is
#: kept.
LIMITS = {"isa_avx512": 0.06, "isa_amx": 0.19, "isa_avx2": 0.55, "isa_avxvnni": 0.35}
#: Functions that need more: Q3_K's scales of a superblock are eight vectors; IQ4_NL's table takes a register of 16.
MORE = {"linear_q3_k_avx512": 0.1, "linear_iq4_nl_avxvnni": 0.65}
HOT = 16  # multiplications: the beginning and end of a superblock have fewer
FREE = 3  # stores and reloads in any loop: where a tile has one token, a factor costs as many


@dataclass(frozen=True)
class Loop:
    """One hot loop."""

    address: int
    multiplications: int
    stores: int
    reloads: int

    @property
    def spills(self) -> int:
        """Stores and reloads."""
        return self.stores + self.reloads

    @property
    def ratio(self) -> float:
        """Spills per multiplication."""
        return self.spills / self.multiplications


def functions(path: Path) -> Iterator[tuple[str, dict[int, str]]]:
    """Yield the name, and the instructions by address, of each function in an object file."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for part in text.split("\n\n"):
        head, *lines = part.strip().splitlines()
        name = re.fullmatch(r"[0-9a-f]+ <(\w+)(?:\.\w+)*>:", head)
        if name:
            pairs = (line.split(":", 1) for line in lines)
            yield name[1], {int(address, 16): code.strip() for address, code in pairs}


def hot_loops(code: dict[int, str]) -> Iterator[Loop]:
    """The hot loops of a function, in the order of their addresses."""
    jumps = [(int(found[1], 16), at) for at, line in code.items() if (found := JUMP.match(line))]
    multiplications = [at for at, line in code.items() if MULTIPLY.match(line)]
    loops = {loop for loop in jumps if any(loop[0] <= at <= loop[1] for at in multiplications)}
    for first, last in sorted(loops):
        if any(other != (first, last) and first <= other[0] and other[1] <= last for other in loops):
            continue
        body = [line for at, line in code.items() if first <= at <= last]
        stores = [found[1] for line in body if (found := STORE.match(line))]
        loads = [found[1] for line in body if (found := LOAD.match(line))]
        reloads = sum(place in stores for place in loads)
        count = sum(map(bool, map(MULTIPLY.match, body)))
        if count >= HOT:
            yield Loop(first, count, len(stores), reloads)


def main(arguments: list[str]) -> int:
    """Print one line per loop; 1 when one is over its limit."""
    paths = [Path(argument) for argument in arguments if argument != "--all"]
    failed = 0
    print(f"{'object':<12} {'function':<20} {'loop at':>8} {'multiplications':>15} {'stores':>6} {'reloads':>7}  ratio")
    for path in paths:
        isa = path.stem.removeprefix("isa_")
        for name, code in functions(path):
            if not name.endswith(f"_{isa}"):
                print(f"{path.stem:<12} {name}: the name does not end with _{isa}")
                failed += 1
            for loop in hot_loops(code) if FUNCTIONS.match(name) else ():
                limit = MORE.get(name, LIMITS[path.stem])
                over = loop.spills > max(FREE, limit * loop.multiplications)
                failed += over
                if not (over or loop.stores or "--all" in arguments):
                    continue
                counts = f"{loop.multiplications:>15} {loop.stores:>6} {loop.reloads:>7}  {loop.ratio:.2f}"
                verdict = f"  over {limit}" if over else ""
                print(f"{path.stem:<12} {name:<20} {loop.address:>8x} {counts}{verdict}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
