"""The metadata of a converted model: dimensions, tokenizer and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGML_QUANT_VERSION, GGUFValueType

from santacoder._version import __version__
from santacoder.conversion.find_checkpoint import Source
from santacoder.conversion.tokenizer_json import TokenizerFiles
from santacoder.conversion.vocabulary import Vocabulary
from santacoder.errors import ModelFormatError
from santacoder.gguf.config import ARCHITECTURE, Config
from santacoder.gguf.metadata import MetadataValue
from santacoder.gguf.sampling_defaults import SAMPLING_KEYS
from santacoder.gguf.writer import Field
from santacoder.text.tokenizer import END_IDS_KEY, FIM_MODE_KEY, SWAPPED_KEY, FimMode

_STRING, _U32, _F32, _BOOL = GGUFValueType.STRING, GGUFValueType.UINT32, GGUFValueType.FLOAT32, GGUFValueType.BOOL
_I32, _ARRAY = GGUFValueType.INT32, GGUFValueType.ARRAY
_FIM_KEYS: Final = {"prefix": "fim_pre", "suffix": "fim_suf", "middle": "fim_mid", "pad": "fim_pad"}
#: The number of a vocabulary's ends that other programs find: under `eos_token_id` and `eot_token_id`.
FOREIGN_ENDS: Final = 2
#: Most bytes of a tokenizer.json that goes into the file: the header as a whole is bounded.
_MAX_EMBEDDED: Final = 1 << 24
_MAX_CARD: Final = 1 << 16  # bytes of a model card that is read
_MAX_LICENCES, _MAX_LICENCE = 16, 200  # names, characters of one


def model_fields(config: Config, file_type: int) -> list[Field]:
    """Return the model's dimensions and sampling defaults, with llama.cpp's number for the types of its tensors."""
    sizes = {
        "context_length": config.context_length,
        "embedding_length": config.embedding_length,
        "feed_forward_length": config.feed_forward_length,
        "block_count": config.block_count,
        "attention.head_count": config.head_count,
        "attention.head_count_kv": config.head_count_kv,
    }
    return [
        ("general.architecture", ARCHITECTURE, _STRING, None),
        ("general.type", "model", _STRING, None),
        ("general.name", config.name, _STRING, None),
        ("general.file_type", file_type, _U32, None),
        ("general.quantization_version", GGML_QUANT_VERSION, _U32, None),
        *((f"{ARCHITECTURE}.{key}", value, _U32, None) for key, value in sizes.items()),
        (f"{ARCHITECTURE}.attention.layer_norm_epsilon", config.layer_norm_epsilon, _F32, None),
        *(
            (SAMPLING_KEYS[name], value, _I32 if isinstance(value, int) else _F32, None)
            for name, value in config.sampling_defaults.items()
        ),
    ]


def tokenizer_fields(files: TokenizerFiles, vocabulary: Vocabulary, fim_mode: FimMode | None = None) -> list[Field]:
    """Return the tokenizer's fields; those of fill-in-the-middle tokens only if the model was trained with them."""
    if not files.merges:
        raise ModelFormatError("the tokenizer has no merges, so it is not a byte-level BPE")
    fields: list[Field] = [
        ("tokenizer.ggml.model", "gpt2", _STRING, None),
        ("tokenizer.ggml.pre", "starcoder", _STRING, None),
        ("tokenizer.ggml.tokens", vocabulary.tokens, _ARRAY, _STRING),
        ("tokenizer.ggml.token_type", vocabulary.types, _ARRAY, _I32),
        ("tokenizer.ggml.merges", files.merges, _ARRAY, _STRING),
        ("tokenizer.ggml.bos_token_id", vocabulary.start, _U32, None),
        ("tokenizer.ggml.eos_token_id", vocabulary.ends[0], _U32, None),
        ("tokenizer.ggml.unknown_token_id", vocabulary.start, _U32, None),
        ("tokenizer.ggml.add_bos_token", False, _BOOL, None),
        ("tokenizer.ggml.add_eos_token", False, _BOOL, None),
    ]
    for role, index in vocabulary.fim.items():
        fields.append((f"tokenizer.ggml.{_FIM_KEYS[role]}_token_id", index, _U32, None))
    fields += [("tokenizer.ggml.eot_token_id", index, _U32, None) for index in vocabulary.ends[1:FOREIGN_ENDS]]
    for key, ids in ((END_IDS_KEY, vocabulary.ends[FOREIGN_ENDS:]), (SWAPPED_KEY, vocabulary.swapped)):
        if ids:
            fields.append((key, ids, _ARRAY, _U32))
    if fim_mode is not None:
        fields.append((FIM_MODE_KEY, fim_mode, _STRING, None))
    if files.json is not None and len(files.json.encode()) <= _MAX_EMBEDDED:
        fields.append(("tokenizer.huggingface.json", files.json, _STRING, None))
    return fields


def source_fields(source: Source, licence: str | None, files: Sequence[Path], sums: Sequence[str]) -> list[Field]:
    """Return the provenance of the weights: repository, commit, licence, and the SHA-256 of each weights file."""
    texts: dict[str, str | None] = {"general.license": licence, "santacoder.converter": f"santacoder {__version__}"}
    if source.repo is not None:
        url = f"https://huggingface.co/{source.repo}"
        texts |= {
            "general.organization": source.repo.partition("/")[0],
            "general.source.repo_url": url,
            "general.source.url": f"{url}/tree/{source.commit}",
            "santacoder.source.repository": source.repo,
            "santacoder.source.revision": source.revision,
            "santacoder.source.commit": source.commit,
        }
    fields: list[Field] = [(key, text, _STRING, None) for key, text in texts.items() if text]
    fields.append(("santacoder.source.files", [path.name for path in files], _ARRAY, _STRING))
    fields.append(("santacoder.source.sha256", list(sums), _ARRAY, _STRING))
    return fields


def as_read(fields: Iterable[Field]) -> dict[str, MetadataValue]:
    """Return the fields as they will be read from the file: arrays of numbers are NumPy arrays."""
    return {
        key: np.array(value) if kind == _ARRAY and item_kind != _STRING else value
        for key, value, kind, item_kind in fields
    }


def read_licence(folder: Path) -> str | None:
    """Return the licence that the model card names, or None, also if the card is damaged."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > _MAX_CARD:
        return None
    try:
        values: Any = metadata_load(card)
    except Exception:  # not text, or not YAML: no reason to refuse the model
        return None
    value = values.get("license") if isinstance(values, dict) else None
    names = [value] if isinstance(value, str) else value
    # YAML anchors let a few bytes expand to any size, so only what looks like a licence is accepted.
    if not isinstance(names, list) or len(names) > _MAX_LICENCES:
        return None
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= _MAX_LICENCE for name in names):
        return None
    return ", ".join(names) or None
