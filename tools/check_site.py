"""Checks the links of a built site: `python tools/check_site.py FOLDER`, which `make docs` runs.

Each link to the site's own pages has to lead to a file, and to an element of it where it has an anchor. Prints each
that does not, and has the status 1 if there is one. Links to other sites are not followed.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and where its links and files lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {"", "top"}  # what leads to the top of every page
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the identifier of an element, and its link."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        self.links += [values[name] for name in ("href", "src") if name in values]


@cache
def read(path: Path) -> Page:
    """Read a page."""
    return Page(path.read_text(encoding="utf-8"))


def dead_links(folder: Path) -> list[str]:
    """Return the links that lead nowhere, each after the page that has it."""
    dead = []
    for path in sorted(folder.rglob("*.html")):
        for link in dict.fromkeys(read(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            found = target.is_file() and (target.suffix != ".html" or unquote(parts.fragment) in read(target).anchors)
            if not found:
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


def main(folder: Path) -> int:
    """Print what is found."""
    if not (folder / "index.html").is_file():
        print(f"{folder} has no index.html: it is not a site", file=sys.stderr)
        return 1
    dead = dead_links(folder)
    for line in dead:
        print(f"{line}: leads nowhere")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
