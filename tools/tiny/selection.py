"""Which files of a package are worth training on: hand-written, readable, not a copy of another."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

MAX_BYTES = 200_000
MIN_BYTES = 128
MAX_LINE = 1000  # characters: longer lines are data or minified code
MAX_MEAN_LINE = 100
MIN_ALPHABETIC = 0.25  # share of characters that are letters

#: Folders with copies of other packages, tests (repetitive), build results.
_FOLDERS = frozenset({
    "_vendor", "_vendored", "vendor", "vendored", "third_party", "thirdparty", "extern", "externals", "node_modules",
    "site-packages", "test", "tests", "__tests__", "testing", "_testing", "benchmarks", "dist", "build", "locale",
    "locales", "i18n", "lang", "migrations",
})  # fmt: skip
_TEST_FILE = re.compile(r"(test_.*|.*_tests?|conftest)\.py|.*(\.test|\.spec|\.min)\.[mc]?jsx?|.*(_pb2|_pb2_grpc)\.py")
_GENERATED = re.compile(
    r"auto-?matically generated|auto-?generated|@generated|generated (by|from)|do not (edit|modify)", re.IGNORECASE
)
_HEAD = 1000  # characters in which a generated file says so

#: A file is like another when this share of its telling lines occurs there.
_ALIKE = 0.7
_TELLING = 16  # characters of a stripped line that says something
_COMMON = 40  # a line that more files share says nothing about which is a copy of which

_NOWHERE = array("i")


def check(name: str, data: bytes) -> tuple[str, str]:
    """(why the file is not wanted, "") or ("", its text with lines that end in LF)."""
    path = PurePosixPath(name)
    if _FOLDERS & {part.lower() for part in path.parts[:-1]} or _TEST_FILE.fullmatch(path.name):
        return "a test, a copy or a build result", ""
    if len(data) > MAX_BYTES:
        return f"over {MAX_BYTES} bytes", ""
    if len(data) < MIN_BYTES:
        return f"under {MIN_BYTES} bytes", ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8", ""
    text = text.replace("\r\n", "\n")
    if "\0" in text or "\r" in text or text.startswith("\ufeff"):
        return "NUL, CR or a byte order mark", ""
    lines = text.splitlines()
    if max(map(len, lines)) > MAX_LINE or len(text) > MAX_MEAN_LINE * len(lines):
        return "long lines", ""
    if sum(map(str.isalpha, text)) < MIN_ALPHABETIC * len(text):
        return "mostly no letters", ""
    if _GENERATED.search(text[:_HEAD]):
        return "generated", ""
    return "", text


def duplicates(files: Sequence[tuple[str, str]]) -> list[str]:
    """Paths of the files (path, text) that equal an earlier one but for white space, or mostly consist of its lines."""
    seen: set[bytes] = set()
    copies: list[str] = []
    index: defaultdict[int, array[int]] = defaultdict(lambda: array("i"))
    for number, (path, text) in enumerate(files):
        digest = hashlib.sha256(" ".join(text.split()).encode()).digest()
        lines = {hash(line) for raw in text.split("\n") if len(line := raw.strip()) >= _TELLING}
        if digest in seen or _is_copy(lines, index):
            copies.append(path)
            continue
        seen.add(digest)
        for line in lines:
            entry = index[line]
            if len(entry) <= _COMMON:
                entry.append(number)
    return copies


def _is_copy(lines: set[int], index: defaultdict[int, array[int]]) -> bool:
    shared: Counter[int] = Counter()
    telling = 0
    for line in lines:
        files = index.get(line, _NOWHERE)
        if len(files) <= _COMMON:
            telling += 1
            shared.update(files)
    return telling >= 4 and bool(shared) and max(shared.values()) >= _ALIKE * telling
