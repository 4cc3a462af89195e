"""Mutation testing: bugs seeded in the reader and in the kernels' edge cases; our tests have to fail for each.

`python bench/soak/seeded_bugs.py [NAME...]` works on a copy of the checkout, with the tools and packages of its tests.
The exit status is 1 if a bug was not caught.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READER = ("tests/gguf/test_damage.py", "tests/gguf/test_malformed.py")
KERNELS = ("tests/kernels/test_kernels.py",)
PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider")
SECONDS = 300  # for the tests of one bug


@dataclass(frozen=True)
class Bug:
    """A replacement in the code, which must match once, and the tests that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def native(self) -> bool:
        """Whether the extension must be built again; the tests of kernels compile their own."""
        return self.file.startswith("csrc/") and self.tests != KERNELS


BUGS = (
    Bug(
        "a header may end one byte late",
        "src/santacoder/gguf/cursor.py",
        "if n_bytes > self.size - start:",
        "if n_bytes > self.size - start + 1:",
        READER,
    ),
    Bug(
        "counts are not bounded by what remains",
        "src/santacoder/gguf/cursor.py",
        "room = (self.size - self.pos) // item_bytes",
        "room = 1 << 70",
        READER,
    ),
    Bug(
        "a tensor may end past the file",
        "src/santacoder/gguf/reader.py",
        "if info.offset > available or info.n_bytes > available - info.offset:",
        "if info.offset > available:",
        READER,
    ),
    Bug(
        "tensors may overlap",
        "src/santacoder/gguf/reader.py",
        "if info.offset != expected:",
        "if info.offset > expected:",
        READER,
    ),
    Bug(
        "a part of a split model is taken for another",
        "src/santacoder/gguf/split.py",
        "if found != number:",
        "if False:",
        READER,
    ),
    Bug(
        "only one token ends a text",
        "src/santacoder/text/tokenizer.py",
        "by_key = [metadata.integer(key, 0, last) for key in _END_KEYS]",
        "by_key = [None for key in _END_KEYS]",
        ("tests/text/test_end_tokens.py",),
    ),
    Bug(
        "rows need no whole blocks",
        "src/santacoder/gguf/reader.py",
        "if dims[0] % found.block:",
        "if dims[-1] % found.block and False:",
        READER,
    ),
    Bug(
        "infinite scales are loaded",
        "src/santacoder/engine/weights.py",
        "if status == lib.SC_NOT_FINITE:",
        "if status == -1:",
        READER,
    ),
    Bug(
        "infinite minima are loaded",
        "csrc/pack.c",
        "return finite_f16(d) & finite_f16(dmin);",
        "return finite_f16(d);",
        READER,
    ),
    Bug(
        "merges are not looked up before they are used",
        "src/santacoder/text/tokenizer.py",
        "if not all(map(vocabulary.__contains__, results)):",
        "if False:",
        ("tests/process/test_fuzz_findings.py", "tests/gguf/test_malformed.py"),
    ),
    Bug(
        "a change of the file goes unnoticed",
        "src/santacoder/gguf/reader.py",
        "if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):",
        "if False:",
        ("tests/gguf/test_reader.py",),
    ),
    Bug(
        "softmax reads past its end",
        "csrc/body/vocabulary.h",
        "memcpy(tail, x + i, (n - i) * sizeof *tail);",
        "memcpy(tail, x + i, sizeof tail);",
        KERNELS,
    ),
    Bug(
        "padding counts in the variance",
        "csrc/body/norm.h",
        "if (n - i < 16) {",
        "if (n - i < 15) {",
        KERNELS,
    ),
    Bug(
        "the last columns are taken for a whole block",
        "csrc/body/linear_float.h",
        "const size_t n = columns - k < SC_SUPERBLOCK ? columns - k : SC_SUPERBLOCK;",
        "const size_t n = SC_SUPERBLOCK;",
        KERNELS,
    ),
    Bug(
        "one key of the future is seen",
        "csrc/body/attention.h",
        "for (int j = visible; j < SC_KV_BLOCK; j++)",
        "for (int j = visible + 1; j < SC_KV_BLOCK; j++)",
        KERNELS,
    ),
    Bug(
        "one group of the padding is multiplied",
        "csrc/body/linear_gemv.h",
        "if (format == SC_Q8_0 && u >= spans) break;",
        "if (format == SC_Q8_0 && u > spans) break;",
        KERNELS,
    ),
    Bug(
        "logits end at a whole panel",
        "csrc/linear.c",
        "n = width - row < SC_PAIR ? width - row : SC_PAIR;",
        "n = width - row < SC_PAIR ? width - row - 1 : SC_PAIR;",
        ("tests/engine/test_forward.py", "-k", "vocabulary"),
    ),
    Bug(
        "a token is drawn from logits without a number",
        "csrc/sampling.c",
        "if (max == -INFINITY) return 0;",
        "",
        ("tests/decoding/test_sampler.py", "tests/process/test_changing_files.py"),
    ),
)


def copy(folder: Path) -> None:
    """Copy the files that git tracks or would add, and the built extension."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    built = [str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.so")]
    for name in [*filter(None, listed.stdout.split("\0")), *built]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def run(folder: Path, *arguments: str) -> bool:
    """Return whether a Python program succeeds in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def build(folder: Path) -> bool:
    """Compile the extension in the copy."""
    return run(folder, "setup.py", "-q", "build_ext", "--inplace")


def caught(folder: Path, bug: Bug) -> bool:
    """Return whether the tests fail with the bug; the copy is restored afterwards.

    Raises:
        ValueError: the code to replace is gone, or does not compile with the bug.
    """
    path = folder / bug.file
    text = path.read_text(encoding="utf-8")
    if bug.old not in text:
        raise ValueError(f"{bug.file} no longer holds {bug.old!r}: write the bug {bug.name!r} anew")
    try:
        path.write_text(text.replace(bug.old, bug.new, 1), encoding="utf-8")
        if bug.native and not build(folder):
            raise ValueError(f"{bug.name}: the extension cannot be built with it")
        return not run(folder, *PYTEST, *bug.tests)
    finally:
        path.write_text(text, encoding="utf-8")
        if bug.native:
            build(folder)


def try_all(
    bugs: tuple[Bug, ...], report: Callable[[Bug, bool], None], stop: Callable[[], bool] = lambda: False
) -> tuple[int, int]:
    """Return how many were tried and how many caught; `stop` is called before each."""
    tried = found = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        if not build(folder):
            raise ValueError("the extension cannot be built in a copy of the checkout")
        sound: set[tuple[str, ...]] = set()
        for bug in bugs:
            if stop():
                break
            if bug.tests not in sound and not run(folder, *PYTEST, *bug.tests):
                raise ValueError(f"{' '.join(bug.tests)} fails without any bug")
            sound.add(bug.tests)
            result = caught(folder, bug)
            tried, found = tried + 1, found + result
            report(bug, result)
    return tried, found


def main() -> None:
    """Try the bugs named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Seed bugs in a copy and see whether the tests notice.")
    parser.add_argument("names", nargs="*", help="parts of the names of the bugs to try")
    names = parser.parse_args().names
    chosen = tuple(bug for bug in BUGS if not names or any(name in bug.name for name in names))
    tried, found = try_all(
        chosen, lambda bug, result: print(f"{'caught' if result else 'MISSED':<7} {bug.name}", flush=True)
    )
    print(f"{found} of {tried} caught")
    sys.exit(found != tried or not tried)


if __name__ == "__main__":
    main()
