"""Build the training corpus from archives of permissively licensed packages.

    python corpus.py --archives ARCHIVES --out CORPUS

ARCHIVES holds what `pip download`, `npm pack` and Maven wrote (see README.md): wheels and source archives of
Python packages (.whl, .tar.gz), npm packages (.tgz), Java source jars (-sources.jar). The standard library of the
running interpreter is added, unless --no-standard-library is given. CORPUS becomes

    files/LANGUAGE/NAME-VERSION/...   the files that were kept
    train.txt, heldout.txt            their paths below files/, sorted
    manifest.json                     SHA-256 of each archive, what was kept and why the rest was not
    sources.json                      name, version and licence of each source: the list for the model card

A file is held out when the SHA-1 of its path below files/ (UTF-8, as an integer) is divisible by 20. The result
depends on the archives and on this file alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import licences
import selection

HOLD_OUT_EVERY = 20
EXTENSIONS = {
    "python": frozenset({".py"}),
    "javascript": frozenset({".js", ".mjs", ".cjs", ".jsx"}),
    "java": frozenset({".java"}),
}


@dataclass
class Source:
    """One archive: what it is, and what became of its files (sizes in bytes)."""

    language: str
    name: str
    version: str
    licence: str
    url: str
    archive: str
    sha256: str
    files: int = 0
    size: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """Count a file that is not kept."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    @property
    def folder(self) -> str:
        """Its folder below files/."""
        return f"{self.language}/{self.name}-{self.version}"


def is_held_out(path: str) -> bool:
    """Whether the file of this path below files/ must never be trained on."""
    return int(hashlib.sha1(path.encode()).hexdigest(), 16) % HOLD_OUT_EVERY == 0


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the regular files of a zip or tar archive that may matter, in its own order."""
    if archive.suffix in {".whl", ".zip", ".jar"}:
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if not info.is_dir() and _matters(info.filename):
                    yield info.filename, file.read(info)
        return
    with tarfile.open(archive) as file:
        for member in file:
            data = file.extractfile(member) if member.isfile() and _matters(member.name) else None
            if data is not None:
                yield member.name.partition("/")[2], data.read()


def _matters(name: str) -> bool:
    path = PurePosixPath(name)
    known = any(path.suffix in extensions for extensions in EXTENSIONS.values())
    return known or path.name in {"METADATA", "PKG-INFO", "package.json"} or path.suffix == ".pom"


def identify(archive: Path, files: dict[str, bytes]) -> Iterator[Source]:
    """One source for each language of an archive: name, version and licence from the metadata that it carries.

    Raises:
        ValueError: it carries none.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if archive.name.endswith("-sources.jar"):
        pom = archive.with_name(archive.name.replace("-sources.jar", ".pom"))
        found, languages = licences.from_maven(pom.read_bytes()), ("java",)
    elif archive.suffix == ".tgz":
        found, languages = licences.from_npm(files["package.json"]), ("javascript", "java")
    else:
        names = [n for n in files if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        names += [n for n in files if n == "PKG-INFO"]
        if not names:
            raise ValueError(f"{archive.name} holds no metadata")
        found, languages = licences.from_python(files[names[0]]), ("python",)
    for language in languages:
        yield Source(language, *found, archive=archive.name, sha256=digest)


def standard_library() -> tuple[Source, dict[str, bytes]]:
    """Return the running interpreter's standard library; its hash is over the sorted paths and contents."""
    root = Path(sysconfig.get_path("stdlib"))
    digest = hashlib.sha256()
    files: dict[str, bytes] = {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not {"site-packages", "dist-packages"} & set(path.parts):
            files[name] = path.read_bytes()
            digest.update(name.encode() + b"\0" + files[name])
    version = ".".join(map(str, sys.version_info[:3]))
    url = f"https://www.python.org/ftp/python/{version}/"
    return Source("python", "cpython", version, "PSF-2.0", url, "standard library", digest.hexdigest()), files


def candidates(source: Source, files: dict[str, bytes], cap: int) -> dict[str, str]:
    """Return the files of one archive that are worth training on: path below files/ -> text, at most `cap` bytes."""
    wanted: dict[str, str] = {}
    for name in sorted(files):
        if PurePosixPath(name).suffix not in EXTENSIONS[source.language]:
            continue
        reason, text = selection.check(name, files[name])
        if reason:
            source.drop(reason)
        else:
            wanted[f"{source.folder}/{name}"] = text
    kept: dict[str, str] = {}
    room = cap
    for path in sorted(wanted, key=lambda path: hashlib.sha256(path.encode()).digest()):
        size = len(wanted[path].encode())
        if size > room:
            source.drop("over the source's share")
        else:
            room -= size
            kept[path] = wanted[path]
    return kept


def read_sources(archives: Path, caps: dict[str, int], with_library: bool) -> tuple[list[Source], dict[str, str]]:
    """All sources whose licence allows it, and their candidate files; `caps` in bytes for each language."""
    sources: list[Source] = []
    texts: dict[str, str] = {}
    if with_library:
        library, files = standard_library()
        sources.append(library)
        texts = candidates(library, files, 10 * caps["python"])
    paths = sorted(p for p in archives.iterdir() if p.suffix in {".whl", ".tgz", ".jar"} or p.name.endswith(".tar.gz"))
    for path in paths:
        files = dict(members(path))
        for source in identify(path, files):
            if licences.is_permissive(source.licence):
                sources.append(source)
                texts |= candidates(source, files, caps[source.language])
            else:
                print(f"left out: {path.name}: licence {source.licence!r}", file=sys.stderr)
    return sources, texts


def write(out: Path, sources: list[Source], texts: dict[str, str], held_out: set[str]) -> None:
    """Write the corpus; an older one in the same place is replaced."""
    shutil.rmtree(out / "files", ignore_errors=True)
    by_folder = {source.folder: source for source in sources}
    for path, text in texts.items():
        target = out / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        source = by_folder["/".join(path.split("/")[:2])]
        source.files += 1
        source.size += len(text.encode())
    _write_lines(out / "train.txt", sorted(set(texts) - held_out))
    _write_lines(out / "heldout.txt", sorted(held_out))
    sources = sorted((s for s in sources if s.files), key=lambda s: (s.language, s.name.lower()))
    card = [{key: getattr(s, key) for key in ("language", "name", "version", "licence", "url")} for s in sources]
    (out / "sources.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "manifest.json").write_text(json.dumps([asdict(s) for s in sources], indent=1) + "\n")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def report(texts: dict[str, str], held_out: set[str]) -> None:
    """Print files and bytes of each language and part."""
    for language in EXTENSIONS:
        for part, name in ((set(texts) - held_out, "train"), (held_out, "held out")):
            sizes = [len(texts[path].encode()) for path in part if path.startswith(f"{language}/")]
            print(f"{language:10s} {name:8s} {len(sizes):6d} files {sum(sizes):10d} bytes")


def main() -> None:
    """Parse the command line, build the corpus, print what it holds."""
    parser = argparse.ArgumentParser(description="Build the training corpus from archives of packages.")
    parser.add_argument("--archives", type=Path, required=True, help="folder of wheels, .tgz and source jars")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for language, cap in (("python", 1), ("javascript", 3), ("java", 4)):
        parser.add_argument(
            f"--{language}-mb", type=float, default=cap, help=f"most of one {language} source, MB (default {cap})"
        )
    parser.add_argument(
        "--no-standard-library", dest="standard_library", action="store_false", help="take nothing but the archives"
    )
    arguments = vars(parser.parse_args())
    caps = {language: int(arguments[f"{language}_mb"] * 1e6) for language in EXTENSIONS}
    sources, texts = read_sources(arguments["archives"], caps, arguments["standard_library"])
    held_out = {path for path in texts if is_held_out(path)}
    # Held-out files come first: of two that are alike the training file goes.
    order = sorted(texts, key=lambda path: (path not in held_out, path))
    by_folder = {source.folder: source for source in sources}
    for path in selection.duplicates([(path, texts[path]) for path in order]):
        by_folder["/".join(path.split("/")[:2])].drop("like another file")
        del texts[path]
    held_out &= set(texts)
    write(arguments["out"], sources, texts, held_out)
    report(texts, held_out)


if __name__ == "__main__":
    main()
