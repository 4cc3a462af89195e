"""Where the blocks of a page run: a folder with the files that pages speak of, and the command `santacoder`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

from santacoder.sources.packaged import packaged_model
from tests.support import checkpoint_builder
from tests.support.documents import Block, Document
from tests.support.waiting import HANG

#: Languages of blocks that run; the others are only shown.
RUN = ("python", "console", "sh")


class ReaderDesk:
    """A reader who tries one block of a page after the other."""

    def __init__(self, folder: Path) -> None:
        """Put on the desk: the packaged model by the names of real ones, a checkpoint, and code to calibrate with."""
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}  # what Python blocks of a page have in common
        for name in ("santacoder-q4_k_m.gguf", "santacoder-f16.gguf"):
            (folder / name).symlink_to(packaged_model())
        checkpoint_builder.write_checkpoint(folder / "my-finetune", "fused")
        for name, text in (("a.py", "def add(a, b):\n    return a + b\n"), ("b.py", "import os\n")):
            path = folder / "my-code" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text * 20, encoding="utf-8")
        command = folder / "bin" / "santacoder"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m santacoder "$@"\n')
        command.chmod(0o755)

    def run(self, block: Block, where: str) -> str:
        """Run a block; the current folder must be the desk's.

        Returns:
            What it prints: of a console, its commands too.
        """
        if block.language == "python":
            out = StringIO()
            with redirect_stdout(out):
                exec(compile("\n" * (block.line - 1) + block.code, where, "exec"), self.names)
            return out.getvalue()
        if block.language == "sh":
            return self._shell(block.code)
        lines = block.code.splitlines(keepends=True)
        return "".join(line + self._shell(line[2:]) for line in lines if line.startswith("$ "))

    def close(self) -> None:
        """Close the models that Python blocks left open."""
        for value in self.names.values():
            if hasattr(value, "close"):
                value.close()

    def _shell(self, command: str) -> str:
        env = {**os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
        env.pop("SANTACODER_MODEL", None)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            capture_output=True, text=True, env=env, cwd=self.folder, timeout=HANG, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}{done.stderr}"
        return done.stdout


def runnable(document: Document) -> Iterator[tuple[Block, Block | None]]:
    """Yield the blocks that run, each with the block that says what it prints."""
    for block, after in zip_longest(document.blocks, document.blocks[1:]):
        if block.language in RUN and block.not_run is None:
            yield block, after if after is not None and after.prints else None
