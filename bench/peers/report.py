"""Saves results as data (results.json) and as a report (RESULTS.md)."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers.engines import Values
from bench.peers.workloads import Work

HEAD = """# Speed beside other engines

In each round every engine does every work once, in changing order, and the others wait. Figures are medians over the
rounds. A ratio is our figure over the other engine's: the median over the rounds, with the least and the most in
brackets. Engines that read no GGUF run random weights of the same shape. The raw values are in results.json. To measure
again:

    python bench/make_model.py santacoder.gguf
    python bench/compare.py santacoder.gguf
"""


@dataclass
class Section:
    """The results of one invocation of `compare.py` or `plot.py`, and the machine."""

    title: str
    command: str
    date: str
    machine: dict[str, str]
    model: str
    megabytes: int
    rounds: int
    engines: dict[str, dict[str, str]]  # versions by name, ours first
    values: dict[str, Values]  # by the number of threads

    @classmethod
    def of(
        cls,
        arguments: argparse.Namespace,
        title: str,
        command: Sequence[str],
        engines: dict[str, dict[str, str]],
        values: dict[str, Values],
    ) -> Section:
        """Make a section with today's date and this machine; `arguments` are those of `engines.add_arguments`."""
        return cls(
            title=title,
            command=shown_command(command),
            date=datetime.date.today().isoformat(),
            machine=machine(),
            model=arguments.model.name,
            megabytes=round(arguments.model.stat().st_size / 1e6),
            rounds=arguments.rounds,
            engines=engines,
            values=values,
        )


def machine() -> dict[str, str]:
    """Return the processor, memory and operating system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.platform(terse=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": name,
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{system}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def shown_command(arguments: Sequence[str]) -> str:
    """Return the command line without the folders, which are this machine's."""
    names = [re.sub(r"(^|=)/.*/", r"\1", argument) for argument in arguments]
    return shlex.join(["python", "bench/" + names[0], *names[1:]])


def save(section: Section, folder: Path, append: bool) -> str:
    """Write both files, after their present contents if `append`, and return the report."""
    path = folder / "results.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if append and path.exists() else []
    sections = [Section(**fields) for fields in kept] + [section]
    text = "\n".join([HEAD, *map(render, sections)])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(each) for each in sections], indent=1) + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")
    return text


def render(section: Section) -> str:
    """Return a section of RESULTS.md."""
    about = section.machine
    names = list(section.engines)
    lines = [
        f"## {section.title}",
        "",
        f"{about['processor']}, {about['cores']} cores, {about['memory']}; {about['system']}; "
        f"Python {about['python']}. {section.model}, {section.megabytes} MB. "
        f"Threads: {', '.join(section.values)}, rounds: {section.rounds}, {section.date}.",
        "",
        f"    {section.command}",
        "",
    ]
    if len(section.values) > 1:
        lines += [scaling_table(names, section.values), ""]
    else:
        [values] = section.values.values()
        rates = {name: of for name, of in values.items() if not Work.parse(name).of_process}
        rest = {name: of for name, of in values.items() if Work.parse(name).of_process}
        if rates:
            lines += [table("tokens per second, more is better", names, rates), ""]
        if rest:
            lines += [table("a process of its own, less is better", names, rest), ""]
    lines += [
        f"- {name}: {', '.join(f'{key} {value}' for key, value in of.items())}" for name, of in section.engines.items()
    ]
    return "\n".join(lines) + "\n"


def table(title: str, names: Sequence[str], values: Values) -> str:
    """Return a table of medians per engine, and of ours over each peer's, by round; the first name is ours."""
    ours, *peers = names
    rows = [[title, *names, *(f"ratio to {peer}" for peer in peers)]]
    for work, by_engine in values.items():
        medians = [figure(statistics.median(by_engine[name])) if name in by_engine else "-" for name in names]
        ratios = [ratio(by_engine[ours], by_engine[peer]) if peer in by_engine else "-" for peer in peers]
        rows.append([Work.parse(work).label, *medians, *ratios])
    return markdown(rows)


def scaling_table(names: Sequence[str], by_threads: dict[str, Values]) -> str:
    """Return a table of medians per number of threads, and their multiples of the first column."""
    first, *_ = by_threads.values()
    rows = [["threads", "", *by_threads]]
    for work in first:
        for name in names:
            if name not in first[work]:
                continue
            medians = [statistics.median(values[work][name]) for values in by_threads.values()]
            cells = [f"{figure(median)} ({median / medians[0]:.2f}x)" for median in medians]
            rows.append([Work.parse(work).label, name, *cells])
    return markdown(rows)


def figure(value: float) -> str:
    """Format a value with four digits, or with one decimal if it has more before the point."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Format the median of the ratios within rounds, and their range."""
    quotients = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(quotients):.2f} ({min(quotients):.2f}-{max(quotients):.2f})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))
