"""Finds the GGUF file that a model's name means; a checkpoint is converted into the cache first, once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from santacoder._util.validation import why_bad_path
from santacoder.errors import HubError, InvalidRequestError
from santacoder.quantize.mixes import MIXES, find_mix
from santacoder.sources.converted import Place, short_version
from santacoder.sources.hub import DEFAULT_TYPE, choose, download, gguf_files, list_files, listing, of_type
from santacoder.sources.model_name import ModelName, or_path, with_file, with_revision
from santacoder.sources.packaged import packaged_model

if TYPE_CHECKING:
    from santacoder.conversion.find_checkpoint import Source
    from santacoder.text.tokenizer import Tokenizer

#: Tells people about a conversion in one line.
Tell = Callable[[str], object]

_log: Final = logging.getLogger("santacoder")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What is asked for beside a name.

    Attributes:
        file: the file of a folder or repository; None takes the only one, or the only Q4_K_M one.
        file_argument: what errors call it.
        type: the type of a checkpoint's matrices after conversion, a name of `mixes.MIXES`; of a GGUF file, what its
            type has to be. None is `default_type`, and any file.
        default_type: of a conversion.
        revision: a branch, tag or commit of the repository; None is the default branch.
        cache_dir: the folder of the hub's cache, with that of converted models in it; None is the usual ones.
        token: for gated and private repositories; None takes the one of `hf auth login`.
        local_files_only: look nowhere but in the cache.
        force_download: download and convert even what is in the cache.
    """

    file: str | None = None
    file_argument: str = "filename"
    type: str | None = None
    default_type: str = DEFAULT_TYPE
    revision: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False

    @property
    def access(self) -> dict[str, Any]:
        """The keywords of `hub.list_files`."""
        return {"cache_dir": self.cache_dir, "token": self.token, "local_files_only": self.local_files_only}


#: Nothing but a name.
DEFAULTS: Final = ModelOptions()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that a name means.

    Attributes:
        source: where it is; of a repository, files may be missing.
        names: all files of the repository, or None for a folder, which has them.
        unreachable: why the files cannot be had; the cache has a conversion of the checkpoint.
    """

    source: Source
    names: list[str] | None = None
    unreachable: HubError | None = None

    def fetch(self, options: ModelOptions, weights: bool = True) -> Source:
        """Return the source with its files; see `find_checkpoint.fetch`."""
        from santacoder.conversion.find_checkpoint import fetch

        if self.unreachable is not None:
            raise self.unreachable
        if self.names is None:
            return self.source
        access = {**options.access, "force_download": options.force_download}
        return fetch(self.source, self.names, weights, **access)

    def place(self, options: ModelOptions) -> Place:
        """Return where the cache has its conversions."""
        repo = self.source.repo
        source = os.path.realpath(self.source.folder) if repo is None else repo
        return Place.of(source, repo is None, options.cache_dir)

    @property
    def version(self) -> str:
        """What changes whenever the checkpoint does, or what its names say of it."""
        from santacoder.conversion.find_checkpoint import checkpoint_files

        version = self.source.commit
        if version is None:  # a folder of the user's
            state = [(path.name, path.stat()) for path in checkpoint_files(self.source.folder)]
            version = sha256(repr([(name, it.st_size, it.st_mtime_ns) for name, it in state]).encode()).hexdigest()
        return short_version(version) + ("-no-fim" if self.source.is_no_fim else "")

    def conversions(self, options: ModelOptions) -> list[Path]:
        """Return the files of the cache that it was converted to."""
        place = self.place(options)
        return [path for path in (place.path(self.version, type) for type in MIXES) if path.is_file()]


def find_model(name: ModelName, options: ModelOptions = DEFAULTS, tell: Tell = _log.warning) -> str:
    """Return the path of the GGUF file that a name means.

    What is on the hub is downloaded, and a checkpoint is converted, unless the cache has the result.

    Args:
        name: as `parse_name` returned it.
        options: what else is asked for.
        tell: is called with a line of text before a conversion.

    Raises:
        InvalidRequestError: the folder or repository has no such file, no model, or several; a revision of what has
            none; or a file of another type than the one that was asked for.
        ModelNotFoundError: this installation lacks the packaged model.
        ModelFormatError: the checkpoint cannot run or is damaged.
        MissingPackageError: the package that reads its weights is not installed.
        HubError: a file cannot be downloaded.
        OSError: a file cannot be read or written.
    """
    found = _look_up(name, options)
    if isinstance(found, Checkpoint):
        return str(_converted(found, options, tell))
    _check_type(found, options.type)
    return found


def find_tokenizer(name: ModelName, options: ModelOptions = DEFAULTS) -> str | tuple[Tokenizer, int]:
    """Return the path of a GGUF file as `find_model` does; of a checkpoint not yet converted, tokenizer and context.

    Errors are those of `find_model`.
    """
    from santacoder.conversion.convert import read_checkpoint_tokenizer

    found = _look_up(name, options)
    if not isinstance(found, Checkpoint):
        return found
    if not options.force_download and (paths := found.conversions(options)):
        return str(paths[0])
    return read_checkpoint_tokenizer(found.fetch(options, weights=False))


def _look_up(name: ModelName, options: ModelOptions) -> str | Checkpoint:
    if options.type is not None:
        find_mix(options.type)
    name = with_file(with_revision(name, options.revision), options.file_argument, options.file)
    if name.is_packaged:
        if name.file is not None:
            raise InvalidRequestError(f"the packaged model is one file, but {options.file_argument} is {name.file!r}")
        return str(packaged_model())
    if name.repo is None:
        return _in_folder(name, options)
    with or_path(name):
        return _on_hub(name, name.repo, options)


def _in_folder(name: ModelName, options: ModelOptions) -> str | Checkpoint:
    path = Path(name.text)
    if "\0" in name.text:
        raise InvalidRequestError(f"{name.text!r} {why_bad_path(name.text)}")
    if not path.is_dir():
        return name.text
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    if name.file is not None:
        if not (path / name.file).is_file():
            raise InvalidRequestError(f"{name.text!r} has no file {name.file!r}; {listing(names)}")
        return str(path / name.file)
    if not _is_checkpoint(names, options.type):
        return str(path / choose(name.text, names, options.type))
    from santacoder.conversion.find_checkpoint import source_of_folder

    return Checkpoint(source_of_folder(path))


def _on_hub(name: ModelName, repo: str, options: ModelOptions) -> str | Checkpoint:
    """Look up a name on the hub. Of a checkpoint, nothing is downloaded yet."""
    from santacoder.conversion.find_checkpoint import source_in_repository

    file = name.file
    if file is None:
        try:
            listed = list_files(repo, name.revision, **options.access)
        except HubError as error:
            if (checkpoint := _remembered(name, repo, options, error)) is None:
                raise
            return checkpoint
        checkpoint = Checkpoint(source_in_repository(name, listed), listed.names)
        # Without a network only the hub's cache is listed, from which the weights may be gone when they are converted.
        if _is_checkpoint(listed.names, options.type) or (
            not gguf_files(listed.names) and checkpoint.conversions(options)
        ):
            return checkpoint
        file = choose(repo, listed.names, options.type)
    return download(repo, file, name.revision, **options.access, force_download=options.force_download)


def _remembered(name: ModelName, repo: str, options: ModelOptions, error: HubError) -> Checkpoint | None:
    """Return the checkpoint of a revision that was converted, though neither hub nor cache has it now; else None."""
    from santacoder.conversion.find_checkpoint import NO_FIM, Source

    place = Place.of(repo, False, options.cache_dir)
    commit, _, note = place.remembered(name.revision).partition(" ")
    source = Source(place.folder, repo, name.revision, commit, (NO_FIM,) if note else ())
    checkpoint = Checkpoint(source, unreachable=error)
    return checkpoint if commit and checkpoint.conversions(options) else None


def _is_checkpoint(names: list[str], type: str | None) -> bool:
    """Return whether a folder has a checkpoint and no GGUF file, or of several files none of the wanted type."""
    found = gguf_files(names)
    if found if type is None else of_type(found, type):
        return False
    from santacoder.conversion.find_checkpoint import is_checkpoint

    return is_checkpoint(names)


def _check_type(path: str, type: str | None) -> None:
    if type is None:
        return
    from santacoder.gguf.facts import file_facts

    stated = file_facts(path).file_type
    if stated is None or stated.lower() != type.lower():
        raise InvalidRequestError(
            f"type is {type!r}, but {path} is {stated or 'of a type that it does not state'}: `santacoder quantize` "
            "writes another file"
        )


def _converted(checkpoint: Checkpoint, options: ModelOptions, tell: Tell) -> Path:
    """Return the file that a checkpoint was converted to, converting it unless the cache has it."""
    type = (options.type or options.default_type).lower()
    place = checkpoint.place(options)
    path = place.path(checkpoint.version, type)
    if path.is_file() and not options.force_download:
        _remember(checkpoint.source, place)
        return path
    from filelock import Timeout

    place.prepare()
    lock = place.lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"waiting for another process, which converts {place.source}")
        lock.acquire()
    try:
        if path.is_file() and not options.force_download:
            return path
        return _convert(checkpoint, place, type, options, tell)
    finally:
        lock.release()


def _convert(checkpoint: Checkpoint, place: Place, type: str, options: ModelOptions, tell: Tell) -> Path:
    """Convert a checkpoint into its place, which is locked."""
    from santacoder.conversion.convert import convert_source
    from santacoder.quantize.quantizer import Quantizer

    source = checkpoint.fetch(options)
    path = place.path(Checkpoint(source).version, type)  # the branch may have moved meanwhile
    choice = "" if options.type else "; another type (--type, type=, or torch's dtype=) makes another file"
    tell(f"converting {source.place} to {type.upper()}, once, into {path}{choice}")
    place.remove_leftovers()
    convert_source(source, path, type, Quantizer(), force=True)
    _remember(source, place)
    return path


def _remember(source: Source, place: Place) -> None:
    """Note which commit a revision is at, for when neither the hub nor its cache can tell."""
    if source.repo is not None and source.commit is not None:
        place.remember(source.revision, f"{source.commit} no-fim" if source.is_no_fim else source.commit)
