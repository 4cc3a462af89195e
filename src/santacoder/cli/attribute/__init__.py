"""`santacoder attribute`: whether a text stands in a corpus, where, and under which licence. Each task is a module."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from santacoder.cli import options
from santacoder.cli.attribute import check, index, maintain

HELP = "find out whether code stands in a corpus, where, and under which licence"


class Task(NamedTuple):
    """A subcommand of `santacoder attribute`."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


TASKS = {
    "index": Task("index folders, archives and Parquet files, or add what is new", index.add_arguments, index.run),
    "check": Task("find what of a file stands in an index", check.add_arguments, check.run),
    "info": Task("show what an index holds", maintain.add_info_arguments, maintain.run_info),
    "merge": Task("add indexes to an index", maintain.add_merge_arguments, maintain.run_merge),
    "remove": Task("remove a repository from an index", maintain.add_remove_arguments, maintain.run_remove),
    "export": Task("write out the files or postings of an index", maintain.add_export_arguments, maintain.run_export),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the tasks, each with its options."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    for name, task in TASKS.items():
        command = tasks.add_parser(name, help=task.help, description=task.help)
        command.add_argument("index", metavar="INDEX", help="the index: corpus.scidx for example")
        task.add_arguments(command)
        command.set_defaults(task=task.run)
        options.remember_parser(command)


def run(args: argparse.Namespace) -> None:
    """Run the chosen task."""
    args.task(args)
