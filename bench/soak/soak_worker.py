"""Loads or converts files on request: `soak.py` writes paths, one a line, to the standard input of such a process.

Each answer is a line of JSON: whether the file was loaded or refused, milliseconds, and the peak of the additional
memory in KB. A file that kills the process gets no answer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def santacoder_loader() -> Callable[[str], None]:
    """Return a function that loads a file and generates a token."""
    import santacoder

    def load(path: str) -> None:
        try:
            with santacoder.load(path, threads=1) as model:
                model.complete([0], max_tokens=1, ignore_eos=True)
        except santacoder.NumericalError:
            pass  # it was loaded
        except (santacoder.ModelFormatError, OSError) as error:
            raise RefusedError from error

    return load


def converter() -> Callable[[str], None]:
    """Return a function that converts a folder and loads the result."""
    import santacoder
    from santacoder.conversion.convert import convert

    load = santacoder_loader()

    def convert_and_load(path: str) -> None:
        out = Path(path).with_suffix(".gguf")
        try:
            convert(path, out, force=True, progress=False)
        except (santacoder.ModelFormatError, santacoder.InvalidRequestError, OSError) as error:
            raise RefusedError from error
        try:
            load(str(out))
        except RefusedError as error:
            raise AssertionError("what was converted cannot be loaded") from error

    return convert_and_load


def llama_cpp_loader() -> Callable[[str], None]:
    """Return a function that loads a file with llama-cpp-python."""
    from llama_cpp import Llama

    def load(path: str) -> None:
        try:
            model = Llama(path, n_ctx=32, n_threads=1, verbose=False)
            model.eval([0])
        except Exception as error:
            raise RefusedError from error
        model.close()

    return load


class RefusedError(Exception):
    """The file was refused with a documented exception."""


#: Kind of process -> factory of the function that tries a path.
LOADERS: dict[str, Callable[[], Callable[[str], None]]] = {
    "santacoder": santacoder_loader,
    "converter": converter,
    "llama.cpp": llama_cpp_loader,
}


def memory(field: str) -> int:
    """Return a field of /proc/self/status in KB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{field}:")[1].split()[0])


def main() -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(description="Load files on request.")
    parser.add_argument("kind", choices=LOADERS)
    parser.add_argument(
        "model", help="loaded (or converted) first, so that what is imported on the way counts for no other file"
    )
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps the output of libraries out of the answers
    load = LOADERS[arguments.kind]()
    load(arguments.model)
    print("ready", file=answers)
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
        before, start = memory("VmHWM"), time.perf_counter()
        outcome = "loaded"
        try:
            load(json.loads(line))
        except RefusedError:
            outcome = "refused"
        except Exception as error:  # not a documented exception: a finding
            outcome = type(error).__name__
        milliseconds = (time.perf_counter() - start) * 1e3
        print(json.dumps([outcome, milliseconds, memory("VmHWM") - before]), file=answers)


if __name__ == "__main__":
    main()
