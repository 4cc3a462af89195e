"""What a release needs: tag, version and changelog that agree, a bill of materials, an archive of the same bytes."""

from __future__ import annotations

import json
import os
import re
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from santacoder._version import __version__
from santacoder.sources.packaged import packaged_model
from tests.support.paths import ROOT
from tools.check_release import main, release_notes
from tools.sbom import sbom
from tools.source_archive import write_archive

CHANGELOG = "# Changelog\n\nWords.\n\n## 1.2.0 (2026-11-30)\n\n### Fixed\n- a\n\n## 1.1.0 (2026-10-01)\n\n- b\n"


def test_a_release() -> None:
    """The changelog's section is the text of the release."""
    assert release_notes("v1.2.0", "1.2.0", CHANGELOG) == "### Fixed\n- a\n"
    candidate = CHANGELOG.replace("## 1.2.0", "## 1.2.0rc1")
    assert release_notes("v1.2.0rc1", "1.2.0rc1", candidate) == "### Fixed\n- a\n"


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "problem"),
    [
        ("1.2.0", "1.2.0", CHANGELOG, "the tag is '1.2.0', but the version 1.2.0 needs the tag 'v1.2.0'"),
        ("v1.2.0", "1.2.1", CHANGELOG, "the tag is 'v1.2.0', but the version 1.2.1 needs the tag 'v1.2.1'"),
        ("v1.2", "1.2", CHANGELOG, "the version is '1.2', but it must be like 0.1.0 or 0.1.0rc1"),
        ("v1.2.0.dev1", "1.2.0.dev1", CHANGELOG, "the version is '1.2.0.dev1', but it must be like 0.1.0 or 0.1.0rc1"),
        (
            "v1.1.0",
            "1.1.0",
            CHANGELOG,
            "the changelog begins with '## 1.2.0 (2026-11-30)', but it must begin with '## 1.1.0 (YYYY-MM-DD)'",
        ),
        (
            "v1.2.0",
            "1.2.0",
            CHANGELOG.replace(" (2026-11-30)", ""),
            "the changelog begins with '## 1.2.0', but it must begin with '## 1.2.0 (YYYY-MM-DD)'",
        ),
        (
            "v1.2.0",
            "1.2.0",
            CHANGELOG.replace("2026-11-30", "unreleased"),
            "the changelog has 'unreleased' as the date of 1.2.0, but it must be YYYY-MM-DD",
        ),
        (
            "v1.2.0",
            "1.2.0",
            CHANGELOG.replace("2026-11-30", "2026-02-30"),
            "the changelog has '2026-02-30' as the date of 1.2.0, but it must be YYYY-MM-DD",
        ),
        (
            "v1.2.0",
            "1.2.0",
            "# Changelog\n",
            "the changelog has no section: it must begin with that of the version",
        ),
        (
            "v1.2.0",
            "1.2.0",
            "# Changelog\n\n## 1.2.0 (2026-11-30)\n\n## 1.1.0 (2026-10-01)\n",
            "the changelog says nothing about 1.2.0",
        ),
    ],
)
def test_no_release(tag: str, version: str, changelog: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        release_notes(tag, version, changelog)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "src" / "santacoder").mkdir(parents=True)
    (tmp_path / "src" / "santacoder" / "_version.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    assert main("v1.2.0", tmp_path) == 0
    assert capsys.readouterr() == ("### Fixed\n- a\n", "")
    assert main("v1.2.1", tmp_path) == 1
    problem = "not a release: the tag is 'v1.2.1', but the version 1.2.0 needs the tag 'v1.2.0'\n"
    assert capsys.readouterr() == ("", problem)


def test_the_changelog_has_this_version() -> None:
    """With or without a date."""
    titles = re.findall(
        r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert titles[0] == __version__


def test_bill_of_materials() -> None:
    """The package, the model by its hash, and each source of its training with a license; no word twice."""
    bill = json.loads(sbom("1.2.0", packaged_model().parent))
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/santacoder@1.2.0"
    model, *sources = bill["components"]
    digest = sha256(packaged_model().read_bytes()).hexdigest()
    assert (model["name"], model["hashes"]) == (packaged_model().name, [{"alg": "SHA-256", "content": digest}])
    listed = json.loads((ROOT / "tools" / "tiny" / "sources.json").read_text(encoding="utf-8"))
    assert [(each["name"], each["version"], each["licenses"][0]["license"]["name"]) for each in sources] == [
        (each["name"], each["version"], each["licence"]) for each in listed
    ]
    assert all(each["licenses"][0]["license"]["name"] and each["scope"] == "excluded" for each in sources)
    references = [each["bom-ref"] for each in sources]
    assert len({*references, model["bom-ref"]}) == len(bill["components"])
    assert [each["ref"] for each in model["modelCard"]["modelParameters"]["datasets"]] == references
    assert bill["dependencies"] == [
        {"ref": "pkg:pypi/santacoder@1.2.0", "dependsOn": [model["bom-ref"]]},
        {"ref": model["bom-ref"], "dependsOn": references},
    ]
    assert {each.get("purl", "").partition("/")[0] for each in sources} == {"pkg:pypi", "pkg:npm", ""}


def test_archives_have_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the files' times, modes and order."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        folder = tmp_path / str(number) / "santacoder-1"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(name)
            os.utime(folder / name, (number, number))
        (folder / "a").chmod(0o600 + 0o44 * number)
        write_archive(folder, tmp_path / f"{number}.tar.gz")
    assert (tmp_path / "0.tar.gz").read_bytes() == (tmp_path / "1.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "0.tar.gz") as archive:
        assert archive.getnames() == ["santacoder-1", "santacoder-1/a", "santacoder-1/b"]
        assert {entry.mtime for entry in archive} == {315532800}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    write_archive(folder, tmp_path / "dated.tar.gz")
    with tarfile.open(tmp_path / "dated.tar.gz") as archive:
        assert {entry.mtime for entry in archive} == {1700000000}
