"""Targets that `tools/fuzz.py` feeds with bytes, and `test_fuzz_findings.py` with bytes that once failed.

A target returns whatever the bytes are; any exception that is not one of ours, and that callers are told of, is a
finding.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import santacoder
from santacoder.attribution.lexemes import Follower, split, winnow
from santacoder.attribution.state import EXACT
from santacoder.batching.session_file import HEADER, MAGIC, read_session
from santacoder.conversion.convert import convert
from santacoder.engine.kv_cache import KVCache
from santacoder.gguf.metadata import Metadata
from santacoder.text.stream import StreamDecoder
from santacoder.text.tokenizer import Tokenizer
from tests.support import lexeme_oracle, malformed, small_checkpoint
from tests.support.attribution_corpus import code, make_index
from tests.support.index_mutants import TABLES

_FOLDER = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp")
_PATH = _FOLDER / f"santacoder-fuzz-{os.getpid()}"
_BLOCK_BYTES, _CAPACITY, _VOCABULARY = 256, 130, 19
_FINGERPRINT = "ab" * 32


def reader(data: bytes) -> None:
    """A model file: loaded, and a token run if it loads."""
    _PATH.write_bytes(data)
    try:
        with santacoder.load(_PATH, threads=1) as model:
            model.complete([0], max_tokens=1, ignore_eos=True)
    except (santacoder.ModelFormatError, santacoder.NumericalError):
        pass
    finally:
        _PATH.unlink()


def tokenizer(data: bytes) -> None:
    """Lines: types of tokens (one digit each), an id for each special key, merges joined by tabs, tokens; the text."""
    lines = data.decode("utf-8", errors="replace").split("\n")
    types, special, merges, tokens = (lines + [""] * 4)[:4]
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.merges": [merge for merge in merges.split("\t") if merge],
        "tokenizer.ggml.tokens": tokens.split("\t"),
    }
    for name, digit in zip(("eos", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "eot", "eom"), special, strict=False):
        metadata[f"tokenizer.ggml.{name}_token_id"] = ord(digit) - ord("0")
    if types:
        import numpy as np

        metadata["tokenizer.ggml.token_type"] = np.array([ord(digit) - ord("0") for digit in types])
    try:
        made = Tokenizer.from_gguf(Metadata(metadata), len(metadata["tokenizer.ggml.tokens"]))
    except santacoder.ModelFormatError:
        return
    text = "\n".join(lines[4:])
    for special_too in (True, False):
        try:
            ids = made.encode(text, special=special_too)
        except santacoder.InvalidRequestError:
            continue
        decoder = StreamDecoder(made)
        assert "".join(map(decoder.feed, ids)) + decoder.flush() == made.decode(ids)


def session(data: bytes) -> None:
    """A session file."""
    _PATH.write_bytes(data)
    cache = KVCache(_BLOCK_BYTES, _CAPACITY, dim=1, item_bytes=2)
    try:
        tokens = read_session(_PATH, _FINGERPRINT, _VOCABULARY, cache)
        assert len(tokens) == len(cache)
    except santacoder.SessionFormatError:
        assert len(cache) <= _CAPACITY
    finally:
        _PATH.unlink()


def checkpoint(data: bytes) -> None:
    """A byte that picks a file of a checkpoint, and that file's bytes: what is converted can be loaded and run."""
    name = small_checkpoint.NAMES[data[0] % len(small_checkpoint.NAMES)] if data else "config.json"
    if name not in small_checkpoint.readable():
        return
    folder = _PATH.with_suffix(".checkpoint")
    small_checkpoint.write(folder, small_checkpoint.files(name) | {name: data[1:]})
    try:
        convert(folder, _PATH, force=True, progress=False)
    except (santacoder.ModelFormatError, santacoder.InvalidRequestError) as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
        assert not _PATH.exists()
        return
    finally:
        shutil.rmtree(folder)
    try:
        with santacoder.load(_PATH, threads=1) as model:
            model.complete([0], max_tokens=1, ignore_eos=True)
    except santacoder.NumericalError:
        pass
    finally:
        _PATH.unlink()


def lexemes(data: bytes) -> None:
    """A byte of flags, and a text: the same lexemes and grams as in the oracle, also of a text that comes in parts."""
    renamed, text = bool(data[:1] and data[0] & 1), data[1:]
    found = split(text, renamed=renamed)
    hashed = lexeme_oracle.renamed_hash if renamed else lexeme_oracle.lexeme_hash
    hashes = [hashed(lexeme) for _, lexeme in lexeme_oracle.lexemes(text)]
    assert found.hashes.tolist() == hashes
    keys, firsts = winnow(found.hashes, EXACT)
    assert list(zip(keys.tolist(), firsts.tolist(), strict=True)) == lexeme_oracle.winnow(hashes, *EXACT)
    if not renamed:
        followed = _follow(text, step=1 + data[0] if data else 1)
        assert followed == (keys.tolist() if len(hashes) >= EXACT.guarantee else [])


def _follow(text: bytes, step: int) -> list[int]:
    """The grams that are chosen in a text which comes in parts."""
    follower = Follower(EXACT)
    found, begin, end = list[int](), 0, 0
    while begin < len(text):
        end = min(end + step, len(text))
        begin += follower.read(text[begin:end], 0, ended=end == len(text))
        while follower.key is not None:
            found.append(follower.key)
            begin += follower.read(text[begin:end], 0, ended=end == len(text))
    return found


def attribution(data: bytes) -> None:
    """Bytes that pick a table, a row, a column and a type, and a value for it: an error, or the right answers."""
    table, row, column, kind = (*data[:4], 0, 0, 0, 0)[:4]
    value: bytes | str | int = data[4:]
    if kind % 3:
        value = data[4:].decode("utf-8", "replace") if kind % 3 == 1 else int.from_bytes(data[4:12], "big", signed=True)
    index = _PATH.with_suffix(".scidx")
    index.write_bytes(_index())
    connection = sqlite3.connect(index)
    name = TABLES[table % len(TABLES)]
    columns = [each[1] for each in connection.execute(f"PRAGMA table_info({name})")]
    chosen = columns[column % len(columns)]
    with contextlib.suppress(sqlite3.IntegrityError):
        connection.execute(
            f"UPDATE {name} SET {chosen} = ? WHERE id IN (SELECT id FROM {name} LIMIT 1 OFFSET ?)", (value, row)
        )
    connection.commit()
    connection.close()
    try:
        with santacoder.AttributionIndex.open(index) as opened:
            [match] = opened.find(code(1))
        assert match.sources[0].path == "a.py"
    except santacoder.AttributionIndexError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
    finally:
        index.unlink()


@functools.cache
def _index() -> bytes:
    """An index of two files."""
    with tempfile.TemporaryDirectory() as folder:
        return make_index(Path(folder), {"a.py": code(1), "b.py": code(2)}).read_bytes()


def seeds(name: str) -> list[bytes]:
    """Inputs for a fuzzer to begin with."""
    if name == "session":
        header = HEADER.pack(MAGIC, bytes.fromhex(_FINGERPRINT), 2, _BLOCK_BYTES, 1)
        return [b"", header, header + bytes(8 + _BLOCK_BYTES + 32)]
    if name == "tokenizer":
        return [
            b"\n\n\na\tb\nab",
            b"1113\n3\ta b\na\tb\tab\t<|endoftext|>\nabab",
            "1114\n0\nĠ Ġ\ta b\na\tĠ\tĠĠ\tab\na  ab".encode(),
        ]
    if name == "lexemes":
        return [b"\0def f(a):\n\treturn a[0] + 1.5\n" * 4, b"\1" + "if (é) { $x = 0x1F; }\r\n".encode() * 9]
    if name == "attribution":
        return [bytes([table, 0, column, kind]) for table in range(7) for column in range(8) for kind in range(3)]
    if name == "checkpoint":
        return [
            bytes([small_checkpoint.NAMES.index(name)]) + small_checkpoint.files(name)[name]
            for name in small_checkpoint.readable()
        ]
    return [malformed.model().build(), malformed.model(weight_type="Q8_0", width=32, hidden=32).build()]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reader": reader,
    "tokenizer": tokenizer,
    "session": session,
    "checkpoint": checkpoint,
    "lexemes": lexemes,
    "attribution": attribution,
}
