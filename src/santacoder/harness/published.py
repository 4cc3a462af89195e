"""Published scores of SantaCoder (the checkpoint `final`), with their sources, for comparison."""

from __future__ import annotations

from typing import Final, NamedTuple


class Published(NamedTuple):
    """A row of published values, 0..1: by k for pass@k, by language for exact match."""

    source: str
    values: dict[str, float]


_CARD: Final = "model card of bigcode/santacoder (MultiPL-E, 200 samples)"
_FIM_CARD: Final = "model card of bigcode/santacoder (single line)"
_HARNESS: Final = "bigcode/evaluation: bigcode harness, T 0.2, top-p 0.95, 200 samples"
_HARNESS_FIM: Final = "bigcode harness, pull request 164"

#: By problem set and language.
PASS_AT_K: Final = {
    ("humaneval", "py"): (
        Published(_CARD, {"1": 0.18, "10": 0.29, "100": 0.49}),
        Published(_HARNESS, {"1": 0.1725, "10": 0.2447, "100": 0.3054}),
    ),
    ("humaneval", "js"): (Published(_CARD, {"1": 0.16, "10": 0.27, "100": 0.47}),),
    ("humaneval", "java"): (Published(_CARD, {"1": 0.15, "10": 0.26, "100": 0.41}),),
    ("mbpp", "py"): (Published(_CARD, {"1": 0.35, "10": 0.58, "100": 0.77}),),
    ("mbpp", "js"): (Published(_CARD, {"1": 0.28, "10": 0.51, "100": 0.70}),),
    ("mbpp", "java"): (Published(_CARD, {"1": 0.28, "10": 0.44, "100": 0.59}),),
}

#: How many problems a whole benchmark has, where all of its editions agree.
PROBLEMS: Final = {"humaneval": 164, "mbpp": 500}

EXACT_MATCH: Final = (
    Published(_FIM_CARD, {"py": 0.44, "java": 0.62, "js": 0.60}),
    Published(_HARNESS_FIM, {"py": 0.45733, "java": 0.61236, "js": 0.59726}),
)


def published(task: str, task_id: str) -> tuple[Published, ...]:
    """Find the rows of a benchmark; the `task_id` of any problem tells HumanEval from MBPP in MultiPL-E."""
    if task == "fim":
        return EXACT_MATCH
    language = task.removeprefix("multiple-") if task.startswith("multiple-") else "py"
    problems = "mbpp" if task_id.lower().startswith("mbpp") else "humaneval"
    return PASS_AT_K.get((problems, language), ())
