"""Writes the declared sampling options into the texts that list them: `python tools/document_options.py`.

The texts are the arguments in the docstring of `SantaCoder.complete`, which editors read from the source, and the table
of docs/reference/options.md. A test fails if they differ from the declaration, src/santacoder/decoding/options.py.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

from santacoder import model
from santacoder.cli.sampling import flags
from santacoder.decoding.option import Option
from santacoder.decoding.options import OPTIONS

ROOT: Final = Path(__file__).parents[1]
INDENT: Final = " " * 12
WIDTH: Final = 120


def docstring() -> str:
    """Return the arguments as the docstring explains them, indented and wrapped."""
    return "\n".join(
        textwrap.fill(_argument(option), WIDTH, initial_indent=INDENT, subsequent_indent=f"{INDENT}    ")
        for option in OPTIONS.values()
    )


def table() -> str:
    """Return the table in Markdown, one row for each option."""
    rows = ["| keyword | flag | type | default | range | meaning |", "|---|---|---|---|---|---|"]
    for option in OPTIONS.values():
        flag = ", ".join(f"`{name}`" for name in flags(option))
        kind = option.type.replace("|", "\\|")
        cells = (f"`{option.name}`", flag, f"`{kind}`", f"`{option.default!r}`", option.range, _meaning(option))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


#: Each text, the marks before and after the generated part, and the function that generates it.
PLACES: Final = (
    (Path(model.__file__), "is not computed again.\n", "\n\n        Raises:", docstring),
    (ROOT / "docs/reference/options.md", "<!-- made by tools/document_options.py: -->\n", "\n<!-- end -->", table),
)


def rewritten(text: str, before: str, after: str, part: str) -> str:
    """Return a text with `part` between the first `before` and the next `after`.

    Raises:
        ValueError: one of the two is missing.
    """
    start = text.index(before) + len(before)
    return f"{text[:start]}{part}{text[text.index(after, start) :]}"


def _argument(option: Option) -> str:
    limits = f", {option.range}" if option.range else ""
    return f"{option.name} ({option.type} = {option.default!r}{limits}): {_meaning(option)}."


def _meaning(option: Option) -> str:
    unset = f"None is {option.unset}" if option.unset else ""
    return "; ".join(filter(None, (option.help, unset, option.note)))


def main() -> None:
    """Rewrite the generated parts of the texts."""
    for path, before, after, make in PLACES:
        text = path.read_text(encoding="utf-8")
        path.write_text(rewritten(text, before, after, make()), encoding="utf-8")


if __name__ == "__main__":
    main()
