"""Write everyday functions and classes to train on: variants of the templates beside this file.

    python generate.py --count 60000 --out everyday.jsonl --prompts ../../../bench/studies/everyday.jsonl

Each text is executed with its template's tests before it is kept, unless it is Java, and JavaScript by `node`. Texts
are different from each other, and none holds a prompt of the files --prompts or a problem of --humaneval (overlap.py).
A line of the file is an object with "text" and "template".
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import render
import template as templates

from overlap import read_forbidden

FOLDER = Path(__file__).parent
OTHERS = ("javascript", "java")
PYTHON = tuple(sorted({path.stem for path in FOLDER.glob("*.txt")} - {*OTHERS}))
#: How many texts of a hundred are in other languages.
JAVASCRIPT, JAVA = 8, 5
TOGETHER = 0.25  # how often several functions make one text
SECONDS = 1  # of the CPU that a text may take
TRIES = 4  # of a text that was there before


def executed(text: str, tests: list[tuple[str, str]]) -> None:
    """Execute a text, and check what its tests say; an error says which text is wrong."""
    space: dict[str, object] = {"__name__": "__main__", "print": lambda *values: None}
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        exec(compile(text, "everyday", "exec"), space)
        for expression, value in tests:
            found = eval(expression, space)
            assert found == eval(value, space), f"{expression} is {found!r}"
    except Exception as error:
        raise ValueError(f"{error!r} in\n{text}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"over {SECONDS} seconds")


def python_text(all_templates: list[templates.Template], rng: random.Random) -> tuple[str, str]:
    """Return a text that was executed, and the names of its templates."""
    several = rng.random() < TOGETHER
    parts: list[str] = []
    names: list[str] = []
    for chosen in rng.sample(all_templates, rng.randint(2, 3) if several else 1):
        variant = templates.make(chosen, rng)
        if variant.head:
            part = render.function(variant, rng)
            executed(part, variant.tests)
            part += render.tests(variant, rng)
        else:
            part = variant.body + "\n"
            executed(part, variant.tests)
        parts.append(part)
        names.append(variant.template)
    return "\n\n".join(parts), ", ".join(names)


def other_text(all_templates: list[templates.Template], rng: random.Random) -> tuple[str, str, list[tuple[str, str]]]:
    """Return a text in JavaScript or Java, the name of its template, and its tests."""
    variant = templates.make(rng.choice(all_templates), rng)
    doc = render.sentence(variant.doc, rng)
    comments = ["", f"// {doc}\n", f"/** {doc} */\n", f"/**\n * {doc}\n */\n"]
    comment = rng.choices(comments, [1, 2, 1, 2])[0] if doc else ""
    return comment + variant.body + "\n", variant.template, variant.tests


def run_by_node(found: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Execute texts in JavaScript with their tests."""
    cases = [[text, [f"{expression} === {value}" for expression, value in tests]] for text, tests in found]
    program = """
    const { runInNewContext } = require("vm");
    for (const [text, tests] of JSON.parse(require("fs").readFileSync(0)))
      for (const test of tests)
        if (runInNewContext(`${text}\\n${test}`) !== true) throw new Error(`${test} in\\n${text}`);
    """
    subprocess.run(["node", "-e", program], input=json.dumps(cases).encode(), check=True)


def main() -> None:
    """Write the texts, and print how many there are of each template."""
    parser = argparse.ArgumentParser(description="Write variants of the templates of everyday code.")
    parser.add_argument("--count", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, nargs="*", default=[])
    parser.add_argument("--humaneval", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    forbidden = read_forbidden(arguments.prompts, arguments.humaneval)
    python = [template for name in PYTHON for template in templates.read(FOLDER / f"{name}.txt")]
    others = {name: templates.read(FOLDER / f"{name}.txt") for name in OTHERS}
    texts: dict[str, str] = {}
    scripts: list[tuple[str, list[tuple[str, str]]]] = []
    refused, wrong = Counter[str](), list[str]()
    for _ in range(arguments.count):
        kind = rng.randrange(100)
        for _ in range(TRIES):
            if kind < JAVASCRIPT + JAVA:
                language = "javascript" if kind < JAVASCRIPT else "java"
                text, name, tests = other_text(others[language], rng)
                if language == "javascript":
                    scripts.append((text, tests))
            else:
                try:
                    text, name = python_text(python, rng)
                except ValueError as error:  # two names that were chosen are the same
                    wrong.append(str(error))
                    continue
            if text not in texts:
                break
        found = forbidden.first_in(text)
        if found:
            refused[found] += 1
        else:
            texts[text] = name
    run_by_node(scripts)
    with arguments.out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text, "template": name}) + "\n" for text, name in texts.items())
    used = Counter(name for names in texts.values() for name in names.split(", "))
    size = sum(map(len, texts))
    print(f"{len(texts)} texts of {len(used)} templates, {size} characters; refused: {sum(refused.values())}")
    print(f"{len(wrong)} were wrong; the first:\n" + "\n".join(wrong[:5]))
    for found, count in refused.most_common(20):
        print(f"{count:6d}  {found}")


if __name__ == "__main__":
    main()
