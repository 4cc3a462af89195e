"""Name, version, licence and address of a package from its own metadata, and which licences are permissive."""

from __future__ import annotations

import re

from santacoder.attribution import package_metadata

#: (name, version, licence, URL)
Identity = tuple[str, str, str, str]

#: SPDX identifiers, the names that PyPI's classifiers use and common spellings, all in lower case.
_PERMISSIVE = frozenset({
    "0bsd", "apache 2", "apache 2.0", "apache 2.0 license", "apache license 2.0", "apache license, version 2.0",
    "apache software license", "apache-2.0", "apache-2.0 with llvm-exception", "bsd", "bsd 3-clause", "bsd license",
    "bsd-2-clause", "bsd-3-clause", "3-clause bsd license", "bsl-1.0", "cc0-1.0", "isc", "isc license iscl",
    "isc license", "mit", "mit license", "the mit license", "mit-cmu", "psf-2.0", "python-2.0",
    "python software foundation license", "unlicense", "the unlicense unlicense", "zlib", "zlib/libpng license",
    "public domain", "cnri-python", "blueoak-1.0.0",
})  # fmt: skip


def is_permissive(licence: str) -> bool:
    """Whether every part of an SPDX expression (of alternatives: one) is a permissive licence."""
    alternatives = re.split(r"\s+OR\s+", licence)
    return any(
        all(_plain(part) in _PERMISSIVE for part in re.split(r"\s+AND\s+|;", alternative))
        for alternative in alternatives
    )


def _plain(name: str) -> str:
    """In lower case, without parentheses: `ISC License (ISCL)` and `(MIT` become `isc license iscl` and `mit`."""
    return " ".join(name.lower().replace("(", " ").replace(")", " ").split())


def from_python(metadata: bytes) -> Identity:
    """From the METADATA of a wheel or the PKG-INFO of a source archive."""
    _, name, version, licence = package_metadata.from_python(metadata)
    return name, version, licence, f"https://pypi.org/project/{name}/{version}/"


def from_npm(package: bytes) -> Identity:
    """From package.json."""
    _, name, version, licence = package_metadata.from_npm(package)
    return name.replace("/", "-"), version, licence, f"https://www.npmjs.com/package/{name}/v/{version}"


def from_maven(pom: bytes) -> Identity:
    """From the .pom beside a jar; the licence may be that of the parent, which Apache's projects all share."""
    _, full_name, version, licence = package_metadata.from_maven(pom)
    group, _, name = full_name.partition("/")
    if group.startswith(("org.apache", "commons-")) or group == "com.google.guava":
        licence = licence or "Apache-2.0"
    return name, version, licence, f"https://central.sonatype.com/artifact/{group}/{name}/{version}"
