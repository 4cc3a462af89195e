"""What token healing gains: random cursors in code that the model has not seen, with and without it.

    python bench/studies/token_healing.py MODEL FOLDER [--count 1000]

FOLDER holds packages, each in a folder of its own (the wheels of `PACKAGES`, unpacked). A cursor stands after a line
break, in an indentation, within a word, or anywhere; at least 8 characters of its line follow. The model continues the
text before it, or infills with the lines behind it, greedily. Counted are the first 8 characters, the whole rest of the
line, and bits per character of the true rest. The ways differ in what is taken back: nothing; one token; the last
piece; the last piece, with all tokenizations of its bytes weighed by their probability ("beam": continuations only).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import santacoder
from santacoder._util.progress import progress_bar
from santacoder._util.text_file import decode_text
from santacoder.decoding.logprobs import log_softmax
from santacoder.text.healing import take_back
from santacoder.text.infilling import healed_infill_prompt
from santacoder.text.line_breaks import as_lf
from santacoder.text.token_table import TokenTable
from santacoder.text.tokenizer import Tokenizer

#: Packages of PyPI that tools/tiny/sources.json does not name.
PACKAGES = (
    "CherryPy==18.10.0", "backoff==2.2.1", "bottle==0.13.4", "cerberus==1.3.8", "cmd2==4.3.1", "deap==1.4.4",
    "falcon==4.4.0", "funcy==2.1", "peewee==4.5.3", "plumbum==2.0.2", "pyglet==2.1.19", "pyrsistent==0.20.0",
    "schedule==1.2.2", "simpy==4.1.2", "tinydb==4.9.0", "voluptuous==0.16.0",
)  # fmt: skip
KINDS = ("line break", "indentation", "word", "anywhere")
CALLS = ("complete", "spm", "psm")
WAYS = ("off", "one", "piece", "beam")
BEFORE, AFTER = 1000, 500  # characters of context
FIRST = 8  # characters that have to be right
MAX_TOKENS = 48
WIDTH = 8  # of the beam


@dataclass(frozen=True)
class Cursor:
    """A place in a file: what stands before it, the rest of its line, the lines behind it."""

    kind: str
    before: str
    rest: str
    after: str


def places(text: str, kind: str) -> list[int]:
    """All places of a kind."""
    if kind == "line break":
        return [match.end() for match in re.finditer(r"\n(?=[^\n]*\S)", text)]
    if kind == "indentation":
        return [i for m in re.finditer(r"(?<=\n)[ \t]+(?=\S)", text) for i in range(m.start() + 1, m.end() + 1)]
    if kind == "word":
        return [i for match in re.finditer(r"[A-Za-z_]{3,}", text) for i in range(match.start() + 1, match.end())]
    return list(range(1, len(text)))


def choose(texts: Sequence[str], count: int, seed: int) -> list[Cursor]:
    """`count` cursors, as many of each kind; each file counts alike."""
    drawn = random.Random(seed)
    cursors: list[Cursor] = []
    while len(cursors) < count:
        kind, text = KINDS[len(cursors) % len(KINDS)], drawn.choice(texts)
        at = drawn.choice(places(text, kind) or [0])
        end = text.find("\n", at)
        rest = text[at : len(text) if end < 0 else end]
        if at and len(rest.rstrip()) >= FIRST:
            begin = max(at - BEFORE, 0)
            begin = text.find("\n", begin, at) + 1 if begin else 0
            after = text[at + len(rest) :][:AFTER]
            cursors.append(Cursor(kind, text[begin:at], rest, after[: after.rfind("\n") + 1]))
    return cursors


@contextmanager
def rule(way: str) -> Iterator[bool]:
    """Have the library heal in this way; yield whether it is to heal at all."""
    cut = Tokenizer.encode_to_cut

    def one(self: Tokenizer, *arguments: Any, **options: Any) -> tuple[list[int], int]:
        ids, piece = cut(self, *arguments, **options)
        return ids, min(piece, 1)

    with ExitStack() as stack:
        if way == "one":
            stack.enter_context(mock.patch.object(Tokenizer, "encode_to_cut", one))
        yield way != "off"


def write(model: santacoder.SantaCoder, cursor: Cursor, call: str, way: str) -> str:
    """Return what the model writes at a cursor."""
    greedy: dict[str, Any] = {"temperature": 0, "max_tokens": MAX_TOKENS, "stop": "\n"}
    if cursor.rest[:1] in "\n":
        greedy.pop("stop")
    with rule(way) as heals:
        if call == "complete":
            return model.complete(cursor.before, token_healing=heals, **greedy).text
        mode: Any = call
        return model.infill(cursor.before, cursor.after, mode=mode, token_healing=heals, **greedy).text


def log_probabilities(model: santacoder.SantaCoder, ids: Sequence[int], start: int) -> NDArray[np.float64]:
    """Of what may follow each position of `ids` from `start` on: (N, V)."""
    rows = np.concatenate(list(model.iter_logits(list(ids), start)))
    rows[:, list(model.tokenizer.never_sampled)] = -1e30
    return np.stack([log_softmax(row) for row in rows])


def agreeing_ids(table: TokenTable, owed: bytes) -> NDArray[np.intp]:
    """Return the tokens that may come where bytes are owed."""
    found = table.agreeing(owed)
    return np.concatenate([np.flatnonzero((table.ranks >= found.first) & (table.ranks < found.last)), found.shorter])


def ask(model: santacoder.SantaCoder, cursor: Cursor, call: str, way: str, room: int = 2000) -> tuple[list[int], bytes]:
    """Return the prompt that a call makes of a cursor, and the bytes that it owes."""
    tokenizer = model.tokenizer
    with rule(way) as heals:
        if call == "complete":
            ids, piece = tokenizer.encode_to_cut(cursor.before)
            taken, owed = take_back(tokenizer, ids[max(len(ids) - piece, 1) :] if heals else ())
            return ids[: len(ids) - taken], owed
        mode: Any = call
        room = model.context - MAX_TOKENS
        asked = healed_infill_prompt(tokenizer, cursor.before, cursor.after, mode, room, typing=False, heal=heals)
    return asked.token_ids.tolist(), asked.owed


def rest_bits(model: santacoder.SantaCoder, cursor: Cursor, call: str, way: str) -> float:
    """Bits per character that the true rest of the line costs, as far as a completion goes."""
    tokenizer = model.tokenizer
    asked, owed = ask(model, cursor, call, way)
    truth = tokenizer.encode(owed.decode("utf-8", "replace") + cursor.rest)[:MAX_TOKENS]
    characters = len(tokenizer.decode(truth)) - len(owed.decode("utf-8", "replace"))
    total = 0.0
    for token, row in zip(truth, log_probabilities(model, [*asked, *truth[:-1]], len(asked) - 1), strict=True):
        total -= row[token]
        if owed:
            total += float(np.logaddexp.reduce(row[agreeing_ids(tokenizer.table, owed)]))
        owed = owed[len(tokenizer.token_bytes(token)) :]
    return total / math.log(2) / characters


def beam(model: santacoder.SantaCoder, cursor: Cursor) -> tuple[str, int]:
    """Continue the most probable tokenization of the last piece; return the text and the rows that it took to find."""
    tokenizer = model.tokenizer
    ids, piece = tokenizer.encode_to_cut(cursor.before)
    taken = min(piece, len(ids) - 1)
    left = len(ids) - taken
    owed = b"".join(map(tokenizer.token_bytes, ids[left:]))
    spelled = {tokenizer.token_bytes(token): token for token in range(tokenizer.n_tokens)}
    paths: list[tuple[float, list[int], bytes]] = [(0.0, ids[:left], owed)]
    rows = 0
    while any(debt for _, _, debt in paths):
        grown = [path for path in paths if not path[2]]
        for chance, path, debt in paths:
            if debt:
                rows += 1
                [row] = log_probabilities(model, path, len(path) - 1)
                beginnings = [spelled[debt[:n]] for n in range(1, len(debt)) if debt[:n] in spelled]
                allowed = np.unique([*agreeing_ids(tokenizer.table, debt), *beginnings])
                for token in allowed[np.argsort(-row[allowed])[:WIDTH]].tolist():
                    left_over = debt[len(tokenizer.token_bytes(token)) :]
                    grown.append((chance + float(row[token]), [*path, token], left_over))
        paths = sorted(grown, key=lambda path: -path[0])[:WIDTH]
    best = paths[0][1]
    more = model.complete(best, temperature=0, max_tokens=MAX_TOKENS, stop="\n").tokens
    text = b"".join(map(tokenizer.token_bytes, [*best[left:], *more]))[len(owed) :]
    return text.decode("utf-8", "replace"), rows - 1


def measure(model: santacoder.SantaCoder, cursors: Sequence[Cursor], count_bits: int) -> dict[str, Any]:
    """Hits and bits by call, kind and way; bits of the first `count_bits` cursors of each kind."""
    hits: dict[str, Any] = {}
    bits: dict[str, Any] = {}
    rows: list[int] = []
    with progress_bar(len(cursors), "cursors", True) as bar:
        for number, cursor in enumerate(cursors):
            for call in CALLS:
                for way in WAYS if call == "complete" else WAYS[:-1]:
                    if way == "beam":
                        text, more = beam(model, cursor)
                        rows.append(more)
                    else:
                        text = write(model, cursor, call, way)
                    cell = hits.setdefault(call, {}).setdefault(cursor.kind, {}).setdefault(way, [0, 0, 0])
                    line = text.split("\n", 1)[0]
                    cell[0] += line[:FIRST] == cursor.rest[:FIRST]
                    cell[1] += line.rstrip() == cursor.rest.rstrip()
                    cell[2] += 1
            if number < count_bits * len(KINDS):
                for call, way in product(CALLS, WAYS[:-1]):
                    cell = bits.setdefault(call, {}).setdefault(cursor.kind, {}).setdefault(way, [])
                    cell.append(rest_bits(model, cursor, call, way))
            bar.update(1)
    return {"hits": hits, "bits": bits, "rows of the beam": sum(rows) / max(len(rows), 1)}


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    ways: Callable[[str], Sequence[str]] = lambda call: WAYS if call == "complete" else WAYS[:-1]  # noqa: E731
    for call in CALLS:
        for kind in KINDS:
            cells = found["hits"][call][kind]
            parts = [f"{way} {cells[way][0]:4} {cells[way][1]:4}" for way in ways(call)]
            print(f"{call:9} {kind:12} of {cells['off'][2]:4}: {' | '.join(parts)}")
        total = {
            way: [sum(found["hits"][call][kind][way][i] for kind in KINDS) for i in range(3)] for way in ways(call)
        }
        print(f"{call:9} all: {' | '.join(f'{way} {t[0]:4} {t[1]:4}' for way, t in total.items())}")
    for call, kinds in found["bits"].items():
        kinds["all"] = {way: [cost for costs in kinds.values() for cost in costs[way]] for way in WAYS[:-1]}
        for kind, costs in kinds.items():
            means = (f"{way} {np.mean(cost):.2f} ({np.median(cost):.2f})" for way, cost in costs.items())
            print(f"{call:9} bits a character, mean (median), {kind:12}: {' | '.join(means)}")
    print(f"rows that the beam takes: {found['rows of the beam']:.1f}")


def main() -> None:
    """Measure and print; with --json everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--bits", type=int, default=50, help="cursors of each kind whose bits are measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob("*.py"))
    texts = [as_lf(decode_text(path.read_bytes(), str(path))) for path in paths if path.stat().st_size > BEFORE]
    texts = [text for text in texts if text.isascii()]  # others may have a token for each byte
    with santacoder.load(None if arguments.model == "packaged" else arguments.model) as model:
        found = measure(model, choose(texts, arguments.count, arguments.seed), arguments.bits)
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
