"""The command: deploys the server on a Ray cluster, and takes it away when it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from santacoder import cli
from santacoder._util.ray_cluster import ray_cluster
from santacoder._util.validation import check_integer
from santacoder.cli import Parser, options
from santacoder.cli.serve import add_arguments, address, read_settings
from santacoder.cli.stopping import orderly
from santacoder.engine.cpus import default_threads
from santacoder.errors import MissingPackageError, SantaCoderError
from santacoder.gguf.digest import model_sha256
from santacoder.sources.model_name import parse_name

PROGRAM: Final = "python -m santacoder.integrations.ray_serve"
APPLICATION: Final = "santacoder"
EPILOG: Final = """
Needs pip install 'santacoder[ray-serve]'. --threads and the limits are those of each replica,
for which as many CPUs are reserved. The options of `santacoder serve` that are missing here would show one replica of
many, or belong to one machine. On SIGTERM or Ctrl-C, requests that run have --drain seconds to end.
"""


def main(words: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    return cli.main(words, make_parser)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser: the options of `santacoder serve`, and those of the cluster."""
    parser = Parser(prog=PROGRAM, description="Serve a model over HTTP from several machines, by Ray Serve.")
    add_arguments(parser, without=("metrics", "slots", "project", "prefix_cache"))
    parser.epilog = EPILOG
    group = parser.add_argument_group("machines")
    group.add_argument(
        "--replicas", type=int, default=1, metavar="N",
        help="models to load; with --max-replicas the fewest (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--max-replicas", type=int, metavar="N", help="let Ray choose how many, by their load")
    group.add_argument("--ray-address", metavar="ADDRESS", help="address of a Ray cluster (default: start one here)")
    parser.set_defaults(run=run)
    options.remember_parser(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Deploy, and wait until a signal comes.

    Raises:
        SantaCoderError: the cluster is too small, or a replica cannot be started.
    """
    settings = read_settings(args)
    check_integer("replicas", args.replicas, 1, None)
    if args.max_replicas is not None:
        check_integer("max_replicas", args.max_replicas, args.replicas, None)
    if args.threads is not None:
        check_integer("threads", args.threads, 1, None)
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else lines of requests that look alike are left out
    with orderly(), ray_cluster(args.ray_address, PROGRAM, "ray-serve", logs=not args.quiet) as cluster:
        try:
            from santacoder.integrations.ray_serve.deployment import Plan, application
            from santacoder.server.serving import bind
        except ImportError as error:
            raise MissingPackageError(f"{PROGRAM} needs Ray Serve: `pip install santacoder[ray-serve]`") from error
        allowed = default_threads()
        most = args.max_replicas or args.replicas
        threads = cluster.threads_of_each(most, "replicas", args.threads, allowed)
        with bind(args.host, args.port) as listener:  # Ray would go on trying to
            port = listener.getsockname()[1]
        name = options.model_name(args)
        path = options.resolve_model(name, options.model_options(args))
        plan = Plan(
            name=parse_name(name), options=options.model_options(args), sha256=model_sha256(Path(path)),
            replicas=args.replicas, most=args.max_replicas, threads=threads, context=args.context, packed=args.packed,
            settings=settings, quiet=args.quiet,
        )  # fmt: skip
        _serve(application(plan), args.host, port)


def _serve(application: Any, host: str, port: int) -> NoReturn:
    """Serve an application until a signal comes.

    Raises:
        SantaCoderError: it cannot be started.
        SystemExit: the process was told to stop.
    """
    from ray import serve

    signal.signal(signal.SIGTERM, _end)  # Ray has put its own, which prints a trace
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    serve.start(http_options={"host": host, "port": port, "keep_alive_timeout_s": 30}, logging_config=quiet)
    try:
        try:
            serve.run(application, name=APPLICATION, logging_config=quiet)
        except RuntimeError as error:
            raise SantaCoderError(f"the replicas could not be started: {_last_line(error)}") from None
        print(f"santacoder: replicas answer at {address(host, port)}", file=sys.stderr, flush=True)
        while True:
            signal.pause()
    finally:
        serve.delete(APPLICATION)


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["for no reason that Ray tells"])[-1]
