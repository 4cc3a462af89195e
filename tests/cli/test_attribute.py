"""`santacoder attribute`: indexes of code, and what of a file stands in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.attribution_corpus import code, make_index, write_corpus
from tests.support.command_line import message_of, run_here

INDENT = code(2, 10)[: -len(code(2, 10).lstrip())]
LICENCE = "# SPDX-License-Identifier: MIT\n"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    files = {f"f{number}.py": f"{code(1, 10)}{code(100 + number, 5)}" for number in range(25)}
    return make_index(tmp_path, {**files, "own.py": LICENCE + code(2, 10)})


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A file with a common span and one that is not."""
    path = tmp_path / "generated.py"
    path.write_text(f"x = 0\n{code(2, 10)}y = 0\n{code(1, 10)}")
    return path


def attribute(*args: object, stdin: bytes = b"") -> tuple[int, str, str]:
    status, out, err = run_here("attribute", *map(str, args), stdin=stdin)
    return status, out.decode(), err


def test_index(tmp_path: Path) -> None:
    """Twice: what was added, what was skipped."""
    corpus = write_corpus(tmp_path / "corpus", {"a.py": code(1), "b/c.py": code(2), "short.py": "x"})
    (corpus / "link.py").symlink_to("a.py")
    for added, there, size in ((2, 0, "0.0"), (0, 2, "0.0")):
        status, out, err = attribute("index", tmp_path / "x.scidx", corpus, "--jobs", 2)
        assert (status, err) == (0, f"skipped {corpus}/link.py: is a symbolic link\n")
        lines = out.splitlines()
        assert lines[0] == f"added {added} files ({added} different texts); {there} were there before"
        assert lines[1].startswith(f"read {size} MB at ")
        assert lines[2:] == ["skipped, as it is a symbolic link: 1", "skipped, as it is too short: 1"]


def test_check(index: Path, generated: Path) -> None:
    """Common matches are hidden, and counted in a note."""
    status, out, err = attribute("check", index, generated)
    assert (status, err) == (0, "santacoder: common matches that are not shown: 1 (see --all)\n")
    first, second = out.splitlines()
    characters = len(code(2, 10).strip())
    assert first == f"{generated}:2-11: exact, 130 lexemes, {characters} characters, in 1 file"
    assert second == "    MIT (file)  corpus own.py:2-11"
    status, out, err = attribute("check", index, generated, "--all")
    assert (status, err) == (0, "")
    assert " exact, common, 130 lexemes, " in out
    assert out.splitlines()[2].endswith(", in at least 20 files")
    assert out.splitlines()[-1] == "    and 10 more"


def test_nothing_is_found(index: Path) -> None:
    assert attribute("check", index, "-", stdin=code(77).encode()) == (0, "", "santacoder: nothing was found\n")


def test_json(index: Path, generated: Path) -> None:
    status, out, err = attribute("check", index, "-", "--json", "--all", stdin=generated.read_bytes())
    found = json.loads(out)
    assert (status, err, found["file"], found["common"]) == (0, "", "standard input", 1)
    match = found["matches"][0]
    assert match["sources"] == [
        {
            "repository": "corpus", "path": "own.py", "revision": "", "licence": "MIT", "licence_source": "file",
            "start_line": 2, "end_line": 11, "kind": "exact",
        }
    ]  # fmt: skip
    assert [match["common"] for match in found["matches"]] == [False, True]
    assert generated.read_text()[match["start"] : match["end"]] == code(2, 10).strip()


def test_sarif(index: Path, generated: Path, tmp_path: Path) -> None:
    """Locations are those of the generated file, related ones of the sources."""
    target = tmp_path / "out.sarif"
    assert attribute("check", index, generated, "--sarif", target)[0] == 0
    log = json.loads(target.read_text())
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    [result] = run["results"]
    assert result["ruleId"] in {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    region = result["locations"][0]["physicalLocation"]["region"]
    assert (region["startLine"], region["endLine"], region["charOffset"]) == (2, 11, 6 + len(INDENT))
    related = result["relatedLocations"][0]["physicalLocation"]
    assert related == {"artifactLocation": {"uri": "own.py"}, "region": {"startLine": 2, "endLine": 11}}
    assert result["properties"]["licences"] == ["MIT"]
    generated.write_text(generated.read_text().replace("    ", "\t"))
    attribute("check", index, generated, "--sarif", target)
    again = json.loads(target.read_text())["runs"][0]["results"][0]
    assert (again["ruleId"], again["partialFingerprints"]) == ("whitespace", result["partialFingerprints"])


def test_notices(index: Path, generated: Path) -> None:
    assert attribute("check", index, generated, "--notices")[:2] == (0, "MIT\n---\ncorpus own.py:2-11\n\n")


def test_fail_on_match(index: Path, generated: Path) -> None:
    """Status 3, unless all is common."""
    assert attribute("check", index, generated, "--fail-on-match")[0] == 3
    generated.write_text(code(1, 10))
    assert attribute("check", index, generated, "--fail-on-match")[0] == 0
    assert attribute("check", index, generated, "--fail-on-match", "--all")[0] == 3


def test_info(index: Path) -> None:
    facts = json.loads(attribute("info", index, "--json")[1])
    assert (facts["files"], facts["contents"], facts["guarantee"], facts["renamed"]) == (26, 26, 40, False)
    assert facts["file_bytes"] == index.stat().st_size
    lines = attribute("info", index)[1].splitlines()
    assert lines[0] == "files        26"
    assert lines[-2:] == ["renamed      no", "guarantee    40"]


def test_merge_remove_export(index: Path, generated: Path, tmp_path: Path) -> None:
    other = make_index(tmp_path, {"more.py": code(3)}, name="other")
    assert attribute("merge", other, index) == (0, "", "")
    assert "corpus own.py:2-11" in attribute("check", other, generated)[1]
    assert attribute("export", other, tmp_path / "o.jsonl")[1] == f"wrote 27 rows to {tmp_path}/o.jsonl\n"
    assert attribute("export", other, tmp_path / "p.jsonl", "--postings")[0] == 0
    assert attribute("remove", other, "--repository", "corpus")[1] == "removed 26 files\n"
    assert attribute("check", other, generated)[1] == ""


def test_names_from_the_corpus_cannot_control_a_terminal(tmp_path: Path) -> None:
    index = make_index(tmp_path, {"\x1b[2J.py": code(1)})
    out = attribute("check", index, "-", stdin=code(1).encode())[1]
    assert out.splitlines()[1] == "    NOASSERTION  corpus \\x1b[2J.py:1-30"


def test_bad_input(index: Path, tmp_path: Path) -> None:
    no = str(tmp_path / "no")
    see = "(see santacoder attribute index --help)"
    for words, status, said in (
        (("index", index), 2, f"there is nothing to index: name a folder, an archive or a file {see}"),
        (("index", index, no), 1, f"{no}: No such file or directory"),
        (("check", no, "-"), 1, f"{no}: there is no such index"),
        (("check", index, "-", "--min-length", "3"), 1, "min_length is 3, but it must be an integer of 16 or more"),
        (("remove", index, "--repository", "x"), 1, f"{index} has no file of the repository 'x'"),
        (("merge", index, index), 1, f"{index} cannot be merged into itself"),
    ):
        assert message_of(run_here("attribute", *map(str, words)), status) == said


def test_complete(tmp_path: Path) -> None:
    """`complete --attribution`: a report, or a text that ends before it is a copy; the output is only the text."""
    words = ["complete", "-n", "120", "--temperature", "0.9", "--seed", "3", "import os\n\n\ndef main():\n"]
    plain = run_here(*words, model=None)[1].decode()
    index = make_index(tmp_path, {"source.py": f"own = 1\n{plain}\nown\n"})
    reporting = [*words[:-1], "--attribution", str(index), words[-1]]
    status, out, err = run_here(*reporting, model=None)
    assert (status, out.decode()) == (0, plain)
    assert "completion:1-" in err
    assert " corpus source.py:2-" in err
    status, out, err = run_here(*reporting[:-1], "--on-match", "stop", words[-1], model=None)
    assert status == 0
    assert plain.startswith(out.decode())
    assert len(out) < len(plain.encode())
    assert "the text ends here because it would have become a copy of a file in the index" in err
    err = run_here(*reporting[:-1], "--samples", "2", "--on-match", "stop", words[-1], model=None)[2]
    assert "sample 0 ends here because it would have become a copy of a file in the index" in err
    assert "sample 1" not in err
    found = json.loads(run_here(*reporting, "--json", model=None)[1])
    assert found["attribution"][0]["sources"][0]["path"] == "source.py"
    said = message_of(run_here("complete", "--prompts", "x.jsonl", "--attribution", str(index)), 2)
    assert said.startswith("--prompts and --attribution exclude each other: check the results instead")
