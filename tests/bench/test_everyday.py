"""The everyday prompts can be solved, and bench/studies/everyday.py counts what is right and what loops."""

from __future__ import annotations

import json
import re
from collections import Counter

from bench.studies import everyday
from santacoder.harness.tasks import find_task, read_problems

PROBLEMS = read_problems(find_task("humaneval"), everyday.PROMPTS)


class TestPrompts:
    """The files of prompts."""

    def test_ten_of_each_kind(self) -> None:
        assert len(PROBLEMS) == 100
        assert set(Counter(map(everyday.kind, PROBLEMS)).values()) == {10}

    def test_three_assertions_each(self) -> None:
        assert [p.task_id for p in PROBLEMS if len(re.findall(r"^    assert ", p.check, re.MULTILINE)) < 3] == []

    def test_the_solutions_pass_and_nothing_does_not(self) -> None:
        texts = [[problem.solution or "", "\n    pass"] for problem in PROBLEMS]
        passed = everyday.judge(PROBLEMS, texts)
        assert [p.task_id for p, row in zip(PROBLEMS, passed, strict=True) if row != [True, False]] == []

    def test_five_of_each_other_language(self) -> None:
        rows = [json.loads(line) for line in everyday.OTHER_LANGUAGES.read_text("utf-8").splitlines()]
        assert Counter(row["language"] for row in rows) == {"javascript": 5, "java": 5}
        assert all(row["right"] for row in rows)


class TestLoops:
    """What counts as a loop."""

    def test_a_line_again_and_again(self) -> None:
        assert everyday.loops("\n        self.y = y" * 3)
        assert everyday.loops("x = 1\n" + "    a = f(1)\n    b = f(2)\n" * 3)

    def test_counting_is_a_loop(self) -> None:
        assert everyday.loops("".join(f"    value{i} = {i}\n" for i in range(4)))

    def test_twice_is_none(self) -> None:
        assert not everyday.loops("    self.elements = elements\n" * 2)

    def test_short_pieces_need_length(self) -> None:
        assert not everyday.loops("-" * 23)
        assert everyday.loops("-" * 24)

    def test_no_solution_loops(self) -> None:
        assert [p.task_id for p in PROBLEMS if everyday.loops(p.solution or "")] == []


def test_scores() -> None:
    problems = PROBLEMS[:2]
    texts = [["a", "-" * 30], ["b", "c"]]
    found = everyday.scores(problems, texts, [[True, False], [True, True]])
    expected = everyday.Score(completions=4, right=3, looping=1)
    assert found == {"numbers": expected, "all": expected}
