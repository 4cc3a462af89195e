"""`santacoder eval` of benchmarks as a user runs it: resumed after a kill, scored, refused in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from santacoder.errors import InvalidRequestError
from santacoder.harness.record import check_inputs
from santacoder.sources.packaged import packaged_model
from tests.support.command_line import fails, run
from tests.support.harness_samples import FILES
from tests.support.needs import needs_fork
from tests.support.waiting import HANG

MODEL = str(packaged_model())
SMALL = ("--data", str(FILES["humaneval"]), "--n-samples", "2", "-n", "16", "--seed", "3", "-t", "1", "-m", MODEL)


def evaluate(*arguments: str, **kwargs: Any) -> tuple[str, str]:
    """Standard output and error of a benchmark that must work."""
    code, out, err = run("eval", *arguments, **kwargs)
    assert code == 0, err
    return out.decode(), err


def test_humaneval(tmp_path: Path) -> None:
    out, err = evaluate("humaneval", *SMALL, "--out", str(tmp_path), "--allow-code-execution", "--json")
    assert err == f"santacoder: this report and all files of the run are in {tmp_path}\n"
    report = json.loads(out)
    assert report["settings"]["n_samples"] == 2
    assert report["results"]["limits"] == {"seconds": 3.0, "memory_bytes": 1 << 30}
    assert sum(report["results"]["correct"].values()) <= 6
    assert {"samples.jsonl", "generations.json", "executions.jsonl", "results.json", "report.md", "report.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    for path in tmp_path.iterdir():
        with pytest.raises(InvalidRequestError, match="is a file that is read"):
            check_inputs(tmp_path, [path])
    again, _ = evaluate("report", str(tmp_path))
    assert again == (tmp_path / "report.md").read_text()


def test_without_leave_nothing_is_executed(tmp_path: Path) -> None:
    out, _ = evaluate("humaneval", *SMALL, "--out", str(tmp_path))
    assert "Not scored: its programs were not executed." in out
    assert not (tmp_path / "executions.jsonl").exists()
    out, _ = evaluate("humaneval", *SMALL, "--out", str(tmp_path), "--allow-code-execution")  # nothing but the scores
    assert "pass@1" in out


@pytest.mark.parametrize("name", ["mbpp", "multiple-js", "fim"])
def test_others(tmp_path: Path, name: str) -> None:
    arguments = ("--data", str(FILES[name]), "--n-samples", "1", "-n", "8", "--seed", "1", "-t", "1", "-m", MODEL)
    out, _ = evaluate(name, *arguments, "--limit", "1", "--out", str(tmp_path))
    assert ("exact match, py" if name == "fim" else "Not scored") in out
    assert len(json.loads((tmp_path / "generations.json").read_bytes())) == 1


@needs_fork
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9 when 12 samples are on disk: the rest is generated, and the files are those of an uninterrupted run."""
    long = ("--n-samples", "40", "-n", "64", "--temperature", "1.0", "--top-p", "1.0")
    arguments = ("humaneval", *SMALL, *long, "--out")
    evaluate(*arguments, str(tmp_path / "whole"))
    code = (
        "import os, sys; from santacoder import cli; from santacoder.harness.record import Record; add = Record.add\n"
        "def add_and_die(record, sample):\n"
        "    add(record, sample)\n"
        "    if len(record.samples) == 12:\n"
        "        os.kill(os.getpid(), 9)\n"
        "Record.add = add_and_die; cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "eval", *arguments, str(tmp_path / "killed")]
    killed = subprocess.run(command, capture_output=True, timeout=HANG, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "record.jsonl").read_bytes().count(b"\n") == 12
    evaluate(*arguments, str(tmp_path / "killed"))
    for name in ("samples.jsonl", "generations.json", "settings.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    sessions = json.loads((tmp_path / "killed" / "sessions.json").read_bytes())
    assert [session["samples"] for session in sessions] == [120 - 12]


@needs_fork
def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from santacoder import cli; from santacoder.harness.record import Record\n"
        "add = Record.add\n"
        "def add_and_stop(record, sample):\n"
        "    add(record, sample)\n"
        "    if len(record.samples) == 2:\n"
        "        os.kill(os.getpid(), int(sys.argv[1]))\n"
        "Record.add = add_and_stop; sys.exit(cli.main(sys.argv[2:]))"
    )
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        folder = tmp_path / number.name
        command = [sys.executable, "-c", code, str(int(number)), "eval", "humaneval", *SMALL, "--out", str(folder)]
        stopped = subprocess.run(
            command, capture_output=True, text=True, timeout=HANG, check=False,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        message = f"santacoder: stopped with 2 of 6 samples in {folder}: the same command goes on from there\n"
        assert (stopped.returncode, stopped.stdout, stopped.stderr) == (status, "", message)
        evaluate("humaneval", *SMALL, "--out", str(folder))


def test_a_part_of_the_problems_is_marked_as_such(tmp_path: Path) -> None:
    """HumanEval by the number of its problems; of other files by what --limit leaves out."""
    out, _ = evaluate("humaneval", *SMALL, "--out", str(tmp_path / "h"), "--allow-code-execution")
    assert "**A partial run, of 3 of 164 problems.** The published values are of all problems.\n" in out
    assert "| this run, 3 of 164 problems, 2 samples |" in out
    data = ("--data", str(FILES["fim"]), "--n-samples", "1", "-n", "8", "--seed", "1", "-t", "1", "-m", MODEL)
    out, _ = evaluate("fim", *data, "--limit", "1", "--out", str(tmp_path / "f"))
    assert "| this run, 1 of 3 problems, 1 samples |" in out
    out, _ = evaluate("fim", *data, "--limit", "3", "--out", str(tmp_path / "g"), "--json")
    assert json.loads(out)["partial"] is None
    grown, _ = evaluate("fim", *data, "--out", str(tmp_path / "f"), "--json")  # problems are added to the run
    assert json.loads(grown)["partial"] is None
    assert (tmp_path / "f" / "samples.jsonl").read_bytes() == (tmp_path / "g" / "samples.jsonl").read_bytes()
    evaluate("fim", *data, "--limit", "1", "--out", str(tmp_path / "i"))
    report = tmp_path / "i" / "settings.json"
    settings = json.loads(report.read_bytes())
    assert settings.pop("of_problems") == 3
    report.write_text(json.dumps(settings))  # as before there was such a setting
    evaluate("fim", *data, "--limit", "1", "--out", str(tmp_path / "i"))


class TestMistakes:
    @pytest.mark.parametrize("name", ["settings.json", "record.jsonl", "samples.jsonl", "results.json"])
    @pytest.mark.parametrize("option", ["--data", "--model"])
    def test_what_is_read_has_the_place_of_a_result(self, tmp_path: Path, option: str, name: str) -> None:
        """The problems or the model, which the run would cut off, remove or replace."""
        file = tmp_path / name
        data = FILES["humaneval"].read_bytes() if option == "--data" else packaged_model().read_bytes()
        file.write_bytes(data)
        message = fails("eval", "humaneval", *SMALL, option, str(file), "--out", str(tmp_path))
        assert message == f"{file} is a file that is read ({file}): name another to write"
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {file: data}

    def test_no_data(self, tmp_path: Path) -> None:
        message = fails("eval", "mbpp", "--out", str(tmp_path / "x"), status=2)
        assert message == "name the problems of mbpp with --data FILE (see santacoder eval mbpp --help)"
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            (("--limit", "0"), "--limit is 0, but it must be 1 or more"),
            (("--timeout", "0", "--allow-code-execution"), "--timeout is 0, but it must be above 0 and at most 86400"),
            (("--memory", "1", "--allow-code-execution"), "--memory is 1, but it must be in 64..1048576"),
            (("--workers", "0", "--allow-code-execution"), "--workers is 0, but it must be 1 or more"),
        ],
    )
    def test_out_of_range(self, tmp_path: Path, option: tuple[str, ...], message: str) -> None:
        assert fails("eval", "humaneval", *SMALL, "--out", str(tmp_path), *option, status=2) == (
            f"{message} (see santacoder eval humaneval --help)"
        )

    def test_other_settings(self, tmp_path: Path) -> None:
        evaluate("humaneval", *SMALL, "--out", str(tmp_path))
        message = fails("eval", "humaneval", *SMALL, "--out", str(tmp_path), "--temperature", "0.5")
        advice = "go on with the same settings, or choose another folder"
        assert message == f"{tmp_path} holds a run with temperature 0.2, not 0.5: {advice}"

    def test_no_run_to_report(self, tmp_path: Path) -> None:
        assert fails("eval", "report", str(tmp_path)) == f"{tmp_path} holds no run"

    def test_other_languages_are_not_executed(self, tmp_path: Path) -> None:
        message = fails("eval", "multiple-js", "--out", str(tmp_path), "--allow-code-execution", status=2)
        assert "unrecognized arguments: --allow-code-execution" in message

    def test_no_ray(self, tmp_path: Path) -> None:
        try:
            import ray  # noqa: F401
        except ImportError:
            message = fails("eval", "humaneval", *SMALL, "--out", str(tmp_path), "--engine", "ray")
            assert message == "--engine ray needs Ray: `pip install santacoder[ray]`"
        else:
            pytest.skip("Ray is installed")
