"""Templates of everyday code: files in which each template stands behind `### NAME`, and their random variants.

    $f = add|sum_(two|numbers)     names to choose from; groups in parentheses may nest
    $a,$b = a,b|x,y                several names that are chosen together
    import: import math            a line before the function
    doc: (Return|Compute) the sum of $a and $b.
    def $f($a: int, $b: int) -> int:
        return $a + $b
    --                             another body; the first is taken most often
        return sum(($a, $b))
    test: $f(1, 2) == 3

`<<one|another>>` chooses within code. A template without `def $f(` as its first line of code is a whole text, such as a
class, in which nothing is added.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GROUP = re.compile(r"\(([^()|]*(?:\|[^()|]*)+)\)")
CHOICE = re.compile(r"<<((?:[^<>]|<(?!<)|>(?!>))*)>>")
NAME = re.compile(r"\$(\w+)")
MAIN_BODY = 0.6  # how often the first of several bodies is taken


@dataclass
class Template:
    """What variants are made of."""

    name: str
    names: list[tuple[list[str], str]] = field(default_factory=list)
    docs: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    head: str = ""  # `def ...:`; of a whole text ""
    bodies: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


@dataclass
class Variant:
    """A template with everything chosen."""

    template: str
    names: Mapping[str, str]
    doc: str
    imports: list[str]
    head: str
    body: str
    tests: list[tuple[str, str]]  # expression and value


def choose(text: str, rng: random.Random) -> str:
    """Choose in every group `(a|b)` of a text, the innermost ones first."""
    while True:
        chosen = GROUP.sub(lambda found: rng.choice(found[1].split("|")), text)
        if chosen == text:
            return text
        text = chosen


def choose_in_code(text: str, rng: random.Random) -> str:
    """Choose in every `<<a|b>>` of a text."""
    return CHOICE.sub(lambda found: rng.choice(found[1].split("|")), text)


def read(path: Path) -> list[Template]:
    """Read the templates of a file."""
    return [_parse(block) for block in re.split(r"^### ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]]


def _parse(block: str) -> Template:
    name, *lines = block.rstrip("\n").split("\n")
    template = Template(name)
    code: list[str] = []
    for line in lines:
        defined = re.fullmatch(r"(\$\w+(?:,\$\w+)*) = (.*)", line)
        if defined and not code:
            template.names.append((defined[1].replace("$", "").split(","), defined[2]))
        elif line.startswith("doc: "):
            template.docs.append(line[5:])
        elif line.startswith("import: "):
            template.imports.append(line[8:])
        elif line.startswith("test: "):
            template.tests.append(line[6:])
        else:
            code.append(line)
    bodies = "\n".join(code).strip("\n").split("\n--\n")
    if bodies[0].startswith("def $f(") and template.docs:
        template.head, _, bodies[0] = bodies[0].partition("\n")
    template.bodies = bodies
    return template


def make(template: Template, rng: random.Random) -> Variant:
    """Choose everything."""
    chosen: dict[str, str] = {}
    for names, text in template.names:
        values = choose(f"({text})" if "|" in text else text, rng).split(",")
        chosen |= dict(zip(names, values if len(names) > 1 else [",".join(values)], strict=True))

    def fill(text: str) -> str:
        return NAME.sub(lambda found: chosen.get(found[1], found[0]), text)

    main = len(template.bodies) == 1 or rng.random() < MAIN_BODY
    body = template.bodies[0] if main else rng.choice(template.bodies[1:])
    doc = fill(choose(rng.choice(template.docs), rng)) if template.docs else ""
    tests = [tuple(fill(test).rsplit(" == ", 1)) for test in template.tests]
    return Variant(
        template.name, chosen, doc, template.imports, fill(template.head), fill(choose_in_code(body, rng)),
        [(test[0], test[-1]) for test in tests],
    )  # fmt: skip
