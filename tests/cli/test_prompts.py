"""`santacoder complete` with several samples, and with many prompts whose results a later call continues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.model import SantaCoder
from tests.support.command_line import fails, run_here
from tests.support.paths import FILE

PROMPT = "def fib(n):"
SAMPLING = ("-n", "12", "--temperature", "1", "--seed", "3", "--ignore-eos")
OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1, "seed": 3, "ignore_eos": True}
HELP = "(see santacoder complete --help)"


def expected(prompt: str | list[int], n: int, **options: Any) -> list[santacoder.Completion]:
    """Samples 0 to n - 1, by the library."""
    with santacoder.load(FILE) as model:
        return model.complete_many([prompt], n, **{**OPTIONS, **options})[0]


def results(*args: str, stdin: bytes = b"") -> list[dict[str, Any]]:
    """The lines that a command prints."""
    code, out, err = run_here("complete", *args, *SAMPLING, stdin=stdin)
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


class TestSamples:
    def test_in_order_with_titles(self) -> None:
        code, out, err = run_here("complete", PROMPT, "--samples", "3", *SAMPLING)
        texts = [completion.text for completion in expected(PROMPT, 3)]
        assert len(set(texts)) == 3
        assert (code, err) == (0, "")
        assert out.decode() == "".join(f"==> sample {i} <==\n{text}\n" for i, text in enumerate(texts))

    def test_as_lines_of_json(self) -> None:
        found = results(PROMPT, "--n-samples", "3", "--json", "--echo")
        assert sorted(line["sample"] for line in found) == [0, 1, 2]
        for line in found:
            sample = expected(PROMPT, 3)[line["sample"]]
            assert (line["text"], line["tokens"], line["seed"]) == (PROMPT + sample.text, sample.tokens, 3)

    def test_without_a_seed_one_is_drawn(self) -> None:
        code, out, _ = run_here("complete", PROMPT, "--samples", "2", "--json", "-n", "8", "--temperature", "1")
        first, second = (json.loads(line) for line in out.splitlines())
        assert (code, first["seed"]) == (0, second["seed"])
        assert first["tokens"] != second["tokens"]

    def test_number(self) -> None:
        message = fails("complete", PROMPT, "--samples", "0", status=2)
        assert message == f"--samples is 0, but it must be 1 or more {HELP}"


class TestFile:
    def test_a_prompt_in_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "-x.py"
        file.write_bytes(b"\xef\xbb\xbfa = 1\r\n")
        direct = run_here("complete", "a = 1\r\n", *SAMPLING)
        assert run_here("complete", "-f", str(file), *SAMPLING) == direct
        assert run_here("complete", "--file", "-", *SAMPLING, stdin=file.read_bytes()) == direct

    @pytest.mark.parametrize("words", [("a", "-f", "b"), ("a", "--prompts", "b"), ("-f", "a", "--prompts", "b")])
    def test_one_source(self, words: tuple[str, ...]) -> None:
        assert fails("complete", *words, status=2) == f"PROMPT, --file and --prompts exclude each other {HELP}"

    def test_out_is_for_prompts(self) -> None:
        message = "--out needs --prompts; the completion of one prompt goes to standard output"
        assert fails("complete", "a", "--out", "b", status=2) == f"{message} {HELP}"


LINES = [PROMPT, {"prompt": [5, 6, 7], "max_tokens": 4, "id": "x"}, {"prompt": "a = 1\r\n", "echo": True}]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in LINES) + "\n\n")
    return file


def write(prompts: Path, *args: str, out: str = "out.jsonl") -> bytes:
    """The file of results of a command that must work."""
    target = prompts.with_name(out)
    words = ("complete", "--prompts", str(prompts), "--out", str(target), "--samples", "2", *SAMPLING, *args)
    assert run_here(*words) == (0, b"", "")
    return target.read_bytes()


def without_times(text: bytes) -> list[dict[str, Any]]:
    return [{**json.loads(line), "timings": None} for line in text.splitlines()]


class TestPrompts:
    @pytest.mark.parametrize("piped", [False, True])
    def test_printed(self, prompts: Path, piped: bool) -> None:
        source = ("-",) if piped else (str(prompts),)
        found = results("--prompts", *source, "--logprobs", "0", stdin=prompts.read_bytes())
        lines = {line["index"]: line for line in found}
        assert sorted(lines) == [0, 1, 2]
        assert lines[0]["text"] == expected(PROMPT, 1)[0].text
        assert len(lines[0]["logprobs"]) == len(lines[0]["tokens"])
        assert (lines[1]["id"], lines[1]["tokens"]) == ("x", expected([5, 6, 7], 1, max_tokens=4)[0].tokens)
        code, alone, _ = run_here("complete", "a = 1\r\n", "--echo", "--json", *SAMPLING)
        assert (code, lines[2]["text"]) == (0, json.loads(alone)["text"])

    def test_written_in_order(self, prompts: Path) -> None:
        lines = without_times(write(prompts))
        assert [(line["index"], line["sample"]) for line in lines] == [(i, s) for i in range(3) for s in range(2)]
        assert [line["text"] for line in lines[:2]] == [sample.text for sample in expected(PROMPT, 2)]
        settings = json.loads(prompts.with_name("out.jsonl.settings.json").read_bytes())
        assert (settings["samples"], settings["seed"], settings["options"]["max_tokens"]) == (2, 3, 12)

    @pytest.mark.parametrize("torn", [b"", b'{"index": 2, "sam', b"{}\n"])
    def test_an_interrupted_run_goes_on(self, prompts: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes) -> None:
        whole = write(prompts, out="whole.jsonl")
        out = prompts.with_name("out.jsonl")
        complete_each = SantaCoder.complete_each

        def stop(model: SantaCoder, requests: Any, **options: Any) -> Iterator[Any]:
            for number, result in enumerate(complete_each(model, requests, **options)):
                if number == 4:
                    raise KeyboardInterrupt
                yield result

        words = ("complete", "--prompts", str(prompts), "--out", str(out), "--samples", "2", *SAMPLING)
        with monkeypatch.context() as patch:
            patch.setattr(SantaCoder, "complete_each", stop)
            message = f"santacoder: stopped with 4 of 6 samples in {out}: the same command goes on from there\n"
            assert run_here(*words) == (130, b"", message)
        kept = out.read_bytes()
        assert kept.count(b"\n") == 4
        out.write_bytes(kept + torn)
        asked: list[int] = []

        def count(model: SantaCoder, requests: Any, **options: Any) -> Any:
            given = list(requests)
            asked.append(len(given))
            return complete_each(model, given, **options)

        monkeypatch.setattr(SantaCoder, "complete_each", count)
        again = write(prompts)
        assert asked == [2]
        assert without_times(again) == without_times(whole)
        assert set(kept.splitlines()) < set(again.splitlines())
        assert write(prompts) == again
        assert asked == [2]

    def test_samples_are_added(self, prompts: Path) -> None:
        first = write(prompts)
        more = write(prompts, "--samples", "3")
        assert more == write(prompts, "--samples", "3")
        lines = without_times(more)
        assert [(line["index"], line["sample"]) for line in lines] == [(i, s) for i in range(3) for s in range(3)]
        assert set(first.splitlines()) < set(more.splitlines())

    def test_a_drawn_seed_is_kept(self, prompts: Path) -> None:
        out = prompts.with_name("out.jsonl")
        words = ("complete", "--prompts", str(prompts), "--out", str(out), "-n", "4", "--temperature", "1")
        assert run_here(*words)[0] == 0
        whole = out.read_bytes()
        out.write_bytes(whole.splitlines(keepends=True)[0])
        assert run_here(*words)[0] == 0
        assert without_times(out.read_bytes()) == without_times(whole)

    def test_failed_requests_are_results(self, tmp_path: Path) -> None:
        file = tmp_path / "prompts.jsonl"
        file.write_text(json.dumps("a " * 400) + '\n"b"\n')
        code, out, err = run_here("complete", "--prompts", str(file), *SAMPLING)
        lines = {line["index"]: line for line in map(json.loads, out.splitlines())}
        assert code == 1
        assert err == 'santacoder: 1 of 2 samples failed: see "error" in their results\n'
        assert lines[0]["error"].startswith("the prompt has ")
        assert lines[1]["text"] == expected("b", 1)[0].text
        target = str(tmp_path / "out.jsonl")
        for _ in range(2):
            assert run_here("complete", "--prompts", str(file), "--out", target, *SAMPLING)[::2] == (1, err)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "Expecting property name"),
            ("3", 'the prompt is missing: a line is a text, or an object with a text "prompt"'),
            ('{"text": "a"}', "the prompt is missing"),
            ('{"prompt": "a", "max_new_tokens": 3}', "'max_new_tokens' is not an option: did you mean 'max_tokens'?"),
            ('{"prompt": "a", "top_p": 2}', "top_p is 2, but it must be a number in 0..1"),
            ('{"prompt": "a", "tokens": 2}', "'tokens' is the name of a field of the results: rename it"),
        ],
    )
    def test_wrong_lines(self, tmp_path: Path, line: str, message: str) -> None:
        file = tmp_path / "prompts.jsonl"
        file.write_text(f'"a"\n{line}\n')
        assert fails("complete", "--prompts", str(file)).startswith(f"{file}, line 2: {message}")

    def test_no_prompt(self, tmp_path: Path) -> None:
        file = tmp_path / "prompts.jsonl"
        file.write_text("\n")
        assert fails("complete", "--prompts", str(file)) == f"{file} holds no prompt"

    def test_what_cannot_be_continued(self, prompts: Path) -> None:
        fcntl = pytest.importorskip("fcntl")
        write(prompts)
        out = prompts.with_name("out.jsonl")
        words = ("complete", "--prompts", str(prompts), "--out", str(out), *SAMPLING)
        assert fails(*words).startswith(f"{out} holds a run with samples 2, not 1: go on with the same settings")
        assert fails(*words, "--samples", "2", "--top-k", "3").startswith(f"{out} holds a run with options ")
        with out.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert fails(*words, "--samples", "2") == f"another process is at work in {out}"
        lines = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(b"".join([lines[0], b"?\n", *lines[1:]]))
        message = f"{out} is damaged in line 2: remove that line to generate it again"
        assert fails(*words, "--samples", "2") == message

    def test_other_files_are_left_as_they_are(self, prompts: Path) -> None:
        text = prompts.read_bytes()
        words = ("complete", "--prompts", str(prompts), *SAMPLING, "--out")
        assert fails(*words, str(prompts)) == f"{prompts} is a file that is read ({prompts}): name another to write"
        other = prompts.with_name("other.txt")
        other.write_text("mine")
        message = f"{other} exists, and is not a file of results, as {other}.settings.json is missing"
        assert fails(*words, str(other)) == message
        assert (prompts.read_bytes(), other.read_text()) == (text, "mine")
