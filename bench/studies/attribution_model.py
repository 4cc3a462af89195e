"""What a model repeats: `python bench/studies/attribution_model.py MODEL INDEX CORPUS [--prompts 200]`.

CORPUS is what tools/tiny/corpus.py writes, and INDEX an index of its training files. Completes starts and middles of
training files and starts of held-out ones, at temperatures 0 and 0.8, and prints for how many completions a span stands
verbatim in the index: of at least 40 generated lexemes, of 65, and of 40 that are not common; and how many go on in
their own file (40 lexemes in all, 16 of them generated).
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import santacoder
from santacoder.attribution.generated import EnclosingText, generated_lexemes

LETTERS = 300  # of a prompt
TOKENS = 128


def prompts(corpus: Path, names: str, count: int, *, middle: bool) -> Iterator[tuple[str, str]]:
    """Yield paths and prompts of files of Python."""
    source = random.Random(1)
    paths = [line for line in (corpus / names).read_text().splitlines() if line.endswith(".py")]
    while count:
        path = source.choice(paths)
        text = (corpus / "files" / path).read_bytes().decode("utf-8", "replace")
        if len(text) >= 3 * LETTERS:
            at = source.randrange(LETTERS, len(text) - LETTERS) if middle else 0
            yield path, text[at : at + LETTERS]
            count -= 1


def count_matches(index: santacoder.AttributionIndex, path: str, prompt: str, text: str) -> Counter[str]:
    """Count what one completion repeats."""
    found = EnclosingText().matches(index, text)
    around = EnclosingText(prompt).matches(index, text)
    return Counter(
        {
            "40": any(match.lexemes >= 40 for match in found),
            "65": any(match.lexemes >= 65 for match in found),
            "not common": any(not match.common for match in found),
            "own file": any(
                path.endswith(source.path) and generated_lexemes(text, match) >= 16
                for match in around
                if not match.common
                for source in match.sources
            ),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("index")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    arguments = parser.parse_args()
    with santacoder.load(arguments.model) as model, santacoder.AttributionIndex.open(arguments.index) as index:
        for names, middle in (("train.txt", False), ("train.txt", True), ("heldout.txt", False)):
            for temperature in (0, 0.8):
                given = list(prompts(arguments.corpus, names, arguments.prompts, middle=middle))
                texts = model.complete_many(
                    [prompt for _, prompt in given], max_tokens=TOKENS, temperature=temperature, seed=1
                )
                total: Counter[str] = Counter()
                for (path, prompt), [completion] in zip(given, texts, strict=True):
                    total += count_matches(index, path, prompt, completion.text)
                shares = ", ".join(
                    f"{name} {100 * total[name] / len(given):.1f}%" for name in ("40", "65", "not common", "own file")
                )
                print(f"{names} {'middles' if middle else 'starts'}, temperature {temperature}: {shares}", flush=True)


if __name__ == "__main__":
    main()
