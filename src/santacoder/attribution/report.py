"""Matches as text, SARIF and notices for people who pass the code on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

from santacoder._version import __version__
from santacoder.attribution.lexemes import split
from santacoder.attribution.matches import Match, Source

SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

_RULES: Final = {
    "exact": "The text stands in the corpus byte for byte.",
    "whitespace": "The text stands in the corpus with other white space.",
    "renamed": "The text stands in the corpus with other names.",
    "unverified": "The hashes of the text stand in an index without texts.",
}


def place_of(source: Source) -> str:
    """Return where a span stands: repository, revision, path and lines."""
    revision = f"@{source.revision}" if source.revision else ""
    lines = f":{source.start_line}-{source.end_line}" if source.start_line else ""
    return f"{source.repository}{revision} {source.path}{lines}"


def as_text(name: str, matches: Iterable[Match]) -> str:
    """Return matches for people: each span of the file `name`, and the sources below it."""
    out = []
    for match in matches:
        common = ", common" if match.common else ""
        files = "1 file" if match.files == 1 else f"{'at least ' if match.common else ''}{match.files} files"
        out.append(
            f"{name}:{match.start_line}-{match.end_line}: {match.kind}{common}, {match.lexemes} lexemes, "
            f"{match.characters} characters, in {files}"
        )
        for source in match.sources:
            stated = f" ({source.licence_source})" if source.licence_source else ""
            out.append(f"    {source.licence}{stated}  {place_of(source)}")
        if match.files > len(match.sources):
            out.append(f"    and {match.files - len(match.sources)} more")
    return "".join(f"{line}\n" for line in out)


def as_sarif(name: str, text: str, matches: Iterable[Match]) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: each span of the file `name`, with its sources as related locations."""
    results = [
        {
            "ruleId": match.kind,
            "level": "note" if match.common else "warning",
            "message": {"text": as_text(name, [match]).strip()},
            "locations": [_location(name, match.start_line, match.end_line, match.start, match.characters)],
            "relatedLocations": [
                {**_location(source.path, source.start_line, source.end_line), "message": {"text": place_of(source)}}
                for source in match.sources
            ],
            "partialFingerprints": {"lexemes/v1": _span_digest(text[match.start : match.end])},
            "properties": {
                "common": match.common, "lexemes": match.lexemes, "files": match.files,
                "licences": sorted({source.licence for source in match.sources}),
            },
        }
        for match in matches
    ]  # fmt: skip
    rules = [{"id": kind, "shortDescription": {"text": said}} for kind, said in _RULES.items()]
    driver = {"name": "santacoder attribute", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _location(
    path: str, start_line: int, end_line: int, start: int | None = None, length: int | None = None
) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}}
    if start_line:
        region = {"startLine": start_line, "endLine": end_line, "charOffset": start, "charLength": length}
        place["region"] = {key: value for key, value in region.items() if value is not None}
    return {"physicalLocation": place}


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _span_digest(span: str) -> str:
    """Return a digest that white space does not change."""
    return sha256(split(span.encode("utf-8", "surrogatepass")).hashes.tobytes()).hexdigest()


def as_notices(matches: Sequence[Match]) -> str:
    """Return a text that names the sources of matches by licence, for a file such as THIRD_PARTY_NOTICES."""
    by_licence: dict[str, set[str]] = {}
    for match in matches:
        for source in match.sources:
            by_licence.setdefault(source.licence, set()).add(place_of(source))
    out = []
    for licence in sorted(by_licence):
        out += [licence, "-" * len(licence), *sorted(by_licence[licence]), ""]
    return "".join(f"{line}\n" for line in out)
