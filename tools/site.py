"""Lays the documents out as the source of the site: `python tools/site.py FOLDER`, which `make docs` gives to Sphinx.

The documents are written to be read in the repository, too. This makes of them what Sphinx needs: pages that lie beside
docs/ get a place on the site, links follow them, and the page docs/index.md becomes the table of contents. A link to a
file that is not a page becomes a download; one to a folder becomes its text.

A comment `<!-- sphinx`, directives of reStructuredText, `-->` is invisible in the repository and run on the site. All
other comments are dropped.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
INDEX: Final = "docs/index.md"

#: Pages whose files do not lie in docs/, with their places on the site.
BESIDE: Final = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "SECURITY.md": "project/security.md",
    "bench/README.md": "project/benchmarks.md",
    "bench/results/RESULTS.md": "project/results.md",
    "examples/README.md": "examples.md",
}

_FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"^<!--( sphinx\n)?(.*?)-->\n?", re.MULTILINE | re.DOTALL)
_ROW: Final = re.compile(r"^\|.*$", re.MULTILINE)
_CODE_OR_LINK: Final = re.compile(r"`[^`\n]*`|(?P<image>!?)\[(?P<label>[^\]]*)\]\((?P<target>[^()\s]+)\)")


def pages() -> dict[str, str]:
    """Return where each document stands on the site, by its path in the repository."""
    within = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    return {path: path.removeprefix("docs/") for path in sorted(within)} | BESIDE


def write(folder: Path) -> None:
    """Write the source of the site into a folder, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, place in pages().items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(path, lambda file: _copy(folder, file)), encoding="utf-8")


def page(path: str, copy: Callable[[str], str]) -> str:
    """Return a document as it stands on the site.

    Args:
        path: its path in the repository.
        copy: called with the path of each file that is not a page and is linked; returns its place on the site.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    if path == INDEX:
        text = with_contents(text)
    here = pages()[path]

    def link(match: re.Match[str]) -> str:
        target, hash, anchor = (match["target"] or "#").partition("#")
        if not target or "://" in target:
            return match[0]
        file = os.path.relpath(ROOT / Path(path).parent / target, ROOT)
        if (ROOT / file).is_dir():
            return match["label"]
        place = os.path.relpath(pages().get(file) or copy(file), Path(here).parent)
        return f"{match['image']}[{match['label']}]({place}{hash}{anchor})"

    return _outside_fences(text, lambda prose: _CODE_OR_LINK.sub(link, _COMMENT.sub(_directives, prose)))


def with_contents(index: str) -> str:
    """Return the index with an invisible table of contents in each section: the pages that it links, tables aside."""
    seen = set[str]()
    parts = re.split(r"^(?=## )", index, flags=re.MULTILINE)
    for number, part in enumerate(parts):
        links = [match["target"] or "" for match in _CODE_OR_LINK.finditer(_ROW.sub("", part))]
        found = [name for name in dict.fromkeys(links) if name.endswith(".md") and name not in seen]
        seen.update(found)
        places = [pages()[os.path.normpath(f"docs/{name}")] for name in found]
        if places:
            title = part.splitlines()[0].removeprefix("## ") if part.startswith("## ") else "Start"
            lines = (f"   {place.removesuffix('.md')}" for place in places)
            parts[number] += "\n<!-- sphinx\n.. toctree::\n   :hidden:\n   :caption: " + title
            parts[number] += "\n\n" + "\n".join(lines) + "\n-->\n\n"
    return "".join(parts)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command, with the backslashes of its help as reStructuredText writes them."""
    from santacoder.cli import make_parser

    parser = make_parser()
    waiting = [parser]
    for each in waiting:
        for action in each._actions:
            action.help = (action.help or "").replace("\\", "\\\\")
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return parser


def _directives(comment: re.Match[str]) -> str:
    return f"```{{eval-rst}}\n{comment[2]}```\n" if comment[1] else ""


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    done, position = [], 0
    for fenced in _FENCED.finditer(text):
        done += [change(text[position : fenced.start()]), fenced[0]]
        position = fenced.end()
    return "".join([*done, change(text[position:])])


def _copy(folder: Path, file: str) -> str:
    place = f"files/{file}"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / file, folder / place)
    return place


if __name__ == "__main__":
    [folder] = sys.argv[1:]
    write(Path(folder))
