"""Finds spans that were planted: `python bench/studies/attribution.py INDEX CORPUS [--seeds 5] [--spans 200]`.

INDEX is an index of the folders of CORPUS (made with --renamed for the last row), one repository each, as
`santacoder attribute index INDEX CORPUS/*` makes it. Spans of 40 to 120 lexemes are cut out of files, changed, and put
into completions of the packaged model. Prints how many are found, by what was changed, and whether all reported spans
are true: each must be in the file that is named, white space aside. Spans of hardly any variety are not planted.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import santacoder
from santacoder.attribution.boilerplate import LEAST_VARIETY
from santacoder.attribution.lexemes import MAX_TEXT, Lexemes, split

SUFFIXES = (".py", ".js", ".mjs", ".cjs", ".jsx", ".java")
PROMPTS = (
    "def main():\n",
    "import os\n",
    "class Reader:\n",
    "function f(x) {\n",
    "public class A {\n",
    "for i in range(",
)


def renamed(span: str, source: random.Random) -> str:
    """Give each name another, the same everywhere."""
    names: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        word = found[0]
        if split(word.encode()).hashes == split(word.encode(), renamed=True).hashes:  # a keyword
            return word
        return names.setdefault(word, f"v{len(names)}_{source.randrange(1000)}")

    return re.sub(r"(?<![\w$])[A-Za-z_$][\w$]*", other, span)


def changed_lexemes(span: str, n: int, source: random.Random) -> str:
    """Change every n-th lexeme."""
    lexemes = split(span.encode())
    offset = source.randrange(n)
    out, at = [], 0
    for number in range(offset, len(lexemes), n):
        end = lexemes.end(number)
        out += [lexemes.text[at : int(lexemes.starts[number])], b"changed%d" % number]
        at = end
    return (b"".join(out) + lexemes.text[at:]).decode()


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "none": lambda span, source: span,
    "indented": lambda span, source: re.sub("(?m)^", " " * source.choice((1, 2, 4, 8)), span),
    "tabs": lambda span, source: re.sub("(?m)^( +)", lambda found: "\t" * (len(found[0]) // 2 + 1), span),
    "CRLF": lambda span, source: span.replace("\r\n", "\n").replace("\n", "\r\n"),
    "every 40th lexeme": lambda span, source: changed_lexemes(span, 40, source),
    "every 25th lexeme": lambda span, source: changed_lexemes(span, 25, source),
    "all names": renamed,
}
LONG = {"every 40th lexeme": 100, "every 25th lexeme": 100, "all names": 100}  # lexemes that are planted


def planted(files: list[Path], source: random.Random, least: int) -> Iterator[tuple[Path, str, Lexemes]]:
    """Yield files, each with a span of at least so many lexemes."""
    while True:
        path = source.choice(files)
        data = path.read_bytes()
        if len(data) > MAX_TEXT or b"\r" in data:
            continue
        lexemes = split(data)
        length = source.randrange(least, max(least + 1, 120))
        if len(lexemes) < length:
            continue
        first = source.randrange(len(lexemes) - length + 1)
        part = lexemes.part(first, first + length)
        try:
            span = part.decode()
        except UnicodeDecodeError:
            continue
        if len(set(split(part).hashes.tolist())) >= LEAST_VARIETY:
            yield path, span, lexemes


def squeezed(text: str) -> str:
    return "".join(text.split())


def is_true(corpus: Path, text: str, match: santacoder.Match) -> bool:
    """Whether the span is in each file that is named, white space aside; of renamed spans, whether the lines exist."""
    span = squeezed(text[match.start : match.end])
    for found in match.sources:
        path = Path(found.repository) / found.path
        data = path.read_bytes().decode("utf-8", "replace")
        lines = "".join(re.split("(?<=\n)", data)[found.start_line - 1 : found.end_line])
        if found.kind == "renamed":
            if not lines:
                return False
        elif span not in squeezed(lines):
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("corpus", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--spans", type=int, default=200)
    arguments = parser.parse_args()
    files = sorted(
        path for folder in arguments.corpus for path in folder.resolve().rglob("*") if path.suffix in SUFFIXES
    )
    index = santacoder.AttributionIndex.open(arguments.index)
    with santacoder.load() as model:
        fill = [
            model.complete(prompt, max_tokens=48, seed=seed, temperature=0.8).text
            for seed in range(10)
            for prompt in PROMPTS
        ]
    counts: dict[str, Counter[str]] = {name: Counter() for name in CHANGES}
    seconds: list[float] = []
    false = 0
    for seed in range(1, arguments.seeds + 1):
        for name, change in CHANGES.items():
            source = random.Random(f"{seed} {name}")
            spans = planted(files, source, LONG.get(name, 40))
            for _ in range(arguments.spans):
                path, span, _ = next(spans)
                before, after = source.choice(fill), source.choice(fill)
                made = change(span, source)
                text = f"{before}\n{made}\n{after}"
                begin = time.perf_counter()
                matches = index.find(text, 20 if "lexeme" in name else 40)
                seconds.append(time.perf_counter() - begin)
                low, high = len(before), len(before) + len(made) + 2
                inside = [match for match in matches if match.start < high and match.end > low]
                named = any(
                    str(path) == f"{place.repository}/{place.path}" for match in inside for place in match.sources
                )
                counts[name]["found"] += bool(inside)
                counts[name]["own file named"] += named
                counts[name]["common"] += bool(inside) and all(match.common for match in inside)
                counts[name]["planted"] += 1
                if not inside and name == "none":
                    print("missed", path, repr(span))
                wrong = [match for match in matches if not is_true(path, text, match)]
                false += len(wrong)
                counts[name]["reported"] += len(matches)
                for match in wrong[:1]:
                    print("false", match)
    for name, count in counts.items():
        print(f"{name:20}", dict(count), f"{count['found'] / count['planted']:.4f}")
    seconds.sort()
    median, p95 = (seconds[int(len(seconds) * part)] * 1e3 for part in (0.5, 0.95))
    print(f"false {false}; median {median:.2f} ms, p95 {p95:.2f} ms")


if __name__ == "__main__":
    main()
