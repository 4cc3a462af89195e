"""Uses a wheel in Debian systems of its own, as somebody who has just got it. Needs root and mmdebstrap.

    python tools/debian.py start WHEEL FOLDER  # seconds to the first completion, without a compiler
    python tools/debian.py start WHEEL FOLDER bookworm --peer llama-cpp-python==0.3.36
    python tools/debian.py tests WHEEL FOLDER forky tests/process  # all tests or some, on that system's Python

The systems are made in FOLDER, half a gigabyte each, and used again by a second run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
SUITES: Final = ("bookworm", "trixie", "forky")
PYTHON: Final = ("python3-venv",)
COMPILER: Final = ("gcc", "g++", "libc6-dev", "make", "python3-dev")
#: Beside Python and a compiler, what tests skip for want of.
TOOLS: Final = ("binutils", "curl", "fish", "git", "procps", "util-linux", "zsh")
PROMPT: Final = "def add(a, b):"
PEER_PROGRAM: Final = """
import sys
from llama_cpp import Llama
print(Llama(sys.argv[1], verbose=False)(sys.argv[2], max_tokens=32, temperature=0)["choices"][0]["text"])
"""


class System:
    """A Debian system in a folder, in which commands are run."""

    def __init__(self, folder: Path, suite: str, packages: Sequence[str]) -> None:
        """Make the system, unless it is there."""
        self.root = folder
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            making = folder.with_name(f"{folder.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            # Debian's coming release says every week until when its lists are valid, and mirrors may lag behind.
            dates = '--aptopt=Acquire::Check-Valid-Until "false"'
            include = f"--include={','.join(packages)}"
            command = ["mmdebstrap", "--quiet", "--variant=minbase", dates, include, suite, str(making)]
            # Below the folder it mounts even /dev/shm of this machine: if it is killed, that must not stay there.
            subprocess.run(["unshare", "--mount", *command], check=True)
            making.rename(folder)

    def run(self, *command: str, output: int | None = None) -> str:
        """Run a command as root of the system, and return what of its output is kept.

        Raises:
            subprocess.CalledProcessError: it fails; what it wrote to its standard error has been passed on.
        """
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
        environment |= {name: value for name in ("PIP_INDEX_URL", "PIP_CERT") if (value := os.environ.get(name))}
        if certificates := environment.get("PIP_CERT"):
            self.put(Path(certificates), certificates)
        self.put(Path("/etc/resolv.conf"), "/etc/resolv.conf")
        inside = 'mount -t proc proc "$0/proc" && exec chroot "$0" sh -c \'cd && exec "$@"\' - "$@"'
        whole = ["unshare", "--mount", "sh", "-c", inside, str(self.root), *command]
        done = subprocess.run(whole, env=environment, check=True, stdout=output, text=True)
        return (done.stdout or "").strip()

    def put(self, path: Path, place: str) -> None:
        """Copy a file or a folder into the system."""
        target = self.root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            ignored = shutil.ignore_patterns(".git", "src", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")
            shutil.copytree(path, target, ignore=ignored)
        else:
            shutil.copy(path, target)

    def environment(self, name: str) -> None:
        """Make an empty virtual environment."""
        self.run("rm", "-rf", name)
        self.run("python3", "-m", "venv", name)


def start(wheel: Path, folder: Path, suites: Sequence[str], peer: str | None) -> None:
    """Print, for each system, the seconds from an empty environment to the first completion."""
    print("| Debian | Python, glibc | `pip install` | `selftest` | first completion | both | of CPU |")
    print("|---|---|---|---|---|---|---|")
    for suite in suites:
        system = System(folder / suite, suite, PYTHON)
        assert not list(system.root.glob("usr/bin/*gcc*")), "there is a compiler"
        system.put(wheel, f"/root/{wheel.name}")
        system.environment("env")
        install = took(system, "env/bin/pip", "install", "-q", "--no-cache-dir", wheel.name)
        check = took(system, "env/bin/santacoder", "selftest")
        first = took(system, "env/bin/santacoder", "complete", PROMPT)
        print_row(system, suite, install, f"{check.wall:.1f} s", first)
        if peer:
            start_peer(System(folder / f"{suite}-compiler", suite, (*PYTHON, *COMPILER)), suite, wheel, peer)


def start_peer(system: System, suite: str, wheel: Path, peer: str) -> None:
    """Print the same of another package, which is built from its sources, on the model in our wheel."""
    system.environment("peer")
    name = peer.partition("==")[0]
    install = took(system, "peer/bin/pip", "install", "-q", "--no-cache-dir", "--no-binary", name, peer)
    unpacked = system.root / "root" / "wheel"
    shutil.unpack_archive(wheel, unpacked, "zip")
    [model] = unpacked.rglob("*.gguf")
    first = took(system, "peer/bin/python", "-c", PEER_PROGRAM, f"/{model.relative_to(system.root)}", PROMPT)
    print_row(system, f"{suite}, {peer}", install, "", first)


class Seconds(NamedTuple):
    """How long a command took: by the clock, and on all CPUs together."""

    wall: float
    cpu: float


def took(system: System, *command: str) -> Seconds:
    """Run a command without its output, and return how long it took."""
    begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    system.run(*command, output=subprocess.DEVNULL)
    end, total = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(end - begin, total.ru_utime + total.ru_stime - used.ru_utime - used.ru_stime)


def print_row(system: System, name: str, install: Seconds, check: str, first: Seconds) -> None:
    """Print a row of the table, with the versions of the system."""
    ask = (
        "import os, platform; print(platform.python_version(), os.confstr('CS_GNU_LIBC_VERSION').split()[1], sep=', ')"
    )
    versions = system.run("python3", "-c", ask, output=subprocess.PIPE)
    seconds = f"{install.wall:.1f} s | {check} | {first.wall:.1f} s | {install.wall + first.wall:.1f} s"
    print(f"| {name} | {versions} | {seconds} | {install.cpu + first.cpu:.1f} s |", flush=True)


def tests(wheel: Path, folder: Path, suite: str, chosen: Sequence[str]) -> None:
    """Run the tests with the wheel, on the Python of a system that has a compiler, which some tests need."""
    system = System(folder / f"{suite}-tests", suite, (*PYTHON, *COMPILER, *TOOLS))
    system.put(ROOT, "/root/source")
    system.run("mkdir", "-p", "/root/wheels")
    system.put(wheel, f"/root/wheels/{wheel.name}")
    system.run("source/.ci/test-wheel", "/root/wheels", "python3", *chosen)


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description="Use a wheel in Debian systems of its own.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("start", "time the first completion"), ("tests", "run the tests")):
        command = commands.add_parser(name, help=text)
        command.add_argument("wheel", type=Path)
        command.add_argument("folder", type=Path, help="of the systems")
        if name == "start":
            command.add_argument("suites", nargs="*", default=SUITES, help=f"default: {' '.join(SUITES)}")
            command.add_argument("--peer", help="a package to build from its sources and to time, too")
        else:
            command.add_argument("suite")
            command.add_argument("tests", nargs=argparse.REMAINDER, help="of pytest (default: tests)")
    args = parser.parse_args()
    folder = args.folder.resolve()
    if args.command == "start":
        start(args.wheel, folder, args.suites, args.peer)
    else:
        tests(args.wheel, folder, args.suite, args.tests)


if __name__ == "__main__":
    main()
