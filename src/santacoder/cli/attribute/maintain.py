"""`santacoder attribute info|merge|remove|export`: what an index holds, and changes of it as a whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from santacoder.cli import options


def add_info_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `info`."""
    options.add_json(parser)


def run_info(args: argparse.Namespace) -> None:
    """Print what an index holds."""
    from santacoder.attribution.index import AttributionIndex

    with AttributionIndex.open(args.index) as index:
        state = index.state()
    facts = {
        "files": state.files,
        "contents": state.contents,
        "text_bytes": state.size,
        "lexemes": state.lexemes,
        "file_bytes": Path(args.index).stat().st_size,
        "postings": sum(shard.postings for shard in state.shards),
        "shards": len(state.shards),
        "texts": state.texts,
        "renamed": state.renamed is not None,
        "guarantee": state.exact.guarantee,
    }
    if args.json:
        options.print_json(facts)
        return
    for name, value in facts.items():
        shown = options.mebibytes(value) if name.endswith("_bytes") else f"{value:,}" if value > 1 else str(value)
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        options.write(f"{name.replace('_', ' '):<12} {shown}\n")


def add_merge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `merge`."""
    parser.add_argument("sources", nargs="+", metavar="OTHER", help="an index to add to INDEX")


def run_merge(args: argparse.Namespace) -> None:
    """Add indexes to an index."""
    from santacoder.attribution.maintenance import merge_indexes

    merge_indexes(Path(args.index), [Path(source) for source in args.sources])


def add_remove_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `remove`."""
    parser.add_argument("--repository", required=True, metavar="NAME", help="the repository, as matches name it")


def run_remove(args: argparse.Namespace) -> None:
    """Remove a repository."""
    from santacoder.attribution.maintenance import remove_repository

    print(f"removed {remove_repository(Path(args.index), args.repository)} files")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `export`."""
    parser.add_argument("out", metavar="OUT", help="the file to write: Parquet if it ends in .parquet, else JSON lines")
    parser.add_argument("--postings", action="store_true", help="the postings instead of the files")


def run_export(args: argparse.Namespace) -> None:
    """Write out the files or the postings."""
    from santacoder.attribution.export import export_index

    rows = export_index(Path(args.index), Path(args.out), "postings" if args.postings else "files")
    print(f"wrote {rows} rows to {args.out}")
