"""Read Markdown as readers see it: blocks of code, links, headings.

Two comments tell the tests about the block that follows them:

    <!-- not run: REASON -->    the block cannot run here, or must not
    <!-- prints -->             the block, of the language `text`, is what the block before it prints
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COMMENT: Final = re.compile(r"<!-- (not run: (?P<reason>.+)|(?P<prints>prints)) -->")
_FENCE: Final = re.compile(r"```(?P<language>[\w-]*|\{[\w-]+\})")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_HEADING: Final = re.compile(r"#{1,6} +(.*?) *#*")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        line: number of the first line of the code, from 1.
        language: the word after the fence; "" where there is none.
        code: the lines between the fences.
        not_run: the reason of a comment before it, or None.
        prints: whether a comment says that it is the output of the block before.
    """

    line: int
    language: str
    code: str
    not_run: str | None
    prints: bool


@dataclass(frozen=True)
class Document:
    """A Markdown file, its blocks of code apart from its prose."""

    path: Path
    text: str
    prose: str
    blocks: tuple[Block, ...]

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file.

        Raises:
            ValueError: a block is indented or does not end, or a comment for the tests stands before no block.
        """
        text = path.read_text(encoding="utf-8")
        prose, blocks = _separate(path, text.splitlines())
        return cls(path, text, prose, tuple(blocks))

    @property
    def links(self) -> list[str]:
        """Targets of all links of the prose, in their order."""
        return _LINK.findall(re.sub(r"`[^`\n]*`", "", self.prose))

    @property
    def anchors(self) -> set[str]:
        """The names that GitHub gives to headings: two alike are told apart by a number."""
        found: dict[str, int] = {}
        names = set()
        for line in self.prose.splitlines():
            if heading := _HEADING.fullmatch(line):
                name = _slug(heading[1])
                count = found[name] = found.get(name, -1) + 1
                names.add(f"{name}-{count}" if count else name)
        return names


def _slug(heading: str) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def _separate(path: Path, lines: list[str]) -> tuple[str, list[Block]]:
    prose, blocks = [], []
    comment: re.Match[str] | None = None
    numbered: Iterator[tuple[int, str]] = iter(enumerate(lines, 1))
    for number, line in numbered:
        if fence := _FENCE.fullmatch(line):
            code = _until_fence(path, number, numbered)
            reason, prints = (comment["reason"], bool(comment["prints"])) if comment else (None, False)
            blocks.append(Block(number + 1, fence["language"], code, reason, prints))
            comment = None
            continue
        if line.lstrip().startswith("```"):
            raise ValueError(f"{path}:{number}: the fence is indented, or holds more than a language")
        if comment and line:
            raise ValueError(f"{path}:{number}: {comment[0]} stands before no block of code")
        comment = _COMMENT.fullmatch(line) or comment
        prose.append(line)
    return "\n".join(prose), blocks


def _until_fence(path: Path, start: int, numbered: Iterator[tuple[int, str]]) -> str:
    code: list[str] = []
    for _, line in numbered:
        if line == "```":
            return "".join(f"{each}\n" for each in code)
        code.append(line)
    raise ValueError(f"{path}:{start}: the block does not end")
