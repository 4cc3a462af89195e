"""Name, version and licence of a package, as its own metadata says."""

from __future__ import annotations

import email.parser
import json
import re
from typing import Final, NamedTuple
from xml.etree import ElementTree

from santacoder.attribution.origins import Origin

MAX_BYTES: Final = 1 << 20  # of a file of metadata

_SUMMARY = {"OSI Approved"}


class Package(NamedTuple):
    """A package, and the file that describes it."""

    kind: str  # of package URLs
    name: str
    version: str
    licence: str

    def origin(self, source: str) -> Origin:
        """Return the origin of the package's files."""
        return Origin(f"pkg:{self.kind}/{self.name}", self.version).with_licence(self.licence, source)


def from_python(metadata: bytes) -> Package:
    """Read the METADATA of a wheel or the PKG-INFO of a source archive."""
    message = email.parser.BytesParser().parsebytes(metadata, headersonly=True)
    classifiers = [str(value).split(" :: ") for value in message.get_all("Classifier", [])]
    named = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] not in _SUMMARY]
    spelled = str(message.get("License") or "").strip().split("\n")[0]
    licence = str(message.get("License-Expression") or "") or ";".join(named) or spelled
    name, version = str(message["Name"]), str(message["Version"])
    return Package("pypi", name, version, licence)


def from_npm(package: bytes) -> Package:
    """Read a package.json."""
    data = json.loads(package)
    licence = data.get("license", "")
    if isinstance(licence, dict):
        licence = licence.get("type", "")
    return Package("npm", str(data["name"]), str(data["version"]), str(licence))


def from_maven(pom: bytes) -> Package:
    """Read a pom.xml; name and version may be those of the parent."""
    if b"<!DOCTYPE" in pom:
        raise ValueError("a pom.xml declares no document type")  # nor entities, which can grow without end
    root = ElementTree.fromstring(pom)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    parent = root.find("parent")

    def text(tag: str) -> str:
        found = root.findtext(tag) or (parent.findtext(tag) if parent is not None else None)
        return (found or "").strip()

    named = [(element.text or "").strip() for element in root.findall("licenses/license/name")]
    return Package("maven", f"{text('groupId')}/{text('artifactId')}", text("version"), ";".join(named))


#: Paths of metadata in archives and folders -> their reader, the most telling first.
_READERS: Final = (
    (re.compile(r"([^/]+\.dist-info/METADATA|([^/]+/)?PKG-INFO)"), from_python),
    (re.compile(r"([^/]+/)?package\.json"), from_npm),
    (re.compile(r"(META-INF/maven/[^/]+/[^/]+/|([^/]+/)?)pom\.xml"), from_maven),
)


def is_metadata(path: str) -> bool:
    """Return whether a file of this path in an archive may describe its package."""
    return any(pattern.fullmatch(path) for pattern, _ in _READERS)


def read_package(path: str, data: bytes) -> Package | None:
    """Return what a file of metadata says; None if it makes no sense."""
    for pattern, read in _READERS:
        if pattern.fullmatch(path):
            try:
                return read(data)
            except (ValueError, KeyError, AttributeError, TypeError, ElementTree.ParseError, RecursionError):
                return None
    return None
