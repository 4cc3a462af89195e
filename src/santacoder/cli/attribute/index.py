"""`santacoder attribute index`: make an index, or add to it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from santacoder.cli import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a folder, a checkout, an archive or a file")
    parser.add_argument(
        "--parquet", action="append", default=[], metavar="GLOB", help="Parquet files with the columns of The Stack"
    )
    parser.add_argument("--repository", metavar="NAME", help="what the files are from (default: what they say)")
    parser.add_argument("--licence", metavar="SPDX", help="their licence (default: what they say)")
    parser.add_argument("--renamed", action="store_true", help="also find copies with other names")
    parser.add_argument(
        "--no-text", action="store_true", help="store no texts, only hashes: matches cannot be verified"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="number of threads (default: 1); of Ray's tasks (default: of CPUs)",
    )
    parser.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="where files are read (default: %(default)s)"
    )
    parser.add_argument("--ray-address", metavar="ADDRESS", help="address of a Ray cluster (default: start one here)")


def run(args: argparse.Namespace) -> None:
    """Index the paths, and say what was added and skipped."""
    from santacoder.attribution.indexing import add_to_index

    if not args.paths and not args.parquet:
        raise options.UsageError("there is nothing to index: name a folder, an archive or a file")
    done = add_to_index(
        Path(args.index),
        [Path(path) for path in args.paths],
        args.parquet,
        repository=args.repository,
        licence=args.licence,
        renamed=args.renamed,
        texts=not args.no_text,
        jobs=args.jobs,
        ray=args.engine == "ray",
        ray_address=args.ray_address,
        report=lambda path, reason: print(options.escaped(f"skipped {path}: {reason}"), file=sys.stderr),
    )
    added = done.added
    print(f"added {added.files} files ({added.contents} different texts); {added.unchanged} were there before")
    print(f"read {added.size / 1e6:.1f} MB at {added.size / 1e6 / max(done.seconds, 1e-3):.0f} MB/s")
    skipped = {**done.skipped.counts, **({"is too short": added.short} if added.short else {})}
    for reason, count in sorted(skipped.items()):
        print(f"skipped, as it {reason}: {count}")
