"""The native part of the build; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import PlatformError

ADVICE = "on Debian and Ubuntu: apt-get install gcc libc6-dev python3-dev"
#: For Windows, also where another system compiles for it.
WINDOWS = sysconfig.get_platform().startswith(("win", "mingw"))
#: What each C file of the extension needs beside our own headers.
PROBE = f"#include <stdlib.h>\n#include <{'windows' if WINDOWS else 'pthread'}.h>\n#include <Python.h>\n"
#: One file serves all versions from 3.10 on, but a Python without a global lock has no such interface before 3.15.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info >= (3, 15)


def check_compiler() -> None:
    """Check that the C compiler is there and finds the headers of the system and of Python.

    Raises:
        PlatformError: something is missing; the message is one sentence.
    """
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")  # setuptools' own choice
    if shutil.which(command[0]) is None:
        raise PlatformError(
            f"santacoder has a part in C, but the C compiler {command[0]!r} is not there: install it, or name another "
            f"with the environment variable CC ({ADVICE})"
        )
    includes = {sysconfig.get_path(name) for name in ("include", "platinclude")}
    probe = [*command, *(f"-I{folder}" for folder in includes), "-E", "-o", os.devnull, "-x", "c", "-"]
    done = subprocess.run(probe, input=PROBE, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
        raise PlatformError(f"santacoder has a part in C, but {command[0]!r} cannot compile it: {said} ({ADVICE})")


def side_by_side(compiler: Any, jobs: int) -> Callable[..., list[str]]:
    """Return the method `compile` of a compiler, with `jobs` files at a time.

    The method raises the first file's error, once all compilations that have begun are over.
    """

    def compile(*args: Any, **options: Any) -> list[str]:
        one, running = compiler._compile, list[Future[None]]()
        with ThreadPoolExecutor(jobs) as pool:
            compiler._compile = lambda *file: running.append(pool.submit(one, *file))
            try:
                objects: list[str] = whole(*args, **options)
                for job in running:
                    job.result()
            finally:
                compiler._compile = one
                pool.shutdown(cancel_futures=True)
        return objects

    whole = compiler.compile
    return compile


class Build(build):  # type: ignore[misc]
    """Checks the compiler before anything is copied."""

    def run(self) -> None:
        """Check, and build."""
        check_compiler()
        super().run()


class BuildExtension(build_ext):  # type: ignore[misc]
    """Compiles the C files side by side: `--parallel` at a time, or as many as there are CPUs."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the extension's path in the package; Windows' name for it is setuptools' only on Windows."""
        path = Path(super().get_ext_filename(fullname))
        return str(path.with_name(f"{path.name.partition('.')[0]}.pyd") if WINDOWS else path)

    def build_extensions(self) -> None:
        """Check, since this command may run by itself, and build."""
        check_compiler()
        if self.compiler.compiler_type == "msvc":
            raise PlatformError(
                "santacoder has a part in C that Microsoft's compiler cannot compile: use a GCC or a clang, as in "
                'CC="python -m ziglang cc" (from the package ziglang), with build_ext --compiler=mingw32'
            )
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.compiler.compile = side_by_side(self.compiler, self.parallel or cpus)
        super().build_extensions()


class Wheel(bdist_wheel):  # type: ignore[misc]
    """Adds the bill of materials, `.dist-info/sboms/santacoder.cdx.json`."""

    def write_wheelfile(self, wheelfile_base: str, *args: Any, **options: Any) -> None:
        """Write it beside the wheel's own description."""
        super().write_wheelfile(wheelfile_base, *args, **options)
        folder = Path(wheelfile_base, "sboms")
        folder.mkdir()
        text = runpy.run_path("tools/sbom.py")["sbom"](self.distribution.get_version())
        (folder / "santacoder.cdx.json").write_text(text, encoding="utf-8", newline="\n")


class SourceDistribution(sdist):  # type: ignore[misc]
    """Packs the same files to the same bytes."""

    def make_archive(self, base_name: str, format: str, root_dir: Any = None, base_dir: str = "", **_: Any) -> str:
        """Write the .tar.gz; it is the only format."""
        target = f"{base_name}.tar.gz"
        runpy.run_path("tools/source_archive.py")["write_archive"](Path(root_dir or ".", base_dir), Path(target))
        return target


setup(
    cffi_modules=["src/santacoder/_build.py:ffi"],
    cmdclass={"build": Build, "build_ext": BuildExtension, "bdist_wheel": Wheel, "sdist": SourceDistribution},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if ABI3 else {},
    zip_safe=False,
)
