"""lm-eval's own output on local data against scores computed from `model.logits`, by the definition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.errors import ContextOverflowError, InvalidRequestError
from tests.support import paths, reference
from tests.support.waiting import HANG

pytest.importorskip("lm_eval")

from santacoder.integrations.lm_eval import SantaCoderLM

DATA = paths.DATA / "lm_eval"
TASK = "santacoder_choice"


@pytest.fixture(scope="module")
def lm() -> Iterator[Any]:
    with santacoder.load(threads=1) as model:
        yield SantaCoderLM(model)


def instances(*arguments: tuple[Any, ...], task: str = "a") -> list[Any]:
    """Requests of a task as lm-eval makes them."""
    return [SimpleNamespace(args=each, task_name=task) for each in arguments]


def exact(model: santacoder.SantaCoder, before: list[int], after: list[int]) -> tuple[float, bool]:
    """Log-probability and greediness of a continuation, from the logits."""
    logits = model.logits([*before, *after[:-1]])[len(before) - 1 :]
    rows = reference.log_softmax(logits)
    return float(rows[range(len(after)), after].sum()), logits.argmax(axis=1).tolist() == after


def split(model: santacoder.SantaCoder, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of the two; an end of text stands for an empty context."""
    tokenizer = model.tokenizer
    if not context:
        assert tokenizer.eot_id is not None
        return [tokenizer.eot_id], tokenizer.encode(continuation)
    spaces = len(context) - len(context.rstrip())
    before = tokenizer.encode(context[: len(context) - spaces])
    if not before:
        return [tokenizer.eot_id or 0], tokenizer.encode(context + continuation)
    return before, tokenizer.encode(context + continuation)[len(before) :]


PAIRS = [
    ("def add(a, b):\n    return", " a + b"),
    ("def add(a, b):\n    return", " None"),
    ("import numpy as", " np"),
    ("import numpy as ", "np"),
    ("", "import os"),
    ("\n", "import os"),
]


def test_loglikelihood(lm: Any) -> None:
    found = lm.loglikelihood(instances(*PAIRS), disable_tqdm=True)
    for (context, continuation), (total, greedy) in zip(PAIRS, found, strict=True):
        expected = exact(lm.model, *split(lm.model, context, continuation))
        assert total == pytest.approx(expected[0], abs=1e-9)
        assert greedy is expected[1]
    assert found[2][1] is True
    assert found[1][1] is False


def test_a_long_context_keeps_its_end(lm: Any) -> None:
    text = "".join(f"value_{i} = {i}\n" for i in range(400))
    before, after = split(lm.model, text, "value_400 =")
    assert len(before) + len(after) > lm.max_length
    kept = [*before, *after][-lm.max_length - 1 :]
    expected = exact(lm.model, kept[: -len(after)], after)
    assert lm.loglikelihood(instances((text, "value_400 =")), disable_tqdm=True)[0][0] == pytest.approx(expected[0])
    with pytest.raises(ContextOverflowError, match="a continuation has"):
        lm.loglikelihood(instances(("a", text)), disable_tqdm=True)


def test_rolling(lm: Any) -> None:
    """Every token once: a text shorter than the context from the end of text on, a longer one in windows."""
    model, short = lm.model, "def fib(n):\n    return n\n"
    long = "".join(f"value_{i} = {i}\n" for i in range(200))
    found = lm.loglikelihood_rolling(instances((short,), (long,)), disable_tqdm=True)
    assert found[0] == pytest.approx(exact(model, [lm.eot_token_id], model.tokenizer.encode(short))[0], abs=1e-9)
    tokens = model.tokenizer.encode(long)
    most = lm.max_length
    assert most < len(tokens) < 2 * most
    rest = len(tokens) - most
    first = exact(model, [lm.eot_token_id], tokens[:most])[0]
    second = exact(model, tokens[-most - 1 : -rest], tokens[-rest:])[0]
    assert found[1] == pytest.approx(first + second, abs=1e-6)


def test_generate_until(lm: Any) -> None:
    greedy = {"until": ["\n"], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0}
    drawn = {"until": "zebra", "max_gen_toks": 8, "do_sample": True, "temperature": 0.9, "top_p": 0.9}
    requests = instances(("import numpy as", greedy), *[("def f(", drawn)] * 3, ("", {"max_gen_toks": 4}))
    found = lm.generate_until(requests, disable_tqdm=True)
    complete = lm.model.complete_many
    assert found[0] == lm.model.complete("import numpy as", max_tokens=12, temperature=0.0, stop="\n").text
    expected = complete(["def f("], n=3, max_tokens=8, temperature=0.9, top_p=0.9, seed=1234, progress=False)[0]
    assert found[1:4] == [completion.text for completion in expected]
    assert len(set(found[1:4])) > 1
    assert found[4] == lm.model.complete("", max_tokens=4, temperature=0.0).text
    assert lm.generate_until(requests, disable_tqdm=True) == found


def test_samples_of_a_task_are_the_same_beside_others(lm: Any) -> None:
    drawn = ("def f(", {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0})
    together = lm.generate_until([*instances(drawn, drawn), *instances(drawn, drawn, task="b")], disable_tqdm=True)
    assert together[2:] == together[:2] == lm.generate_until(instances(drawn, drawn, task="b"), disable_tqdm=True)


def test_generation_keeps_the_end_of_a_long_context(lm: Any) -> None:
    text = "".join(f"value_{i} = {i}\n" for i in range(400))
    tokens = lm.model.tokenizer.encode(text)[-(lm.max_length - 16) :]
    found = lm.generate_until(instances((text, {"max_gen_toks": 16})), disable_tqdm=True)
    assert found == [lm.model.complete(tokens, max_tokens=16, temperature=0.0).text]
    with pytest.raises(ContextOverflowError, match="max_gen_toks is 1024, which leaves no room"):
        lm.generate_until(instances((text, {"max_gen_toks": 1024})), disable_tqdm=True)


def test_arguments_of_generation_are_passed_on(lm: Any) -> None:
    sampled = {
        "temperature": 0.9, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1,
        "frequency_penalty": 0.5, "presence_penalty": 0.25, "seed": 9,
    }  # fmt: skip
    options = lm._options({**sampled, "max_gen_toks": None, "max_new_tokens": 7, "max_tokens": 9, "until": ["a", ""]})
    assert options == {**sampled, "max_tokens": 7, "stop": ["a"], "token_healing": False}
    found = lm.generate_until(instances(("def f(", {**sampled, "max_gen_toks": 8})), disable_tqdm=True)
    assert found == [lm.model.complete("def f(", max_tokens=8, token_healing=False, **sampled).text]
    defaults: dict[str, Any] = {"stop": [], "max_tokens": 256, "temperature": 0.0, "top_p": 1.0, "seed": 1234}
    defaults["token_healing"] = False
    assert lm._options({}) == defaults
    assert lm._options(dict.fromkeys([*sampled, "until", "do_sample", "max_gen_toks", "max_tokens"])) == defaults
    assert lm._options({"do_sample": True}) == {**defaults, "temperature": 1.0}
    assert lm._options({"do_sample": False, "temperature": 0.7}) == defaults
    assert lm._options({"do_sample": True, "temperature": 0.0}) == defaults
    assert lm._options({"max_completion_tokens": 5}) == {**defaults, "max_tokens": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": 3}, "until is 3, but it must be a text or a list of texts"),
        ({"until": ["a", None]}, r"until is \['a', None\], but it must be a text or a list of texts"),
        ({"max_gen_toks": "many"}, "max_gen_toks is 'many', but it must be an integer of 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, but it must be an integer of 1 or more"),
        ({"temperature": "hot"}, "temperature is 'hot', but it must be a number"),
        ({"frequency_penalty": 3.0}, r"requests\[0\]: frequency_penalty is 3.0"),
        ({"seed": -1}, r"requests\[0\]: seed is -1"),
    ],
)
def test_bad_arguments_of_generation(lm: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        lm.generate_until(instances(("x", arguments)), disable_tqdm=True)


def test_one_warning_for_each_set_of_unknown_arguments(lm: Any, caplog: pytest.LogCaptureFixture) -> None:
    beams = ("x", {"max_gen_toks": 1, "num_beams": 2, "length_penalty": 1.0})
    other = ("x", {"max_gen_toks": 1, "num_beams": 2, "top_k": 3, "presence_penalty": 0.5})
    for _ in range(2):
        lm.generate_until(instances(beams, other, beams), disable_tqdm=True)
    assert [record.getMessage() for record in caplog.records] == [
        "arguments of generation that santacoder does not have: length_penalty, num_beams",
        "arguments of generation that santacoder does not have: num_beams",
    ]


def test_unknown_arguments(lm: Any) -> None:
    with pytest.raises(InvalidRequestError, match="'dtype' is not an argument of the model santacoder"):
        SantaCoderLM(lm.model, dtype="float16")
    assert SantaCoderLM(lm.model, batch_size=8, device="cpu").max_length == 1024


def test_a_real_task_of_lm_eval(lm: Any, tmp_path: Path) -> None:
    """The command line runs a task from a local file, offline; its numbers are those computed from the logits."""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "SANTACODER_MODEL": ""}
    command = [sys.executable, "-m", "santacoder.integrations.lm_eval", "--tasks", TASK, "--include_path", "."]
    command += ["--model_args", "threads=1", "--log_samples", "--output_path", str(tmp_path / "out")]
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = os.pathsep.join(
            str(Path(part).resolve()) for part in environment["PYTHONPATH"].split(os.pathsep)
        )
    done = subprocess.run(command, cwd=DATA, env=environment, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr
    (samples_file,) = tmp_path.glob("out/**/samples_*.jsonl")
    (results_file,) = tmp_path.glob("out/**/results_*.json")
    rows = [json.loads(line) for line in (DATA / f"{TASK}.jsonl").read_text().splitlines()]
    right, right_by_length = [], []
    samples = {sample["doc_id"]: sample for sample in map(json.loads, samples_file.read_text().splitlines())}
    for index, row in enumerate(rows):
        expected = [exact(lm.model, *split(lm.model, row["question"], choice)) for choice in row["choices"]]
        theirs = [pair for ((pair,),) in zip(samples[index]["resps"], strict=True)]
        assert [float(total) for total, _ in theirs] == pytest.approx([total for total, _ in expected], abs=1e-9)
        assert [str(greedy) for _, greedy in theirs] == [str(greedy) for _, greedy in expected]
        totals = np.array([total for total, _ in expected])
        right.append(totals.argmax() == row["answer"])
        lengths = [len(choice) for choice in row["choices"]]
        right_by_length.append((totals / lengths).argmax() == row["answer"])
    results = json.loads(results_file.read_text())["results"][TASK]
    assert results["acc,none"] == np.mean(right)
    assert results["acc_norm,none"] == np.mean(right_by_length)
    assert 0 < results["acc,none"] < 1
