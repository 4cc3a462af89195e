"""Compares santacoder with other engines, which take turns, and writes RESULTS.md and results.json.

    python bench/make_model.py santacoder.gguf
    python bench/compare.py santacoder.gguf

compares with whichever of llama.cpp (llama-cpp-python), CTranslate2, transformers and OpenVINO (optimum-intel) this
interpreter can import.
`--peer` adds others: `--peer llama.cpp:avx2=/path/to/python --isa avx2 --title "AVX2 only" --append` adds a section
with the llama.cpp that the other interpreter has installed. `works.py` explains the works.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder of bench and tests

from bench.peers import engines, report
from bench.peers.workloads import Work

WORKS = (
    "prompt:512",
    "prompt:1984",
    "decode:64",
    "decode:64@1536",
    "batch:16x16@128",
    "batch:64x8@128",
    "first-token",
    "memory:512+32",
)
SCALING_WORKS = ("prompt:512", "decode:64", "batch:16x16@128")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    engines.add_arguments(parser)
    parser.add_argument("--works", help=f"works, separated by commas (default: {','.join(WORKS)})")
    parser.add_argument(
        "--threads-scaling",
        metavar="N,N,...",
        help=f"instead of --threads, each of these numbers of threads (default works: {','.join(SCALING_WORKS)})",
    )
    parser.add_argument("--title", help="the section's heading (default: the engines)")
    parser.add_argument("--append", action="store_true", help="keep the sections that the files have")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="the folder for both files")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the results and print them."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    default = SCALING_WORKS if arguments.threads_scaling else WORKS
    try:
        works = [Work.parse(name) for name in (arguments.works.split(",") if arguments.works else default)]
        counts = [int(count) for count in (arguments.threads_scaling or str(arguments.threads)).split(",")]
    except ValueError as error:
        parser.error(str(error))

    values: dict[str, engines.Values] = {}
    versions: dict[str, dict[str, str]] = {}
    for threads in counts:
        with engines.start_all(arguments, threads) as running:
            values[str(threads)] = engines.interleave(running, works, arguments.rounds)
            versions = {engine.name: engine.versions for engine in running}
    command = ["compare.py", *(sys.argv[1:] if argv is None else argv)]
    section = report.Section.of(arguments, arguments.title or ", ".join(versions), command, versions, values)
    print(report.save(section, arguments.out, arguments.append))


if __name__ == "__main__":
    main()
