"""A report of a run: its results with SantaCoder's published ones, and all settings that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from santacoder._util.atomic_file import atomic_file
from santacoder._util.json_file import read_object
from santacoder._util.validation import format_value
from santacoder.errors import InvalidRequestError, MissingPackageError
from santacoder.harness.published import PROBLEMS, Published, published
from santacoder.harness.record import OF_PROBLEMS, PLOT, REPORT, REPORT_JSON, RESULTS, SAMPLES, SETTINGS, dump_json
from santacoder.harness.run_log import read_run_log


def make_report(folder: Path) -> dict[str, Any]:
    """Collect everything about a run, as JSON values.

    Raises:
        OSError: a file cannot be read.
        InvalidRequestError: the folder holds no finished run, or a damaged one.
    """
    if not (folder / SETTINGS).exists():
        raise InvalidRequestError(f"{folder} holds no run")
    if not (folder / SAMPLES).exists():
        raise InvalidRequestError(f"the run in {folder} is not finished: give its command again")
    settings = read_object(folder / SETTINGS, InvalidRequestError)
    for name in ("task", "model"):
        if not isinstance(settings.get(name), str):
            raise InvalidRequestError(
                f"{folder / SETTINGS} is damaged: its {name} is {format_value(settings.get(name))}"
            )
    results = read_object(folder / RESULTS, InvalidRequestError) if (folder / RESULTS).exists() else None
    if results is not None and not isinstance(results.get(str(results.get("metric"))), dict):
        raise InvalidRequestError(f"{folder / RESULTS} is damaged: it holds no values of a metric")
    first = next(iter(results.get("correct", ())), "") if results else ""
    return {
        "settings": settings,
        "results": results,
        "partial": _partial(settings),
        "published": [row._asdict() for row in published(settings["task"], first)] if results else [],
        "sessions": read_run_log(folder),
    }


def write_report(folder: Path) -> tuple[dict[str, Any], str]:
    """Write report.json, report.md and, for pass@k and with matplotlib installed, pass_at_k.png.

    Returns:
        The report and its Markdown.

    Raises:
        OSError: a file cannot be read or written.
        InvalidRequestError: as in `make_report`.
    """
    report = make_report(folder)
    results = report["results"]
    plotted = results is not None and results["metric"] == "pass@k" and _plot(folder / PLOT, report)
    text = to_markdown(report, PLOT if plotted else None)
    dump_json(folder / REPORT_JSON, report)
    with atomic_file(folder / REPORT) as file:
        file.write(text.encode())
    return report, text


def to_markdown(report: Mapping[str, Any], plot: str | None) -> str:
    """Format a report as Markdown; `plot` is the picture's file, if there is one."""
    settings, results = report["settings"], report["results"]
    parts = [f"# {settings['task']}: {settings['model']}", ""]
    if results is None:
        parts += ["Not scored: its programs were not executed."]
    else:
        part = _part(report)
        if part and report["published"]:
            parts += [f"**A partial run, of {part}.** The published values are of all problems.", ""]
        parts += _results_table(results, [Published(**row) for row in report["published"]], part)
        parts += ["", "In brackets: 95 % bootstrap interval over the problems."]
    if plot is not None:
        parts += ["", f"![pass@k over k]({plot})"]
    parts += ["", "## Settings", "", *_table(["setting", "value"], [[str(k), str(v)] for k, v in settings.items()])]
    if results is not None and "limits" in results:
        limits = results["limits"]
        parts += ["", f"Each program had {limits['seconds']:g} s and {limits['memory_bytes'] >> 20} MiB."]
    parts += ["", "## Machine", "", *_run_log_table(report["sessions"])]
    return "\n".join(parts) + "\n"


def _partial(settings: Mapping[str, Any]) -> dict[str, int] | None:
    """Return how many problems of how many a run has; None if it has all, as far as can be known."""
    has, of = settings.get("problems"), settings.get(OF_PROBLEMS, PROBLEMS.get(settings["task"]))
    return {"problems": has, "of": of} if isinstance(has, int) and isinstance(of, int) and has < of else None


def _part(report: Mapping[str, Any]) -> str:
    """Return "3 of 164 problems" for a partial run, else ""."""
    partial = report.get("partial")
    return f"{partial['problems']} of {partial['of']} problems" if partial else ""


def _results_table(results: Mapping[str, Any], rows: Sequence[Published], part: str) -> list[str]:
    metric = results["metric"]
    measured = results[metric]
    prefix = "pass@" if metric == "pass@k" else "exact match, "
    columns = list(dict.fromkeys([*measured, *(key for row in rows for key in row.values)]))
    cells = [_interval(measured[key]) if key in measured else "" for key in columns]
    lines = [[", ".join(filter(None, ("this run", part, f"{results['n_samples']} samples"))), *cells]]
    lines += [[row.source, *(f"{row.values[key]:.4g}" if key in row.values else "" for key in columns)] for row in rows]
    return _table(["", *(f"{prefix}{key}" for key in columns)], lines)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _run_log_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    if not entries:
        return ["Not recorded."]
    titles = ["begun", "samples", "tokens/s", "CPU", "CPUs", "instruction set", "santacoder"]
    rows = []
    for entry in entries:
        machine = entry["machine"]
        names = [str(machine[key]) for key in ("cpu", "cpus", "isa", "santacoder")]
        rows.append([entry["begun"], str(entry["samples"]), f"{entry['tokens_per_second']:.1f}", *names])
    return _table(titles, rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def draw(path: Path, report: Mapping[str, Any]) -> None:
    """Draw pass@k over k, with intervals, and the published values.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OSError: the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError("the plot needs matplotlib: `pip install matplotlib`") from None
    results = report["results"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(results["curve"]) + 1), results["curve"], color="C0")
    for key, found in results["pass@k"].items():
        below, above = found["value"] - found["low"], found["high"] - found["value"]
        axes.errorbar(int(key), found["value"], yerr=[[below], [above]], fmt="o", color="C0", capsize=3)
    for index, row in enumerate(report["published"], 1):
        marks = [int(key) for key in row["values"]]
        axes.plot(marks, list(row["values"].values()), "x", color=f"C{index}", label=row["source"])
    axes.set(
        xscale="log",
        xlabel="k",
        ylabel="pass@k",
        title=", ".join(filter(None, (report["settings"]["task"], _part(report)))),
    )
    axes.set_ylim(bottom=0)
    if report["published"]:
        axes.legend(fontsize="x-small")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _plot(path: Path, report: Mapping[str, Any]) -> bool:
    try:
        draw(path, report)
    except MissingPackageError:
        return False
    return True
