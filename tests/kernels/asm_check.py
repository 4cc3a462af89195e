"""Counts the vector registers that the hot loops of the kernels spill, and fails where there are too many.

    asm_check.py isa_avx2.o isa_avx512.o ...

A hot loop is one with multiplications that holds no smaller such loop. A spill is a vector store to the
stack inside one: the kernels themselves store nothing there, while loads from the stack also read unpacked
weights and tell nothing. LIMITS bounds spills per multiplication over all hot loops of a function.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = re.compile(r"linear_\w+|attend$")
MULTIPLY = re.compile(r"(\{vex\} )?v(pdpbusd|pmaddubsw|fn?madd\d+ps)\b")
SPILL = re.compile(r"vmov\w+ +%[xyz]mm\d+,-?(0x)?[0-9a-f]*\(%r[sb]p\)")
JUMP = re.compile(r"j\w+ +([0-9a-f]+) ")
#: 32 registers hold a whole tile. With 16, and two for each vector of 16 lanes, the loops over one superblock
#: spill some; a tile that does not fit spills more often than it multiplies.
LIMITS = {"isa_avx512": 0.1, "isa_avx2": 1.0, "isa_avxvnni": 1.0}


@dataclass(frozen=True)
class Count:
    """The hot loops of one function."""

    loops: int
    multiplications: int
    spills: int

    @property
    def ratio(self) -> float:
        """Spills per multiplication."""
        return self.spills / max(1, self.multiplications)


def functions(path: Path) -> Iterator[tuple[str, dict[int, str]]]:
    """Name and instructions by address of each hot function in an object file."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for part in text.split("\n\n"):
        head, *lines = part.strip().splitlines()
        name = re.fullmatch(r"[0-9a-f]+ <(\w+)>:", head)
        if name and FUNCTIONS.match(name[1]):
            pairs = (line.split(":", 1) for line in lines)
            yield name[1], {int(address, 16): code.strip() for address, code in pairs}


def count(code: dict[int, str]) -> Count:
    """What the hot loops hold."""
    jumps = [(int(found[1], 16), at) for at, line in code.items() if (found := JUMP.match(line))]
    multiplications = [at for at, line in code.items() if MULTIPLY.match(line)]
    loops = {loop for loop in jumps if any(loop[0] <= at <= loop[1] for at in multiplications)}
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    hot = [[line for at, line in code.items() if first <= at <= last] for first, last in inner]
    lines = [line for body in hot for line in body]
    return Count(len(hot), sum(map(bool, map(MULTIPLY.match, lines))), sum(map(bool, map(SPILL.match, lines))))


def main(paths: list[str]) -> int:
    """Print one line per function; 1 when one is over the limit."""
    failed = 0
    print(f"{'object':<14} {'function':<14} {'loops':>5} {'multiplications':>15} {'spills':>6}  ratio")
    for path in map(Path, paths):
        for name, code in functions(path):
            result = count(code)
            over = result.ratio > LIMITS[path.stem]
            failed += over
            verdict = f"  over {LIMITS[path.stem]}" if over else ""
            columns = f"{result.loops:>5} {result.multiplications:>15} {result.spills:>6}"
            print(f"{path.stem:<14} {name:<14} {columns}  {result.ratio:.2f}{verdict}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
