"""What is taken from folders and archives, and whose it is; what is skipped, and that hostile files do no harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest

from santacoder.attribution import archives
from santacoder.attribution.corpus import Corpus, Skipped
from santacoder.attribution.lexemes import MAX_TEXT
from santacoder.attribution.origins import Origin
from tests.support.attribution_corpus import write_corpus
from tests.support.needs import needs_any_names, needs_links, needs_named_pipes

METADATA = "Metadata-Version: 2.1\nName: Thing\nVersion: 1.2\nLicense-Expression: MIT\n\nLicense: GPL\n"


def read(*paths: Path, repository: str | None = None, licence: str | None = None) -> dict[str, Origin]:
    """Path -> origin of all files; none may be skipped."""
    corpus = Corpus(paths, repository, licence)
    found = {file.path: file.origin for file in corpus.files()}
    assert corpus.skipped.counts == {}
    return found


def skipped(path: Path) -> tuple[list[str], dict[str, str]]:
    """Paths of the files that are taken, and name -> reason of those that are not."""
    reasons: dict[str, str] = {}
    corpus = Corpus((path,), skipped=Skipped(lambda name, reason: reasons.update({Path(name).name: reason})))
    taken = [file.path for file in corpus.files()]
    assert sum(corpus.skipped.counts.values()) >= len(reasons)
    return taken, reasons


def write_tar(path: Path, files: dict[str, str], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def write_zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_folder(tmp_path: Path) -> None:
    """Goes by its path; a file's own licence goes before the one that is given."""
    folder = write_corpus(tmp_path / "code", {"a.py": "a", "b/c.js": "// SPDX-License-Identifier: BSD-3-Clause\n"})
    here = str(folder)
    assert read(folder) == {"a.py": Origin(here), "b/c.js": Origin(here, "", "BSD-3-Clause", "file")}
    assert read(folder / "a.py") == {"a.py": Origin(here)}
    assert read(folder, repository="x", licence="MIT") == {
        "a.py": Origin("x", "", "MIT", "given"),
        "b/c.js": Origin("x", "", "BSD-3-Clause", "file"),
    }


def test_metadata_in_a_folder(tmp_path: Path) -> None:
    folder = write_corpus(
        tmp_path / "p", {"package.json": '{"name": "n", "version": "1", "license": "ISC"}', "x.js": "x"}
    )
    assert read(folder)["x.js"] == Origin(str(folder), "", "ISC", "package.json")


@pytest.mark.parametrize("packed", [False, True])
def test_checkout(tmp_path: Path, packed: bool) -> None:
    """Address and commit, of each checkout by itself; credentials in an address are nobody's business."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = '[core]\n\tbare = false\n[remote "up"]\n\turl = u\n[remote "origin"]\n\tfetch = f\n\turl = https://me:word@h/r.git\n'
    ref = {".git/packed-refs": f"# pack\n{commit} refs/heads/main\n"} if packed else {".git/refs/heads/main": commit}
    top = {".git/HEAD": "ref: refs/heads/main\n", ".git/config": config, **ref, "a/b.py": "x"}
    folder = write_corpus(tmp_path / "top", top)
    write_corpus(folder / "third/inner", {".git/HEAD": commit[::-1], "c.py": "x"})
    write_corpus(folder / "broken", {".git/HEAD": "ref: ../../../x", "d.py": "x"})
    assert read(folder) == {
        "a/b.py": Origin("https://h/r.git", commit),
        "c.py": Origin(str(folder / "third/inner"), commit[::-1]),
        "d.py": Origin(str(folder / "broken")),
    }
    assert {origin.revision for origin in read(tmp_path).values()} == {commit, commit[::-1], ""}


def test_archives(tmp_path: Path) -> None:
    """Name, version and licence are those of the package; nothing is unpacked."""
    wheel = write_zip(tmp_path / "thing-1.2.whl", {"thing/a.py": "a", "thing-1.2.dist-info/METADATA": METADATA})
    sdist = write_tar(tmp_path / "thing-1.2.tar.gz", {"thing-1.2/a.py": "a", "thing-1.2/PKG-INFO": METADATA})
    npm = {"name": "@scope/n", "version": "3.0", "license": {"type": "ISC"}}
    inner = {**npm, "name": "inner"}
    node = write_tar(
        tmp_path / "n.tgz",
        {"package/m/package.json": json.dumps(inner), "package/x.js": "x", "package/package.json": json.dumps(npm)},
    )
    parent = "<parent><groupId>g</groupId><version>7</version></parent>"
    pom = f"<project xmlns='u'>{parent}<artifactId>a</artifactId></project>"
    jar = write_zip(tmp_path / "a-sources.jar", {"g/A.java": "x", "META-INF/maven/g/a/pom.xml": pom})
    plain = write_tar(tmp_path / "plain.tar", {"x.py": "x"}, "w")
    before = sorted(tmp_path.iterdir())
    assert read(wheel)["thing/a.py"] == Origin("pkg:pypi/Thing", "1.2", "MIT", "METADATA")
    assert read(sdist)["thing-1.2/a.py"] == Origin("pkg:pypi/Thing", "1.2", "MIT", "PKG-INFO")
    assert read(node)["package/x.js"] == Origin("pkg:npm/@scope/n", "3.0", "ISC", "package.json")
    assert read(jar)["g/A.java"] == Origin("pkg:maven/g/a", "7")
    assert read(plain) == {"x.py": Origin("plain.tar")}
    assert read(sdist, repository="r", licence="0BSD")["thing-1.2/a.py"] == Origin("r", "1.2", "0BSD", "given")
    assert len(read(tmp_path)) == 11 - 1  # two have the same path
    assert sorted(tmp_path.iterdir()) == before


@needs_any_names
@needs_links
@needs_named_pipes
def test_hostile_folder(tmp_path: Path) -> None:
    """Links, devices, sockets, names that are no text, files that are too large: one line each, nothing followed."""
    outside = write_corpus(tmp_path / "outside", {"secret.py": "secret"})
    folder = write_corpus(tmp_path / "folder", {"good.py": "good", "locked/x.py": "x"})
    (folder / "link.py").symlink_to(outside / "secret.py")
    (folder / "loop").symlink_to(folder)
    (folder / "out").symlink_to(outside)
    os.mkfifo(folder / "pipe.py")
    sock = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder)  # the names of sockets are short
    sock.bind("socket.py")
    os.chdir(here)
    with (folder / "huge.py").open("wb") as file:
        file.truncate(2 << 30)
    (folder / "line.py").write_bytes(b"x = 1\n" + b"y" * 200_000 + b"\n")
    (folder / "binary.bin").write_bytes(b"a\0b")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.py"))).write_text("x")
    taken, reasons = skipped(folder)
    sock.close()
    assert taken == ["good.py", "locked/x.py"]
    assert reasons == {
        "link.py": "is a symbolic link", "loop": "is a symbolic link", "out": "is a symbolic link",
        "pipe.py": "is not a regular file", "socket.py": "cannot be read (No such device or address)",
        "huge.py": f"is too large (2147483648 bytes, the limit is {MAX_TEXT})",
        "line.py": "has too long a line (200000 bytes, the limit is 100000)",
        "\udcff.py": "has a name that is not UTF-8",
    }  # fmt: skip


def test_hostile_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs, links, names of gigabytes, damage: one line each."""
    monkeypatch.setattr(archives, "LEAST_LIMIT", 1 << 20)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_zip(folder / "bomb.zip", {f"{number}.py": "x" * (1 << 20) for number in range(30)})
    write_tar(folder / "bomb.tgz", {"a.py": "good", **{f"{number}.bin": "\0" * (1 << 20) for number in range(30)}})
    write_zip(folder / "big.zip", {"big.py": "x" * (MAX_TEXT + 1), "small.py": "x"})
    with tarfile.open(folder / "links.tar", "w") as archive:
        for name, kind in (
            ("link.py", tarfile.SYMTYPE),
            ("device.py", tarfile.CHRTYPE),
            ("\udcff.py", tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    long_name = tarfile.TarInfo("long")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (folder / "name.tar").write_bytes(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(100_000))
    whole = write_zip(tmp_path / "whole.zip", {"a.py": "x = 1\n" * 1000}).read_bytes()
    (folder / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.zip").write_bytes(whole[:60] + bytes(20) + whole[80:])
    (folder / "cut.tar.gz").write_bytes(gzip.compress(os.urandom(5000))[:3000])
    (folder / "text.whl").write_text("not a zip file")
    (folder / "empty.tgz").write_bytes(b"")
    taken, reasons = skipped(folder)
    assert taken == ["small.py"]
    limit = 1 << 20
    assert {name: reasons[name] for name in ("bomb.zip", "bomb.tgz")} == {
        "bomb.zip": f"expands to too much (over {max(limit, (folder / 'bomb.zip').stat().st_size * 60)} bytes)",
        "bomb.tgz": f"expands to too much (over {max(limit, (folder / 'bomb.tgz').stat().st_size * 60)} bytes)",
    }
    assert reasons["big.zip: big.py"] == f"is too large ({MAX_TEXT + 1} bytes, the limit is {MAX_TEXT})"
    assert reasons["links.tar: link.py"] == reasons["links.tar: device.py"] == "is not a regular file"
    assert reasons["links.tar: \udcff.py"] == "has a name that is not UTF-8"
    for name in ("name.tar", "cut.zip", "flipped.zip", "cut.tar.gz", "text.whl", "empty.tgz"):
        assert reasons[name].startswith("is a damaged archive (")


def test_metadata_that_makes_no_sense(tmp_path: Path) -> None:
    """Is ignored, entities that grow included."""
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><project><artifactId>&a;</artifactId></project>"
    for name, text in (
        ("package.json", "[1"),
        ("package.json", "{}"),
        ("package.json", "[]"),
        ("pom.xml", bomb),
        ("pom.xml", "<"),
    ):
        path = write_tar(tmp_path / "p.tgz", {f"package/{name}": text, "package/x.js": "x"})
        assert read(path)["package/x.js"] == Origin("p.tgz")


def test_expressions() -> None:
    """What license-expression understands becomes SPDX; anything else stays, in one line."""
    pytest.importorskip("license_expression")
    assert Origin("r").with_licence("mit or\n apache-2.0", "x").licence == "MIT OR Apache-2.0"
    assert Origin("r").with_licence("My own  licence (see\nthere", "x").licence == "My own licence (see there"


def test_long_licence() -> None:
    assert Origin("r").with_licence("y" * 1000, "x") == Origin("r", "", "y" * 200, "x")
    assert Origin("r").with_licence(" \n", "x") == Origin("r")
