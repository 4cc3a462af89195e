"""Tokenizers: those of the fixture files, and one of all bytes and six merges whose metadata a test can change."""

from __future__ import annotations

from typing import Any

import numpy as np

from santacoder.gguf.reader import GGUFFile
from santacoder.text.tokenizer import Tokenizer
from tests.support.gguf_builder import MERGES, byte_symbols, vocabulary
from tests.support.paths import DATA, distributed

EOT = 262  # in the tiny vocabulary: 256 bytes, 6 merges, then the special tokens


def fixture_tokenizer(name: str, vocab_size: int) -> Tokenizer:
    """The tokenizer of a file in tests/data."""
    with GGUFFile.open(distributed(DATA / name)) as file:
        return Tokenizer.from_gguf(file, vocab_size)


def tiny(**metadata: Any) -> Tokenizer:
    """A tokenizer from the tiny model's metadata, keys of `tokenizer.ggml` replaced, or dropped by None; `fim_mode` is
    a key of our own."""
    tokens, types = vocabulary(byte_symbols())
    keys: dict[str, Any] = {
        "model": "gpt2",
        "tokens": tokens,
        "token_type": np.array(types),
        "merges": MERGES,
        "eos_token_id": EOT,
        **metadata,
    }
    prefixes = {"fim_mode": "santacoder"}
    found = {f"{prefixes.get(k, 'tokenizer.ggml')}.{k}": value for k, value in keys.items() if value is not None}
    return Tokenizer.from_gguf(found, len(keys["tokens"] or []))


SMALL = tiny()
