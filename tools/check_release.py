"""Checks that a tag, the version and the changelog agree: `python tools/check_release.py v0.1.0`.

The tag has to be "v" and the version of src/santacoder/_version.py, and the changelog's first section has to be that
version's, with a date: `## 0.1.0 (2026-11-30)`. Prints that section, the text of the release; or, with the status 1,
what disagrees.
"""

from __future__ import annotations

import re
import runpy
import sys
from datetime import date
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_VERSION: Final = re.compile(r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:(?:a|b|rc)\d+)?")
_HEADING: Final = re.compile(r"## (\S+) \((.*)\)")


def release_notes(tag: str, version: str, changelog: str) -> str:
    """Return the changelog's text about a version.

    Raises:
        ValueError: tag, version and changelog disagree; the message says how.
    """
    if not _VERSION.fullmatch(version):
        raise ValueError(f"the version is {version!r}, but it must be like 0.1.0 or 0.1.0rc1")
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag!r}, but the version {version} needs the tag 'v{version}'")
    _, *sections = re.split(r"^(?=## )", changelog, flags=re.MULTILINE)
    if not sections:
        raise ValueError("the changelog has no section: it must begin with that of the version")
    title, _, text = sections[0].partition("\n")
    heading = _HEADING.fullmatch(title)
    if heading is None or heading[1] != version:
        raise ValueError(f"the changelog begins with {title!r}, but it must begin with '## {version} (YYYY-MM-DD)'")
    try:
        date.fromisoformat(heading[2])
    except ValueError:
        raise ValueError(
            f"the changelog has {heading[2]!r} as the date of {version}, but it must be YYYY-MM-DD"
        ) from None
    if not text.strip():
        raise ValueError(f"the changelog says nothing about {version}")
    return text.strip() + "\n"


def main(tag: str, root: Path = ROOT) -> int:
    """Check the tag against the files of `root`."""
    version = runpy.run_path(str(root / "src" / "santacoder" / "_version.py"))["__version__"]
    try:
        notes = release_notes(tag, version, (root / "CHANGELOG.md").read_text(encoding="utf-8"))
    except ValueError as error:
        print(f"not a release: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(notes)
    return 0


if __name__ == "__main__":
    [tag] = sys.argv[1:]
    sys.exit(main(tag))
