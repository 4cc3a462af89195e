"""The command line as a user runs it: output, one-line errors, exit statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import santacoder
from santacoder.cli import COMMANDS, main, make_parser
from santacoder.cli.eval import MEASUREMENTS
from santacoder.decoding.options import OPTIONS
from santacoder.sources import packaged
from tests.support.command_line import fails, message_of, run, run_here
from tests.support.gguf_builder import tiny_builder
from tests.support.needs import needs_fork, needs_links, needs_modes
from tests.support.paths import FILE
from tests.support.waiting import HANG

PROMPT = "def fib(n):"
GREEDY = ("--temperature", "0", "--max-tokens", "12", "--ignore-eos")


@pytest.fixture(scope="module")
def greedy() -> santacoder.Completion:
    with santacoder.load(FILE) as model:
        return model.complete(PROMPT, temperature=0, max_tokens=12, ignore_eos=True)


class TestComplete:
    def test_argument(self, greedy: santacoder.Completion) -> None:
        assert run("complete", PROMPT, *GREEDY) == (0, greedy.text.encode(), "")

    @pytest.mark.parametrize("dash", [(), ("-",)])
    def test_standard_input(self, greedy: santacoder.Completion, dash: tuple[str, ...]) -> None:
        assert run_here("complete", *dash, *GREEDY, stdin=PROMPT.encode()) == (0, greedy.text.encode(), "")

    def test_a_project_changes_nothing(self, greedy: santacoder.Completion, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(PROMPT + greedy.text)
        assert run_here("complete", PROMPT, *GREEDY, "--project", str(tmp_path)) == (0, greedy.text.encode(), "")
        code, out, err = run_here("complete", PROMPT, "--project", str(tmp_path), "--project", str(tmp_path / "none"))
        assert (code, out) == (1, b"")
        assert err.startswith(f"santacoder: {tmp_path / 'none'}")
        assert err.count("\n") == 1

    def test_model_option_comes_first(self, greedy: santacoder.Completion) -> None:
        code, out, _ = run_here("complete", PROMPT, *GREEDY, "-m", str(FILE), "-t", "1", model="none.gguf")
        assert (code, out) == (0, greedy.text.encode())

    def test_json_and_all_options(self) -> None:
        code, out, err = run_here(
            "complete", PROMPT, "--json", "-n", "20", "--temperature", "1.5", "--top-k", "50",
            "--top-p", "0.9", "--min-p", "0.01", "--repetition-penalty", "1.1", "--frequency-penalty", "0.2",
            "--presence-penalty", "0.1", "--logit-bias", "7=2.5", "--logit-bias", "9=-1", "--stop", "qq",
            "--stop", "\n", "--seed", "3", "--echo", "--ignore-eos", "--deadline", "60",
            "--logprobs", "2", "--stop-token", "9", "--no-token-healing", "--truncate", "left", "--clip",
        )  # fmt: skip
        assert (code, err) == (0, "")
        with santacoder.load(FILE) as model:
            expected = model.complete(
                PROMPT, max_tokens=20, temperature=1.5, top_k=50, top_p=0.9, min_p=0.01,
                repetition_penalty=1.1, frequency_penalty=0.2, presence_penalty=0.1,
                logit_bias={7: 2.5, 9: -1}, stop=["qq", "\n"], seed=3, echo=True, ignore_eos=True, logprobs=2,
                stop_tokens=[9], token_healing=False, truncate="left", clip=True,
            )  # fmt: skip
        result = json.loads(out)
        assert result["text"] == expected.text
        assert result["tokens"] == expected.tokens
        assert result["seed"] == 3
        assert expected.logprobs is not None
        assert [entry["logprob"] for entry in result["logprobs"]] == [entry.logprob for entry in expected.logprobs]
        assert result["usage"] == {"prompt_tokens": 7, "completion_tokens": len(expected.tokens)}

    def test_logprobs_need_json(self) -> None:
        assert fails("complete", PROMPT, "--logprobs", "1", status=2).startswith("--logprobs needs --json")

    def test_stop_has_escapes(self) -> None:
        """Of a backslash and n, r, t or a backslash; any other backslash stands for itself."""
        parse = make_parser(["complete"]).parse_args
        given = [r"\n", r"a\tb\r", r"\\n", r"\d\e", "\n", "é"]
        stops = parse(["complete", "x", *(word for text in given for word in ("--stop", text))]).stop
        assert stops == ["\n", "a\tb\r", r"\n", r"\d\e", "\n", "é"]

    def test_values_that_begin_with_a_dash(self) -> None:
        words = ["complete", "--stop", "--", "--stop", "--json", "--stop", "-n", "--", "--stop"]
        args = make_parser(words).parse_args(words)
        assert (args.stop, args.json, args.prompt) == (["--", "--json", "-n"], False, "--stop")
        words = ["infill", "--prefix", "-1", "--suffix", "--", "--marker", "--json"]
        args = make_parser(words).parse_args(words)
        assert (args.prefix, args.suffix, args.marker, args.json) == ("-1", "--", "--json", False)

    @pytest.mark.parametrize("words", [("--", "-x = "), ("--", "--json"), ("- a list",), ("-1",), ("-- SQL",)])
    def test_prompts_that_begin_with_a_dash(self, words: tuple[str, ...]) -> None:
        code, out, err = run_here("complete", "--echo", *GREEDY, *words)
        assert (code, err) == (0, "")
        assert out.startswith(words[-1].encode())

    def test_output_is_utf8_in_any_locale(self) -> None:
        args = ("complete", "é", "--echo", *GREEDY)
        assert run(*args, PYTHONIOENCODING="ascii")[:2] == run(*args)[:2]

    @pytest.mark.parametrize("command", ["complete", "infill"])
    def test_help_says_what_is_declared(self, command: str) -> None:
        code, out, _ = run_here(command, "--help")
        text = " ".join(out.decode().partition("\nsampling:\n")[2].split())
        assert code == 0
        assert re.findall(r"(?<= )--[\w-]+(?= )|^-n N, --[\w-]+", text) == [
            "-n N, --max-tokens", "--temperature", "--top-k", "--top-p", "--min-p", "--repetition-penalty",
            "--frequency-penalty", "--presence-penalty", "--logit-bias", "--stop", "--stop-token", "--seed", "--echo",
            "--ignore-eos", "--deadline", "--line-deadline", "--min-indent", "--logprobs", "--no-token-healing",
            "--truncate", "--clip", "--attribution", "--on-match", "--match-length",
        ]  # fmt: skip
        for option in OPTIONS.values():
            if option.name not in ("any_token", "lookup", "logits_processor", "prompt_logprobs", "stopping"):
                assert f" {option.help}" in text
        assert "--top-p X choose among the fewest tokens that add up to this probability; 1 is off" in text
        assert "1 is off (0..1, default: the model file's, else 0.95) --min-p X" in text
        assert "repeatable (0..2^64-1, default: a random one)" in text
        assert r"not part of it; \n, \r, \t and \\ are escapes; repeatable" in text
        assert "--logit-bias ID=X by token id, added to the token's logit; -inf bans the token; repeatable" in text
        assert "--logprobs N with --json: return each token's log-probability" in text

    @pytest.mark.parametrize(("name", "value"), [
        ("max-tokens", "x"), ("max-tokens", "1.5"), ("top-p", "x"), ("stop-token", "a"), ("seed", "1e3"),
    ])  # fmt: skip
    def test_values_of_another_type(self, name: str, value: str) -> None:
        kind = "float" if name == "top-p" else "int"
        shown = "-n/--max-tokens" if name == "max-tokens" else f"--{name}"
        message = f"argument {shown}: invalid {kind} value: '{value}' (see santacoder complete --help)"
        assert fails("complete", PROMPT, f"--{name}", value, status=2) == message

    def test_values_out_of_range(self) -> None:
        assert fails("complete", PROMPT, "--top-p", "1.5") == "top_p is 1.5, but it must be a number in 0..1"


class TestInfill:
    def test_options(self) -> None:
        with santacoder.load(FILE) as model:
            for mode in ("auto", "psm", "spm"):
                expected = model.infill("a = ", "\n", mode=mode, temperature=0, max_tokens=12, ignore_eos=True)
                out = run_here("infill", "--prefix", "a = ", "--suffix", "\n", "--mode", mode, *GREEDY)
                assert out == (0, expected.text.encode(), "")

    def test_single_line(self) -> None:
        command = ("infill", "--prefix", "a = ", "--suffix", "\n", "--no-token-healing", *GREEDY)
        whole, line = run_here(*command)[1].decode(), run_here(*command, "--single-line")
        assert "\r" in whole
        assert line == (0, whole[: whole.index("\r")].encode(), "")

    def test_file_and_standard_input(self, tmp_path: Path) -> None:
        text = tmp_path / "text.py"
        text.write_text("a = <FILL_ME>\n", encoding="utf-8")
        expected = run_here("infill", "--prefix", "a = ", "--suffix", "\n", *GREEDY)
        assert run_here("infill", str(text), *GREEDY) == expected
        for dash in (("-",), ()):
            assert run_here("infill", *dash, *GREEDY, "--marker", "##", stdin=b"a = ##\n") == expected
        message = "standard input holds the marker '<FILL_ME>' 0 times, not once"
        assert fails("infill", stdin=b"a = ##\n") == message

    def test_nothing_to_fill(self) -> None:
        command = f'"{sys.executable}" -m santacoder infill -m "{FILE}" <&-'
        result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=HANG, check=False)
        message = "there is nothing to fill: pass FILE, or --prefix and --suffix (see santacoder infill --help)"
        assert (result.returncode, result.stdout, result.stderr) == (2, "", f"santacoder: {message}\n")

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    @needs_links
    @needs_modes
    def test_in_place(self, tmp_path: Path, mark: bytes) -> None:
        """Only the marker is replaced: a byte order mark, line breaks and permissions stay."""
        text, link = tmp_path / "text.py", tmp_path / "link.py"
        text.write_bytes(mark + "é = <FILL_ME>\r\nb\r\n".encode())
        text.chmod(0o640)
        link.symlink_to(text)
        _, middle, _ = run_here("infill", "--prefix", "é = ", "--suffix", "\r\nb\r\n", *GREEDY)
        code, out, err = run_here("infill", "-i", str(link), *GREEDY)
        assert (code, out, err) == (0, b"", f"santacoder: the text in {link} is cut off by --max-tokens\n")
        assert text.read_bytes() == mark + "é = ".encode() + middle + b"\r\nb\r\n"
        assert link.is_symlink()
        assert text.stat().st_mode & 0o777 == 0o640
        assert sorted(path.name for path in tmp_path.iterdir()) == ["link.py", "text.py"]

    def test_in_place_with_json(self, tmp_path: Path) -> None:
        text = tmp_path / "text.py"
        text.write_text("a = ##\n")
        code, out, _ = run_here("infill", "--in-place", str(text), "--marker", "##", "--json", *GREEDY)
        assert code == 0
        assert text.read_bytes().decode() == f"a = {json.loads(out)['text']}\n"

    def test_in_place_of_a_changed_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = tmp_path / "text.py"
        text.write_text("a = <FILL_ME>\n")
        infill = santacoder.SantaCoder.infill

        def change(*args: Any, **options: Any) -> santacoder.Completion:
            text.write_text("mine")
            return infill(*args, **options)

        monkeypatch.setattr(santacoder.SantaCoder, "infill", change)
        message = f"{text} was changed meanwhile, so nothing is written"
        assert fails("infill", "-i", str(text), *GREEDY) == message
        assert text.read_text() == "mine"

    def test_mistakes_in_place(self, tmp_path: Path) -> None:
        help = "(see santacoder infill --help)"
        for words in ((), ("-",), ("--prefix", "a"), (str(tmp_path), "--suffix", "b")):
            assert fails("infill", "-i", *words, status=2) == f"--in-place needs a FILE to write {help}"
        message = f"--echo and --in-place exclude each other: the file has the prefix {help}"
        assert fails("infill", "-i", "a", "--echo", status=2) == message
        assert fails("infill", "-i", str(tmp_path)) == f"{tmp_path}: this is a folder, not a file to write"
        assert fails("infill", "-i", str(tmp_path / "x")) == f"{tmp_path}/x: No such file or directory"

    def test_mistakes(self, tmp_path: Path) -> None:
        text = tmp_path / "text.py"
        text.write_bytes(b"a\xff<FILL_ME>")
        assert fails("infill", str(text)) == f"{text} is not UTF-8 at byte 1"
        text.write_bytes(b"<FILL_ME><FILL_ME>")
        assert fails("infill", str(text)) == f"{text} holds the marker '<FILL_ME>' 2 times, not once"
        assert fails("infill", str(tmp_path / "no")) == f"{tmp_path}/no: No such file or directory"
        message = "FILE and --prefix or --suffix exclude each other (see santacoder infill --help)"
        assert fails("infill", str(text), "--prefix", "a", status=2) == message


class TestInfo:
    def test_json(self) -> None:
        code, out, err = run("info", "--json", "--threads", "1", SANTACODER_ISA="scalar")
        assert (code, err) == (0, "")
        facts = json.loads(out)
        weights = facts.pop("weights_bytes")
        assert 1_000_000 < weights < 2_000_000
        assert facts == {
            "path": str(FILE), "file_bytes": FILE.stat().st_size, "file_type": "Q4_K_M",
            "parameters": 1579264, "license": None, "architecture": "starcoder", "name": "random",
            "context_length": 256, "embedding_length": 256,
            "feed_forward_length": 1024, "block_count": 2, "head_count": 4, "head_count_kv": 1,
            "layer_norm_epsilon": pytest.approx(1e-5), "vocab_size": 512, "tied_embeddings": True,
            "sampling_defaults": {}, "context": 256,
            "tensor_types": {"F32": 19, "Q4_K": 6, "Q6_K": 3}, "cache_bytes": 131072,
            "isa": "scalar", "threads": 1, "fim_mode": "psm",
            "special_tokens": {
                "end_of_text": 0, "fim_prefix": 1, "fim_suffix": 3, "fim_middle": 2, "fim_pad": 4,
            },
            "end_tokens": [0, 4],
        }  # fmt: skip

    def test_table(self) -> None:
        code, out, _ = run_here("info")
        lines = dict(line.split(maxsplit=1) for line in out.decode().splitlines())
        assert code == 0
        assert lines["isa"] == santacoder.isa()
        assert lines["license"] == "not stated"
        assert lines["sampling"] == "defaults    not stated"
        assert out.startswith(f"path                 {FILE}\n".encode())
        assert lines["special"] == "tokens       end_of_text 0, fim_prefix 1, fim_suffix 3, fim_middle 2, fim_pad 4"
        assert lines["end"] == "tokens           0, 4"

    def test_what_a_file_says(self, tmp_path: Path) -> None:
        """In any locale, and without controlling the terminal."""
        path = tmp_path / "a.gguf"
        path.write_bytes(tiny_builder(metadata={"general.name": "h\u00e9 \x1b[31m\n"}).build())
        code, out, err = run("info", model=path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        assert (code, err) == (0, "")
        assert "name                 h\u00e9 \\x1b[31m\\n" in out.decode().splitlines()

    @pytest.mark.parametrize(("kind", "expected"), [("F16", 64 * 2 * 2 * 32), ("F32", 64 * 2 * 4 * 32)])
    def test_memory_of_keys_and_values(self, tmp_path: Path, kind: str, expected: int) -> None:
        """A whole block of 64 positions, heads of 16 padded to 32, in f32 where all weights are."""
        path = tmp_path / "a.gguf"
        path.write_bytes(tiny_builder(weight_type=kind).build())
        assert json.loads(run_here("info", "--json", model=path)[1])["cache_bytes"] == expected


class TestTokenize:
    def test_table_and_json(self) -> None:
        with santacoder.load(FILE) as model:
            ids = model.tokenizer.encode("a<fim-pad>\n")
            plain = model.tokenizer.encode("a<fim-pad>\n", special=False)
        code, out, err = run_here("tokenize", "a<fim-pad>\n")
        assert (code, err) == (0, "")
        assert out.decode() == "".join(
            f"{token:>6} {piece!r}\n" for token, piece in zip(ids, ["a", "<fim-pad>", "\n"], strict=True)
        )
        result = json.loads(run_here("tokenize", "--json", stdin=b"a<fim-pad>\n")[1])
        assert result == {"tokens": ids, "pieces": ["a", "<fim-pad>", "\n"]}
        assert run_here("tokenize", "é")[1].decode().splitlines()[0].endswith(" b'\\xc3'")
        assert json.loads(run_here("tokenize", "--json", "--plain", "a<fim-pad>\n")[1])["tokens"] == plain


class TestPackagedModel:
    NOTE = (
        "santacoder: this is the small demonstration model of the package, not SantaCoder: "
        "choose another with --model PATH|REPO or SANTACODER_MODEL\n"
    )

    @pytest.fixture(autouse=True)
    def _no_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SANTACODER_MODEL", raising=False)

    def test_runs_where_none_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], greedy: santacoder.Completion
    ) -> None:
        monkeypatch.setattr("santacoder.sources.packaged.PACKAGED_MODEL", FILE)
        assert main(["complete", PROMPT, *GREEDY]) == 0
        assert capfd.readouterr() == (greedy.text, self.NOTE)
        assert main(["tokenize", "--json", PROMPT]) == 0
        assert capfd.readouterr().err == self.NOTE
        with santacoder.load() as model:
            assert model.complete(PROMPT, temperature=0, max_tokens=12, ignore_eos=True).tokens == greedy.tokens

    def test_the_note_comes_after_the_output(self) -> None:
        command = [sys.executable, "-m", "santacoder", "complete", PROMPT, *GREEDY]
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=HANG, check=True,
        )  # fmt: skip
        assert result.stdout.endswith(self.NOTE.encode())
        assert len(result.stdout) > len(self.NOTE)

    def test_no_note_before_an_error(self) -> None:
        assert fails("complete", "a", "--top-p", "2", model=None).startswith("top_p is 2.0")

    def test_no_note_about_a_named_one(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("santacoder.sources.packaged.PACKAGED_MODEL", Path("none.gguf"))
        assert main(["info", "--model", str(FILE)]) == 0
        monkeypatch.setenv("SANTACODER_MODEL", str(FILE))
        assert main(["info"]) == 0
        assert capfd.readouterr().err == ""

    def test_missing(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "models" / "tiny.gguf"
        monkeypatch.setattr("santacoder.sources.packaged.PACKAGED_MODEL", path)
        message = f"no model was named, and this installation lacks the demonstration model {path}: name a GGUF file"
        for command in (["complete", "a"], ["info"], ["tokenize", "a"], ["bench"], ["eval", "ppl", __file__]):
            assert main(command) == 1
            assert capfd.readouterr() == ("", f"santacoder: {message}\n")
        with pytest.raises(santacoder.ModelNotFoundError) as error:
            santacoder.load()
        assert str(error.value) == message
        assert isinstance(error.value, FileNotFoundError)

    def test_location(self) -> None:
        expected = Path(santacoder.__file__).parent / "models" / "santacoder-tiny-q4_k_m.gguf"
        assert expected == packaged.PACKAGED_MODEL


class TestFailures:
    def test_files(self, tmp_path: Path) -> None:
        assert fails("info", model="none.gguf") == "none.gguf: there is no such model file"
        assert fails("info", model=tmp_path) == f"'{tmp_path}' has no GGUF file; it has no files"
        foreign = tmp_path / "foreign.gguf"
        foreign.write_bytes(b"MZ" + bytes(100))
        assert str(foreign) in fails("info", model=foreign)
        foreign.write_bytes(FILE.read_bytes()[:5000])
        assert str(foreign) in fails("complete", "a", model=foreign)

    def test_requests(self) -> None:
        assert fails("complete", "a", "--top-p", "nan") == "top_p is nan, but it must be a number in 0..1"
        message = "temperature is -1.0, but it must be a finite number of 0 or more"
        assert fails("complete", "a", "--temperature", "-1") == message
        message = "the prompt has 1 tokens and max_tokens is 256, together 257, but the context has 256 positions"
        assert fails("complete", "a", "--max-tokens", "256") == message
        assert fails("complete", "a", "-t", "0").startswith("threads is 0")
        assert fails("complete", stdin=b"a\xff") == "standard input is not UTF-8 at byte 1"

    def test_isa(self) -> None:
        assert message_of(run("info", SANTACODER_ISA="mmx")).startswith(
            "SANTACODER_ISA is 'mmx', but it must be one of"
        )

    def test_offline(self) -> None:
        message = message_of(run("info", model="owner/name", HF_HUB_OFFLINE="1"))
        assert message == (
            "cannot get a model from 'owner/name': it is not in the local cache, "
            "and the hub cannot be reached (offline?); nor is there a file or folder 'owner/name'"
        )

    @pytest.mark.parametrize(
        ("redirection", "message"),
        [
            (">&-", "standard output is closed"),
            ("<&-", "there is no text: pass it as an argument, or - to type it (see santacoder complete --help)"),
            ("- <&-", "standard input is closed (see santacoder complete --help)"),
        ],
    )
    def test_closed_streams(self, redirection: str, message: str) -> None:
        command = f'"{sys.executable}" -m santacoder complete -m "{FILE}" {redirection}'
        result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=HANG, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", f"santacoder: {message}\n")

    def test_closed_errors(self) -> None:
        """Messages are lost, and do not appear in the output."""
        command = f'"{sys.executable}" -m santacoder complete a -n 3 --temperature 0 2>&-'
        environment = {name: value for name, value in os.environ.items() if name != "SANTACODER_MODEL"}
        closed = subprocess.run(command, shell=True, capture_output=True, timeout=HANG, check=True, env=environment)
        assert (0, closed.stdout) == run("complete", "a", "-n", "3", "--temperature", "0", model=None)[:2]

    def test_usage(self) -> None:
        message = "unrecognized arguments: --frob (see santacoder info --help)"
        assert fails("info", "--frob", status=2) == message
        message = (
            "unrecognized arguments: -xy; a text that begins with a dash comes after --: santacoder complete -- TEXT "
            "(see santacoder complete --help)"
        )
        assert fails("complete", "-xy", status=2) == message
        assert "'swim'" in fails("swim", status=2)
        assert fails("complete", "--top-k", "x", status=2).endswith("(see santacoder complete --help)")
        message = "argument --logit-bias: '7' is not ID=X (see santacoder complete --help)"
        assert fails("complete", "--logit-bias", "7", status=2) == message

    @pytest.mark.parametrize("words", [(), ("help",), ("--help",)])
    def test_help_lists_all_commands(self, words: tuple[str, ...]) -> None:
        code, out, err = run_here(*words)
        listed = re.findall(r"^    (\w+) ", out.decode(), re.MULTILINE)
        assert (code, err, listed) == (0, "", list(COMMANDS))

    def test_help_fits_into_a_narrow_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "60")
        commands = [(), *((name,) for name in COMMANDS), *(("eval", name) for name in MEASUREMENTS)]
        lines = [line for words in commands for line in run_here("help", *words)[1].decode().splitlines()]
        assert len(lines) > 1000
        assert [line for line in lines if len(line) > 60] == []

    @pytest.mark.parametrize("words", [("complete",), ("eval",), ("eval", "humaneval")])
    def test_help_of_a_command(self, words: tuple[str, ...]) -> None:
        outcome = run_here("help", *words)
        assert outcome[0] == 0
        assert outcome[1].startswith(f"usage: santacoder {' '.join(words)} ".encode())
        assert outcome == run_here(*words, "--help")

    def test_a_command_imports_no_other(self) -> None:
        code = (
            "import sys; from santacoder.cli import COMMANDS, main; status = main(sys.argv[1:]);"
            "print([name for name in COMMANDS if f'santacoder.cli.{name}' in sys.modules]); sys.exit(status)"
        )
        command = [sys.executable, "-c", code, "tokenize", "a", "-m", str(FILE)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
        assert result.stdout.splitlines()[-1] == "['tokenize']"

    def test_version(self) -> None:
        assert run("--version") == (0, f"santacoder {santacoder.__version__}\n".encode(), "")
        assert run_here("-V") == run("--version")

    def test_closed_pipe(self) -> None:
        read, write = os.pipe()
        os.close(read)
        try:
            command = [sys.executable, "-m", "santacoder", "complete", "a", "-m", str(FILE), *GREEDY]
            result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=HANG, check=False)
        finally:
            os.close(write)
        assert (result.returncode, result.stderr) == (141, b"")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_full_disk(self) -> None:
        command = [sys.executable, "-m", "santacoder", "info", "-m", str(FILE)]
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=HANG, check=False)
        assert (result.returncode, result.stderr) == (1, b"santacoder: No space left on device\n")

    @needs_fork
    def test_interrupt(self) -> None:
        """In the middle of a measurement that would take days."""
        code = (
            "import sys; from santacoder import cli; from santacoder.bench import measure; real = measure.benchmark\n"
            "def begun(*args, **options):\n    print('begun', flush=True)\n    return real(*args, **options)\n"
            "measure.benchmark = begun; sys.exit(cli.main(sys.argv[1:]))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, "bench", "-r", "1000000", "-m", str(FILE)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=HANG) == (b"", b"")
        finally:
            process.kill()
        assert process.returncode == 130

    def test_internal_errors_are_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def explode(*_: Any) -> None:
            raise RuntimeError("two\nlines")

        monkeypatch.setattr("santacoder.cli.options.model_path", explode)
        assert main(["info"]) == 1
        assert capsys.readouterr().err == ("santacoder: internal error, please report it: RuntimeError: two lines\n")
