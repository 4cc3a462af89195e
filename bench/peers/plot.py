"""Draws speed against batch size and against depth, measured as in `compare.py`.

    pip install 'santacoder[bench]'
    python bench/peers/plot.py santacoder.gguf

writes speed.json and speed.png. `--redraw` draws what speed.json holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

from bench.peers import engines, report
from bench.peers.workloads import Work

SHARED = 128  # tokens of the prompt that a batch shares
STEPS = 32  # tokens run one by one at a depth
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # safe for colour-blind readers


def numbers(text: str) -> list[int]:
    """Parse numbers separated by commas."""
    return [int(number) for number in text.split(",")]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    engines.add_arguments(parser)
    parser.add_argument("--batches", type=numbers, default="1,2,4,8,16,32,64", help="sizes (default: %(default)s)")
    parser.add_argument("--depths", type=numbers, default="0,256,512,1024,1536,1920", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "results", help="the folder for both files"
    )
    parser.add_argument("--redraw", action="store_true", help="measure nothing")
    return parser


def measure(arguments: argparse.Namespace, command: Sequence[str]) -> report.Section:
    """Measure all batch sizes and depths, with the engines taking turns."""
    batches = [f"batch:{size}x{16 if size <= 16 else 8}@{SHARED}" for size in arguments.batches]
    depths = [f"decode:{STEPS}@{depth}" for depth in arguments.depths]
    works = [Work.parse(name) for name in batches + depths]
    with engines.start_all(arguments, arguments.threads) as running:
        values = engines.interleave(running, works, arguments.rounds)
        versions = {engine.name: engine.versions for engine in running}
    return report.Section.of(arguments, "Speed", command, versions, {str(arguments.threads): values})


def draw(section: report.Section, path: Path) -> None:
    """Draw two panels: medians over the rounds, and the range from the least to the most as a band."""
    [(threads, values)] = section.values.items()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), dpi=150, layout="constrained")
    figure.suptitle(f"{section.model}, {threads} threads, {section.machine['processor']}, {section.date}")
    works = [Work.parse(name) for name in values]
    curves(left, section, {work.sequences: values[work.name] for work in works if work.kind == "batch"})
    left.set_title(f"Many sequences, which share {SHARED} tokens")
    left.set_xscale("log", base=2)
    left.set_xticks(sizes := [work.sequences for work in works if work.kind == "batch"], labels=map(str, sizes))
    left.set_xlabel("sequences decoded together")
    left.set_ylabel("tokens per second, in total")
    curves(right, section, {work.depth: values[work.name] for work in works if work.kind == "decode"})
    right.set_title("One sequence")
    right.set_xlabel("depth (tokens in the context)")
    right.set_ylabel("tokens per second")
    figure.savefig(path)
    plt.close(figure)


def curves(axes: Axes, section: report.Section, by_x: dict[int, dict[str, list[float]]]) -> None:
    """Draw one line for each engine."""
    for name, colour in zip(section.engines, COLOURS, strict=False):
        points = {x: of[name] for x, of in by_x.items() if name in of}
        medians = [statistics.median(rates) for rates in points.values()]
        axes.plot(list(points), medians, marker="o", color=colour, label=name)
        least, most = [min(rates) for rates in points.values()], [max(rates) for rates in points.values()]
        axes.fill_between(list(points), least, most, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, keep the raw values, draw."""
    arguments = make_parser().parse_args(argv)
    raw = arguments.out / "speed.json"
    if arguments.redraw:
        section = report.Section(**json.loads(raw.read_text(encoding="utf-8")))
    else:
        section = measure(arguments, ["peers/plot.py", *(sys.argv[1:] if argv is None else argv)])
        arguments.out.mkdir(parents=True, exist_ok=True)
        raw.write_text(json.dumps(asdict(section), indent=1) + "\n", encoding="utf-8")
    draw(section, arguments.out / "speed.png")


if __name__ == "__main__":
    main()
