"""What guesses save, counted without running the model at each step: `python bench/studies/guesses.py WHAT`.

    files       the rest of 200 files of 20 projects, taken as the model's answer: the file's own text as the source of
                guesses, and with the project's other files; and the memory of an index of all of them
    keys        600 keys typed into files of these projects, with answers of 8 tokens by the packaged model: without and
                with earlier answers
    plot        both, drawn into docs/explanation/guesses.svg
    automaton   bytes and matches of a suffix automaton, which finds every longest run, against those of the hashes

"tokens" are tokens a step, "speed" is that over the cost of the steps, in steps of one row. Costs are those of a 2-core
Zen 4 with the full-size model, and of other machines; `--costs 1:1,2:1.02,4:1.1` adds this machine's, as `santacoder
bench` prints them. The projects are wheels of pypi.org, which pip downloads once into `--folder`. Speeds of the running
model are those of `scheduling.py lookup`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

import santacoder
from santacoder.decoding.answers import new_answers
from santacoder.decoding.drafting import Drafter, Guessing, Source
from santacoder.decoding.guess_lengths import curve
from santacoder.decoding.guess_store import GuessStore, Match
from santacoder.decoding.options import SamplingOptions
from santacoder.gguf.reader import GGUFFile
from santacoder.project.index import MOST_TOKENS
from santacoder.text.token_ids import TokenIds
from santacoder.text.tokenizer import Tokenizer

PROJECTS: Final = (
    "networkx==3.4.2", "flask==3.1.0", "werkzeug==3.1.3", "jedi==0.19.2", "docker==7.1.0", "hypothesis==6.123.2",
    "requests==2.32.3", "click==8.1.8", "jinja2==3.1.5", "pytest==8.3.4", "sqlalchemy==2.0.36", "django==5.1.4",
    "scrapy==2.12.0", "httpx==0.28.1", "rich==13.9.4", "pydantic==2.10.4", "sympy==1.13.3", "tornado==6.4.2",
    "twisted==24.11.0", "pip==24.3.1",
)  # fmt: skip
FILES: Final = 10  # held out of each project
INDEXED: Final = 150  # most other files of a project that are indexed
PROMPT: Final = 1000  # tokens of a file before the answer, at most half of it
ANSWER: Final = 300  # tokens
KEYS: Final = 600
ROOT: Final = Path(__file__).parents[2]
VOCABULARY: Final = ROOT / "tests/data/ggml-vocab-starcoder.gguf"
PLOT: Final = ROOT / "docs/explanation/guesses.svg"
FORMER: Final = "version 0.1"

#: What the plot shows, by what it copies from.
WORKLOADS: Final = {
    "own text": "the rest of a file",
    "project": "the same, with the project's files",
    "keys, answers": "keys, with earlier answers",
}

#: Milliseconds or anything proportional, by rows of a step.
COSTS: Final[dict[str, dict[int, float]]] = {
    "Zen 4": {1: 20.3, 2: 18.7, 4: 22.0, 8: 39.0, 16: 73.0},
    "AMX": {1: 1.0, 2: 1.0, 4: 1.1, 8: 1.35, 16: 1.9},
}


class FixedCosts:
    """The costs of a machine."""

    looking = 0.0

    def __init__(self, known: Mapping[int, float]) -> None:
        self.curve: Sequence[float] = curve(known)


def add_text(store: GuessStore, token_ids: TokenIds) -> None:
    """Add a text of its own."""
    store.add(token_ids)
    store.end_text()


class ThreeTokens:
    """Drafts as version 0.1 made them: from behind the last three tokens, 3 to 15, with rests after failures."""

    def __init__(self) -> None:
        self._ends: dict[bytes, int] = {}  # behind the latest place of each three tokens
        self._entered, self._length, self._failures, self._resting = 3, 3, 0, 0

    def propose(self, token_ids: TokenIds, most: int) -> TokenIds:
        """Return at most `most` tokens that may follow."""
        if self._resting:
            self._resting -= 1
            return token_ids[:0]
        for end in range(self._entered, token_ids.size):
            self._ends[token_ids[end - 3 : end].tobytes()] = end
        self._entered = max(self._entered, token_ids.size)
        place = self._ends.get(token_ids[-3:].tobytes(), token_ids.size)
        return token_ids[place : place + min(self._length, most)]

    def learn(self, proposed: int, right: int) -> None:
        """Adapt to the result of a draft."""
        self._length = min(2 * self._length + 1, 15) if right == proposed else max(right + 1, 3)
        self._failures = 0 if right else self._failures + 1
        self._resting = min(2**self._failures - 1, 64)


class Tally:
    """Counts steps, of drafts as they are made now or, with `former`, as version 0.1 made them."""

    def __init__(self, costs: Mapping[int, float], former: bool = False) -> None:
        self.guessing, self._former = Guessing(FixedCosts(costs)), former
        self.tokens = self.steps = 0
        self.cost = 0.0

    def take(self, prompt: TokenIds, answer: TokenIds, gap: int | None = None, sources: Sequence[Source] = ()) -> None:
        """Write an answer, all of whose tokens but the first take steps."""
        ids = np.concatenate([prompt, answer])
        now = Drafter(self.guessing.beside(*sources), prompt.size, ids.size, gap)
        drafter = ThreeTokens() if self._former else now
        known = prompt.size + 1
        self.tokens += ids.size - known
        while known < ids.size:
            most = ids.size - known - 1
            draft = drafter.propose(ids[:known], most) if most else ids[:0]
            wrong = np.flatnonzero(draft != ids[known : known + draft.size])
            right = int(wrong[0]) if wrong.size else draft.size
            if draft.size:
                drafter.learn(draft.size, right)
            known += right + 1
            self.steps += 1
            self.cost += self.guessing.costs.curve[draft.size + 1]

    @property
    def line(self) -> dict[str, float]:
        """What was found."""
        return {"tokens": round(self.tokens / self.steps, 3), "speed": round(self.tokens / self.cost, 3)}


def download(folder: Path) -> None:
    """Download the projects that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if len([*folder.glob("*.whl")]) < len(PROJECTS):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *PROJECTS], check=True
        )


def starcoder() -> Tokenizer:
    """Return the tokenizer of the full-size model."""
    with GGUFFile.open(VOCABULARY) as file:
        return Tokenizer.from_gguf(file, 49152)


def projects(folder: Path, tokenizer: Tokenizer) -> Iterator[tuple[str, list[TokenIds], list[TokenIds]]]:
    """Yield the name of each project, the files that are held out, and others."""
    download(folder)
    for wheel in sorted(folder.glob("*.whl"), key=lambda path: path.name.lower()):
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".py"))
            random.Random(0).shuffle(names)
            held: list[TokenIds] = []
            others: list[TokenIds] = []
            for name in names:
                ids = np.array(tokenizer.encode(archive.read(name).decode("utf-8", "replace")), dtype=np.int32)
                if len(held) < FILES and ids.size >= 700:
                    held.append(ids)
                elif ids.size and len(others) < INDEXED:
                    others.append(ids)
                if len(held) == FILES and len(others) == INDEXED:
                    break
        yield wheel.name.split("-")[0], held, others


def files(folder: Path, costs: Mapping[str, Mapping[int, float]]) -> Iterator[dict[str, object]]:
    """Yield the figures of the rest of files."""
    kinds = FORMER, "own text", "project"
    tallies = {(name, where): Tally(each, where == FORMER) for name, each in costs.items() for where in kinds}
    whole, most = GuessStore("project", MOST_TOKENS), 0
    for project, held, others in projects(folder, starcoder()):
        index = GuessStore("project", 1 << 24)
        for ids in others:
            add_text(index, ids)
            add_text(whole, ids)
            most = max(most, len(whole))
        for ids in held:
            start = min(PROMPT, ids.size // 2)
            for (_, where), tally in tallies.items():
                sources = [index] if where == "project" else []
                tally.take(ids[:start], ids[start : start + ANSWER], sources=sources)
        each = round(index.n_bytes / len(index), 1)
        print(f"{project}: {len(held)} files, index of {len(index)} tokens, {each} bytes a token", file=sys.stderr)
    for (name, where), tally in tallies.items():
        yield {"costs": name, "source": where, **tally.line}
    yield {"most tokens of an index": most, "MB": round(whole.n_bytes / 1e6, 1)}


def typed(folder: Path, model: santacoder.SantaCoder) -> Iterator[tuple[int, TokenIds, TokenIds]]:
    """Yield the text's number, the prompt and the answer of each key: lines are typed where they stood in a file."""
    options: SamplingOptions = {"max_tokens": 8, "temperature": 0.2, "seed": 1}
    count = 0
    for number, (_, held, _) in enumerate(projects(folder, model.tokenizer)):
        text = model.tokenizer.decode(held[0][:1200])
        lines = text.splitlines(keepends=True)
        at = len(lines) // 2
        before, line, after = "".join(lines[:at]), "", "".join(lines[at + 4 :])
        with_session = model.session()
        for key in "".join(lines[at : at + 4])[: KEYS // len(PROJECTS)]:
            line += key
            sequence = with_session._infilling(before + line, after, "auto", False, options)
            answer = with_session._finish(sequence)
            yield number, sequence.prompt, np.array(answer.tokens, dtype=np.int32)
            count += 1
    print(count, "keys", file=sys.stderr)


def keys(folder: Path, costs: Mapping[str, Mapping[int, float]]) -> Iterator[dict[str, object]]:
    """Yield the figures of keys: each answer's first token comes from the prompt's step."""
    with santacoder.load() as model:
        recorded = [*typed(folder, model)]
    for name, each in costs.items():
        for where in (FORMER, "own text", "answers"):
            tally, answers, last = Tally(each, where == FORMER), new_answers(), -1
            for number, prompt, answer in recorded:
                if number != last:
                    answers, last = new_answers(), number
                tally.take(prompt, answer, sources=[answers] if where == "answers" else [])
                add_text(answers, np.concatenate([prompt[-16:], answer]))
            yield {"costs": name, "source": f"keys, {where}", **tally.line}


def plot(folder: Path, costs: Mapping[str, Mapping[int, float]]) -> Iterator[dict[str, object]]:
    """Draw tokens per second with drafts and without, of the workloads; yield all figures."""
    found: dict[object, float] = {}
    for line in chain(files(folder, costs), keys(folder, costs)):
        if line.get("costs") == "Zen 4":
            found[line["source"]] = float(str(line["speed"]))
        yield line
    PLOT.write_text(draw({name: found[source] for source, name in WORKLOADS.items()}), encoding="utf-8")


def draw(speeds: Mapping[str, float]) -> str:
    """Return an SVG with bars of tokens per second, given the speeds over those without drafts."""
    without = 1000 / COSTS["Zen 4"][1]
    scale = 480 / (without * max(speeds.values()))  # pixels for a token per second
    rows, y = [], 44
    for name, speed in speeds.items():
        rows.append(f'<text x="220" y="{y + 24}" text-anchor="end">{name}</text>')
        for rate, colour in ((without, "#bbbbbb"), (without * speed, "#4477aa")):
            width = round(scale * rate)
            rows.append(f'<rect x="230" y="{y}" width="{width}" height="17" fill="{colour}"/>')
            rows.append(f'<text x="{236 + width}" y="{y + 13}">{rate:.0f}</text>')
            y += 20
        y += 14
    for x, name, colour in ((230, "without drafts", "#bbbbbb"), (360, "with drafts", "#4477aa")):
        rows.append(f'<rect x="{x}" y="{y + 2}" width="13" height="13" fill="{colour}"/>')
        rows.append(f'<text x="{x + 19}" y="{y + 13}">{name}</text>')
    title = "Tokens per second with drafts and without, in three workloads"
    head = f'viewBox="0 0 760 {y + 24}" width="760" height="{y + 24}" font-family="sans-serif" font-size="13"'
    body = "\n".join(rows)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {head}>
<title>{title}</title>
<rect width="760" height="{y + 24}" fill="white"/>
<text x="230" y="24" font-weight="bold">Tokens per second, 2-core Zen 4, full-size model</text>
{body}
</svg>
"""


class Automaton:
    """A suffix automaton of a growing text (Blumer et al. 1985); each state has its newest place."""

    def __init__(self) -> None:
        self.next: list[dict[int, int]] = [{}]
        self.link, self.longest, self.newest = [-1], [0], [0]
        self.text: list[int] = []
        self._last = 0

    def add(self, token: int) -> None:
        """Add a token."""
        self.text.append(token)
        state, at = self._new({}, self.longest[self._last] + 1), self._last
        while at >= 0 and token not in self.next[at]:
            self.next[at][token] = state
            at = self.link[at]
        if at < 0:
            self.link[state] = 0
        else:
            to = self.next[at][token]
            if self.longest[to] == self.longest[at] + 1:
                self.link[state] = to
            else:
                copy = self._new(dict(self.next[to]), self.longest[at] + 1)
                self.link[copy], self.newest[copy] = self.link[to], self.newest[to]
                while at >= 0 and self.next[at].get(token) == to:
                    self.next[at][token] = copy
                    at = self.link[at]
                self.link[to] = self.link[state] = copy
        self._last = state

    def _new(self, following: dict[int, int], longest: int) -> int:
        self.next.append(following)
        self.link.append(-1)
        self.longest.append(longest)
        self.newest.append(len(self.text))
        return len(self.next) - 1

    def end_text(self) -> None:
        """Note the newest place of every state's run that ends here."""
        at = self._last
        while at > 0:
            self.newest[at] = len(self.text)
            at = self.link[at]

    def find(self, token_ids: TokenIds) -> Match | None:
        """Return the newest place behind the longest run that the tokens end with and that a token follows."""
        state = length = 0
        for token in token_ids.tolist():
            while state and token not in self.next[state]:
                state = self.link[state]
                length = self.longest[state]
            if token in self.next[state]:
                state, length = self.next[state][token], length + 1
        while state and not self.next[state]:
            state = self.link[state]
            length = self.longest[state]
        return Match(self.newest[state], length) if state else None


def automaton(folder: Path, costs: Mapping[str, Mapping[int, float]]) -> Iterator[dict[str, object]]:
    """Yield what an index of one project's files takes, and the lengths of the runs that are found in it."""
    _, held, others = next(projects(folder, starcoder()))
    store, states = GuessStore("project", 1 << 24), Automaton()
    for ids in others:
        add_text(store, ids)
        for token in ids.tolist():
            states.add(token)
            states.end_text()
        states._last = 0
    n, arrows = len(states.text), sum(map(len, states.next))
    #: A state in C: link, longest, newest; an arrow: state, token, target in a hash table that is at most 3/4 full.
    least = (4 * n + 12 * len(states.next) + 12 * arrows * 4 / 3) / n
    queries = [ids[max(end - 16, 0) : end] for ids in held for end in range(1, min(ids.size, 600))]
    found = [[each.find(query) for query in queries] for each in (store, states)]
    lengths = [sum(match.length for match in row if match) / len(queries) for row in found]
    yield {"tokens": n, "bytes a token": {"hashes": round(store.n_bytes / n, 1), "automaton": round(least, 1)},
           "mean run": {"hashes": round(lengths[0], 2), "automaton": round(lengths[1], 2)}}  # fmt: skip


def parse_costs(text: str) -> dict[int, float]:
    """Return the costs that "1:1,2:1.02" stands for."""
    return {int(rows): float(cost) for rows, cost in (each.split(":") for each in text.split(","))}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["files", "keys", "plot", "automaton"])
    parser.add_argument("--folder", type=Path, default=Path("build/projects"), help="of wheels (default: %(default)s)")
    parser.add_argument("--costs", type=parse_costs, help="of this machine")
    arguments = parser.parse_args()
    costs = COSTS | ({"this machine": arguments.costs} if arguments.costs else {})
    for line in globals()[arguments.what](arguments.folder, costs):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
