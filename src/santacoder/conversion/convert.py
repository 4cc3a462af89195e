"""Converts a published checkpoint to a GGUF file. docs/reference/checkpoints.md has the rules."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from santacoder._util.progress import progress_bar
from santacoder._util.validation import format_value, invalid_argument
from santacoder.conversion.end_tokens import NamedEnd, read_ends
from santacoder.conversion.find_checkpoint import Source, checkpoint_files, locate, read_config
from santacoder.conversion.generation_config import published_sampling_defaults
from santacoder.conversion.hf_config import CheckpointConfig
from santacoder.conversion.layouts import TensorMap
from santacoder.conversion.metadata import (
    FOREIGN_ENDS,
    as_read,
    model_fields,
    read_licence,
    source_fields,
    tokenizer_fields,
)
from santacoder.conversion.tokenizer_json import read_tokenizer
from santacoder.conversion.vocabulary import Vocabulary, build_vocabulary
from santacoder.conversion.weights import read_weights
from santacoder.engine.fpenv import default_fpenv
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.gguf.config import ARCHITECTURE, Config, expected_tensors
from santacoder.gguf.digest import file_sha256
from santacoder.gguf.writer import Field, TensorSource, check_target, write_model
from santacoder.quantize.mixes import find_mix, tensor_types
from santacoder.quantize.quantizer import Quantizer
from santacoder.text.tokenizer import END_IDS_KEY, FIM_MODES, FimMode, Tokenizer


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    type: str = "f16",
    revision: str | None = None,
    *,
    fim: bool | None = None,
    fim_mode: FimMode | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> None:
    """Convert a checkpoint of SantaCoder, or another of GPTBigCode's architecture, to a GGUF file.

    One tensor is in memory at a time. The file takes its name when it is complete.

    Args:
        source: a folder, or "owner/name" on the hub or its URL, with config.json, a tokenizer and weights.
        out: the file to write.
        type: the type of the matrices, a name of `mixes.MIXES`: "f16", "q4_k_m".
        revision: a branch, tag or commit on the hub; None is the default branch.
        fim: whether the checkpoint was trained to fill in the middle; None is yes, unless the name of the revision,
            folder or repository ends with "no-fim", or there is no room for the tokens.
        fim_mode: the order of an infilling prompt that the model does best with, "psm" or "spm": the default of
            `infill`. None leaves it to `infill`.
        threads: how many threads compute; None is as many as the machine allows.
        force: whether an existing file is replaced; a file of the checkpoint never is.
        progress: whether to draw a bar on standard error; None draws one on a terminal.
        cache_dir: the folder of the hub's cache; None is the usual one.
        token: for gated and private repositories; None takes the one of `hf auth login`.
        local_files_only: look nowhere but in the cache.

    Raises:
        InvalidRequestError: an unknown type or fim_mode, fim_mode for a model that does not fill in, no such folder, a
            revision of a folder, threads out of range, an `out` that is a file of the checkpoint.
        ModelFormatError: the checkpoint cannot run or is damaged; the key or tensor is named.
        MissingPackageError: the package that reads its weights is not installed.
        HubError: it cannot be downloaded.
        FileExistsError: `out` exists, and not `force`.
        OSError: a file cannot be read or written.
    """
    find_mix(type)
    if fim_mode not in (None, *FIM_MODES):
        raise invalid_argument("fim_mode", fim_mode, "'psm' or 'spm'")
    quantizer = Quantizer(threads)
    folder = Path(source)
    check_target(out, force, checkpoint_files(folder) if folder.is_dir() else ())
    access = {"cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
    place = locate(os.fspath(source), revision, **access)
    convert_source(place, out, type, quantizer, fim=fim, fim_mode=fim_mode, force=force, progress=progress)


@default_fpenv()
def convert_source(
    place: Source,
    out: str | os.PathLike[str],
    type: str,
    quantizer: Quantizer,
    *,
    fim: bool | None = None,
    fim_mode: FimMode | None = None,
    force: bool = False,
    progress: bool | None = None,
) -> None:
    """Convert a checkpoint whose files are there; arguments and errors are those of `convert`."""
    mix = find_mix(type)
    values, checkpoint = read_config(place)
    files, stored = read_weights(place.folder, place.place)
    tensors = TensorMap(checkpoint, stored)
    config = _model_config(place, checkpoint, tensors)
    ends = read_ends(place.folder, values)
    fields = model_fields(config, mix.file_type) + _tokenizer(place, ends, config.vocab_size, fim, fim_mode)[0]
    types = tensor_types(mix, config)
    sources = [
        TensorSource(name, shape, types[name], functools.partial(tensors.load, name))
        for name, shape in expected_tensors(config).items()
    ]
    n_bytes = sum(path.stat().st_size for path in files) + sum(tensor.n_bytes for tensor in sources)
    with progress_bar(n_bytes, "bytes", progress) as bar:
        fields += _provenance(place, files, bar.update)
        reads = checkpoint_files(place.folder)
        write_model(out, fields, sources, quantizer.encode, force=force, reads=reads, progress=bar.update)


def read_checkpoint_tokenizer(place: Source) -> tuple[Tokenizer, int]:
    """Return a checkpoint's tokenizer and the model's context, without its weights.

    Raises:
        ModelFormatError: the checkpoint cannot run or is damaged; the key is named.
    """
    values, checkpoint = read_config(place)
    if checkpoint.vocab_size is None:
        raise ModelFormatError("config.json: vocab_size is missing, so that the tokenizer needs the converted model")
    ends = read_ends(place.folder, values)
    return _tokenizer(place, ends, checkpoint.vocab_size, None, None)[1], checkpoint.positions


def _model_config(source: Source, checkpoint: CheckpointConfig, tensors: TensorMap) -> Config:
    return Config(
        architecture=ARCHITECTURE,
        name=source.name,
        context_length=checkpoint.positions,
        embedding_length=checkpoint.width,
        feed_forward_length=checkpoint.inner,
        block_count=checkpoint.layers,
        head_count=checkpoint.heads,
        head_count_kv=1 if tensors.layout.multi_query else checkpoint.heads,
        layer_norm_epsilon=checkpoint.epsilon,
        vocab_size=tensors.vocab_size,
        tied_embeddings=tensors.tied,
        sampling_defaults=published_sampling_defaults(source.folder),
    )


def _tokenizer(
    source: Source, ends: list[NamedEnd], vocab_size: int, fim: bool | None, fim_mode: FimMode | None
) -> tuple[list[Field], Tokenizer]:
    """Return the tokenizer's fields, and our own tokenizer, which is built from them as a check."""
    if fim is None and source.is_no_fim:
        fim = False
    files = read_tokenizer(source.folder, source.place)
    vocabulary = build_vocabulary(files, vocab_size, ends, fim)
    _warn_of_ends(vocabulary)
    if fim_mode is not None and not vocabulary.fim:
        raise InvalidRequestError(f"fim_mode is {fim_mode!r}, but this model is not one that fills in the middle")
    fields = tokenizer_fields(files, vocabulary, fim_mode)
    return fields, Tokenizer.from_gguf(as_read(fields), vocab_size)


def _warn_of_ends(vocabulary: Vocabulary) -> None:
    """Warn of ends of text that the checkpoint names but that do not work here, or not in other programs."""
    if vocabulary.unknown:
        first, n_more = vocabulary.unknown[0], len(vocabulary.unknown) - 1
        more = f", and {n_more} more that are named" if n_more else ""
        warnings.warn(
            f"{first.place} has {format_value(first.token)}{more}: not a token, so it does not end a text", stacklevel=6
        )
    if len(vocabulary.ends) > FOREIGN_ENDS:
        n = len(vocabulary.ends)
        warnings.warn(
            f"{n} tokens end a text; llama.cpp will find {FOREIGN_ENDS}, the others are kept under {END_IDS_KEY}",
            stacklevel=6,
        )


def _provenance(source: Source, files: list[Path], progress: Callable[[int], object]) -> list[Field]:
    sums = [file_sha256(path, progress) for path in files]
    return source_fields(source, read_licence(source.folder), files, sums)
