"""Build wheels for all platforms on one machine, with zig as the compiler, and check them.

Needs the packages of the extra "wheels": ziglang, build, wheel, twine and abi3audit.

    python tools/wheels.py --out dist              # all
    python tools/wheels.py --out dist musl-x86_64  # some
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from abi3info import DATAS, FUNCTIONS
from abi3info.models import PyVersion
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).parents[1]
SOURCES = ("LICENSE", "MANIFEST.in", "README.md", "csrc", "pyproject.toml", "setup.py", "src", "tools")
#: Of all files in a wheel, so that equal sources give equal bytes; zip files hold no time before 1980.
EPOCH = "1577836800"
MOST_BYTES = 12_000_000
OLDEST_PYTHON = PyVersion(3, 10)
#: Of manylinux2014.
MOST_GLIBC = (2, 17)


@dataclass(frozen=True, slots=True)
class Target:
    """A platform.

    Attributes:
        zig: the compiler's name for it.
        host: Python's name for it, as of `sysconfig.get_platform()`.
        tags: in the wheel's name.
        link: further arguments to link with.
        needs: the shared libraries that the extension may need, for Linux.
        compiler: in place of zig, which then only links. clang, which zig is, spills registers in loops of Q5_K and of
            AMX, where gcc does not (`make asm-check`), so gcc compiles where its objects can be linked.
    """

    zig: str
    host: str
    tags: str
    link: tuple[str, ...] = ("-Wl,--as-needed",)
    needs: frozenset[str] = frozenset()
    compiler: str | None = None


def _macos(zig: str, host: str) -> Target:
    # Without a name of its own the library would hold the path of the folder where it was built.
    link = ("-Wl,-undefined,dynamic_lookup", "-Wl,-install_name,@rpath/_native.abi3.so")
    return Target(zig, host, host.replace("-", "_").replace(".", "_"), link)


GLIBC = frozenset({"libc.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
MUSL = frozenset({"libc.so"})
TARGETS = {
    "linux-x86_64": Target(
        "x86_64-linux-gnu.2.17",
        "linux-x86_64",
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        needs=GLIBC,
        compiler="gcc",
    ),
    "linux-aarch64": Target(
        "aarch64-linux-gnu.2.17", "linux-aarch64", "manylinux_2_17_aarch64.manylinux2014_aarch64", needs=GLIBC
    ),
    "musl-x86_64": Target("x86_64-linux-musl", "linux-x86_64", "musllinux_1_2_x86_64", needs=MUSL),
    "musl-aarch64": Target("aarch64-linux-musl", "linux-aarch64", "musllinux_1_2_aarch64", needs=MUSL),
    "macos-arm64": _macos("aarch64-macos.11.0", "macosx-11.0-arm64"),
    "macos-x86_64": _macos("x86_64-macos.10.15", "macosx-10.15-x86_64"),
    "windows-x86_64": Target("x86_64-windows-gnu", "win-amd64", "win_amd64", ()),
}


def main() -> None:
    """Build the wheels that the arguments name."""
    parser = argparse.ArgumentParser(description="Build wheels for all platforms, and check them.")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the wheels (default: dist)")
    parser.add_argument("--twice", action="store_true", help="build each twice, and check that the bytes are equal")
    args = parser.parse_args()
    unknown = [name for name in args.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)} (there are {', '.join(TARGETS)})")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.targets or TARGETS:
        start = time.monotonic()
        wheel = build(TARGETS[name], args.out)
        print(f"{wheel.name}: {wheel.stat().st_size} bytes, {time.monotonic() - start:.0f} s, {digest(wheel)}")
        check(wheel, TARGETS[name])
        if args.twice:
            with tempfile.TemporaryDirectory() as again:
                if digest(build(TARGETS[name], Path(again))) != digest(wheel):
                    raise SystemExit(f"{wheel.name}: a second build has other bytes")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(target: Target, out: Path) -> Path:
    """Build the wheel of a target from a copy of the sources, so that no leftover of another build gets in."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "source")
        copy.mkdir()
        for name in SOURCES:
            _copy(ROOT / name, copy / name)
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target.zig]
        link = list(target.link)
        if target.host.startswith("win"):
            windows = Path(folder, "windows")
            shutil.copytree(sysconfig.get_path("include"), windows)  # where Python.h finds Windows' pyconfig.h first
            shutil.copy(ROOT / "tools" / "windows" / "pyconfig.h", windows)
            compiler.append(f"-I{windows}")
            link.append(f"-L{_import_library(windows)}")
            link.append(f"-Wl,--out-implib,{windows / 'native.lib'}")  # else it is made in the package
        environment = {
            **os.environ,
            "SOURCE_DATE_EPOCH": EPOCH,
            "_PYTHON_HOST_PLATFORM": target.host,
            "CC": target.compiler or shlex.join(compiler),
            "LDSHARED": shlex.join([*compiler, "-shared", "-s", *link]),
            "CFLAGS": "",
            "LDFLAGS": "",
        }
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(copy)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{target.zig}: the build fails\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        (built,) = Path(folder).glob("*.whl")
        command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", target.tags, str(built)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        (tagged,) = Path(folder).glob("*.whl")
        return Path(shutil.copy(tagged, out))


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, to)


def _import_library(folder: Path) -> Path:
    """Write libpython3.a, which says what Windows' python3.dll exports, and return its folder."""
    names = [str(entry.symbol.name) for entry in FUNCTIONS.values() if entry.added <= OLDEST_PYTHON]
    names += [f"{entry.symbol.name} DATA" for entry in DATAS.values() if entry.added <= OLDEST_PYTHON]
    exports = folder / "python3.def"
    exports.write_text("LIBRARY python3.dll\nEXPORTS\n" + "".join(f"{name}\n" for name in sorted(names)))
    command = ["dlltool", "-m", "i386:x86-64", "-d", str(exports), "-l", str(folder / "libpython3.a")]
    subprocess.run([sys.executable, "-m", "ziglang", *command], check=True)
    return folder


def check(wheel: Path, target: Target) -> None:
    """Check a wheel: its size, its metadata, the interfaces of Python and of the system that it uses.

    Raises:
        SystemExit: it fails a check; the message says which.
    """
    size = wheel.stat().st_size
    if size >= MOST_BYTES:
        raise SystemExit(f"{wheel.name} has {size} bytes, but {MOST_BYTES} are the limit")
    for command in (["twine", "check", "--strict"], ["abi3audit", "--strict"]):
        done = subprocess.run([sys.executable, "-m", *command, str(wheel)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{wheel.name}: {command[0]} fails\n{done.stdout}{done.stderr}")
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(wheel, folder, "zip")
        module = "_native.pyd" if target.host.startswith("win") else "_native.abi3.so"
        extension = Path(folder, "santacoder", module)
        binaries = [
            path.name for pattern in ("*.so", "*.pyd", "*.dll", "*.lib") for path in Path(folder).rglob(pattern)
        ]
        if binaries != [module]:
            raise SystemExit(f"{wheel.name} holds {', '.join(binaries) or 'no extension'}, not just {module}")
        if target.needs:
            check_elf(extension, target.needs)


def check_elf(extension: Path, needs: frozenset[str]) -> None:
    """Check what an extension for Linux asks of the system.

    Raises:
        SystemExit: it needs another library, or a glibc that is too new.
    """
    with extension.open("rb") as file:
        elf = ELFFile(file)
        found = {tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        versions = elf.get_section_by_name(".gnu.version_r")
        names = {entry.name for _, entries in versions.iter_versions() for entry in entries} if versions else set()
    if found - needs:
        raise SystemExit(f"{extension.name} needs {', '.join(sorted(found - needs))}")
    for name in names:
        release = tuple(map(int, name.removeprefix("GLIBC_").split(".")))
        if release > MOST_GLIBC:
            raise SystemExit(f"{extension.name} needs {name}, but manylinux2014 has {'.'.join(map(str, MOST_GLIBC))}")


if __name__ == "__main__":
    main()
