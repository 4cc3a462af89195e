"""Address and commit of a git checkout, read from its files: git itself would run what a hostile one configures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from santacoder.attribution.origins import Origin

MAX_BYTES: Final = 16 << 20  # of a file of git's; packed-refs may be long

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REMOTE = re.compile(r'^\s*\[remote "origin"\]\s*$(?:(?!^\s*\[).*\n)*?^\s*url\s*=\s*(\S+)\s*$', re.MULTILINE)
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


def git_origin(folder: Path) -> Origin | None:
    """Return the origin of a folder that is the top of a checkout, or None. Without a remote, it goes by its path."""
    store = folder / ".git"
    if store.is_file():  # a work tree, or a submodule
        store = folder / _read(store).removeprefix("gitdir:").strip()
    if not (store / "HEAD").is_file():
        return None
    common = store / (_read(store / "commondir").strip() or ".")
    remote = _REMOTE.search(_read(common / "config"))
    address = _CREDENTIALS.sub("", remote[1]) if remote else str(folder)
    return Origin(address, _commit(store, common))


def _commit(store: Path, common: Path) -> str:
    head = _read(store / "HEAD").strip()
    if head.startswith("ref:"):
        name = head.removeprefix("ref:").strip()
        if ".." in name or name.startswith("/"):
            return ""
        head = _read(store / name).strip() or _read(common / name).strip() or _packed(common, name)
    return head if _COMMIT.fullmatch(head) else ""


def _packed(common: Path, name: str) -> str:
    for line in _read(common / "packed-refs").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""


def _read(path: Path) -> str:
    """Return the text of a file; "" if there is none of a reasonable size."""
    try:
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        pass
    return ""
