"""Writes the bill of materials of the package, CycloneDX 1.6 in JSON: `python tools/sbom.py VERSION` prints it.

A wheel has it in `.dist-info/sboms` (PEP 770). It names what the wheel contains beside its own code: the demonstration
model, with the license of each source that the model was trained on. Those sources are not in the wheel, so their scope
is "excluded". The bytes depend on the version, the model and the sources only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ROOT / "tools" / "tiny" / "sources.json"
MODELS: Final = ROOT / "src" / "santacoder" / "models"
LICENSE: Final = "Apache-2.0"

#: The type of a package's address, by the host that a source's page is on.
_KINDS: Final = {"pypi.org": "pypi", "www.npmjs.com": "npm"}


def sbom(version: str, models: Path = MODELS) -> str:
    """Return the bill of materials of a version of the package, with the GGUF files of the folder `models`."""
    package = f"pkg:pypi/santacoder@{version}"
    sources = [_source(**source) for source in json.loads(SOURCES.read_text(encoding="utf-8"))]
    references = [source["bom-ref"] for source in sources]
    packaged = [_model(path, references) for path in sorted(models.glob("*.gguf"))]
    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": package,
                "name": "santacoder",
                "version": version,
                "purl": package,
                "licenses": [{"license": {"id": LICENSE}}],
            }
        },
        "components": [*packaged, *sources],
        "dependencies": [
            {"ref": package, "dependsOn": [model["bom-ref"] for model in packaged]},
            *({"ref": model["bom-ref"], "dependsOn": references} for model in packaged),
        ],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _model(path: Path, sources: list[str]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": path.name,
        "name": path.name,
        "description": "the demonstration model, trained from scratch: docs/reference/tiny.md",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        "licenses": [{"license": {"id": LICENSE}}],
        "modelCard": {"modelParameters": {"datasets": [{"ref": source} for source in sources]}},
    }


def _source(language: str, name: str, version: str, licence: str, url: str) -> dict[str, Any]:
    kind = _KINDS.get(urlsplit(url).netloc)
    source: dict[str, Any] = {
        "type": "data",
        "bom-ref": f"{language}:{name}@{version}",
        "name": name,
        "version": version,
        "scope": "excluded",
        "licenses": [{"license": {"name": licence}}],
        "externalReferences": [{"type": "website", "url": url}],
    }
    return source if kind is None else source | {"purl": f"pkg:{kind}/{quote(name)}@{quote(version)}"}


if __name__ == "__main__":
    [version] = sys.argv[1:]
    sys.stdout.write(sbom(version))
