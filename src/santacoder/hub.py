"""Models from the Hugging Face hub."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from santacoder.errors import InvalidRequestError, SantaCoderError


def download(repo: str, filename: str | None = None, revision: str | None = None) -> str:
    """The path of a GGUF file of a repository, downloaded unless the local cache has it.

    Args:
        repo: "owner/name".
        filename: the file; None takes the only GGUF file, or the only Q4_K_M one.
        revision: a branch, tag or commit; None is the default branch.

    Raises:
        InvalidRequestError: the repository has no GGUF file, or several.
        SantaCoderError: the repository or the file cannot be had: no network, no such name, no permission.
    """
    import huggingface_hub

    try:
        chosen = filename or choose(repo, _files(repo, revision))
        return str(huggingface_hub.hf_hub_download(repo, chosen, revision=revision))
    except SantaCoderError:
        raise
    except Exception as error:  # the hub's own, its HTTP library's, ValueError for a malformed name
        raise SantaCoderError(f"cannot get a model from {repo!r}: {_reason(error)}") from error


def choose(repo: str, names: list[str]) -> str:
    """The only GGUF file among `names`, or the only Q4_K_M one.

    Raises:
        InvalidRequestError: there is no such file.
    """
    found = sorted(name for name in names if name.lower().endswith(".gguf"))
    preferred = [name for name in found if fnmatch(name.lower(), "*q4_k_m*")]
    for candidates in (found, preferred):
        if len(candidates) == 1:
            return candidates[0]
    if not found:
        raise InvalidRequestError(f"{repo!r} has no GGUF file")
    raise InvalidRequestError(f"{repo!r} has several GGUF files, name one as filename: {', '.join(found)}")


def _files(repo: str, revision: str | None) -> list[str]:
    """The repository's files; without a network, those of the local cache."""
    import huggingface_hub

    try:
        return list(huggingface_hub.list_repo_files(repo, revision=revision))
    except Exception:
        try:
            folder = huggingface_hub.snapshot_download(
                repo, revision=revision, local_files_only=True, allow_patterns="*.gguf"
            )
        except Exception:
            folder = None
        if folder is None:
            raise
        return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]


def _reason(error: Exception) -> str:
    """The first line of the error, or a plain word where it is about the network."""
    name = type(error).__name__
    if name in ("OfflineModeIsEnabled", "LocalEntryNotFoundError"):
        return "it is not in the local cache, and the hub cannot be reached (offline?)"
    if isinstance(error, ConnectionError) or name in ("ConnectError", "ConnectTimeout", "ReadTimeout"):
        return "the hub cannot be reached (offline?), and the local cache does not have it"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Client Error" not in line), lines[0] if lines else name)
