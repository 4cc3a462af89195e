"""Sessions in files: a header, the tokens, the blocks of keys and values, a checksum over all of it.

    bytes 0..7      "SCSESS02"
    8..39           SHA-256 of the model's weights and shape
    40..51          number of tokens, bytes of a block, number of blocks: uint32, little-endian
    then            the tokens, int32, little-endian; the blocks; SHA-256 of all before

The layout of a block is that of the kernels, the same on every instruction set.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.atomic_file import atomic_file, with_path_in_errors
from santacoder._util.regular_file import open_regular
from santacoder.engine.kv_cache import KV_BLOCK, KV_FORMAT, KVCache
from santacoder.errors import SessionFormatError
from santacoder.text.token_ids import TokenIds

#: The last two characters are the version.
MAGIC: Final = b"SCSESS%02d" % KV_FORMAT
HEADER: Final = struct.Struct("<8s32sIII")
DIGEST_BYTES: Final = hashlib.sha256().digest_size


def write_session(path: str | os.PathLike[str], fingerprint: str, token_ids: TokenIds, cache: KVCache) -> None:
    """Write `token_ids` (N,) and the cache that holds them.

    Raises:
        OSError: the file cannot be written.
    """
    digest = hashlib.sha256()
    blocks: list[bytes | memoryview] = list(cache.contents())
    with atomic_file(path) as file, with_path_in_errors(Path(path)):
        header = HEADER.pack(MAGIC, bytes.fromhex(fingerprint), token_ids.size, cache.block_bytes, len(blocks))
        for part in [header, token_ids.tobytes(), *blocks]:
            digest.update(part)
            file.write(part)
        file.write(digest.digest())


def read_session(path: str | os.PathLike[str], fingerprint: str, vocab_size: int, cache: KVCache) -> TokenIds:
    """Fill the empty `cache` from a file and return its tokens.

    Raises:
        OSError: the file cannot be read.
        SessionFormatError: it is not a session file, is damaged, or does not fit the model.
    """
    with os.fdopen(open_regular(os.fspath(path), SessionFormatError), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(file, str(path))
        magic, model, count, block_bytes, blocks = HEADER.unpack(reader.read(HEADER.size))
        if magic[:-2] != MAGIC[:-2]:
            raise SessionFormatError(f"{path} is not a session file")
        if magic != MAGIC:
            version, known = (x[-2:].decode("ascii", "replace") for x in (magic, MAGIC))
            raise SessionFormatError(f"{path} is a session of version {version!r}, and this santacoder reads {known!r}")
        if model.hex() != fingerprint:
            raise SessionFormatError(f"{path} belongs to another model")
        if count > cache.capacity or block_bytes != cache.block_bytes or blocks != -(-count // KV_BLOCK):
            raise SessionFormatError(
                f"{path} holds {count} tokens in {blocks} blocks of {block_bytes} bytes, but the model has "
                f"{cache.capacity} positions in blocks of {cache.block_bytes} bytes"
            )
        expected = HEADER.size + 4 * count + blocks * block_bytes + DIGEST_BYTES
        if size != expected:
            raise SessionFormatError(f"{path} has {size} bytes, but its header asks for {expected}")
        token_ids = np.frombuffer(reader.read(4 * count), dtype=np.int32)
        if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < vocab_size:
            raise SessionFormatError(f"{path} holds a token that is not in 0..{vocab_size - 1}")
        cache.fill(count, reader.read_into)
        if reader.digest.digest() != file.read():
            raise SessionFormatError(f"{path} is damaged: its checksum is wrong")
    return token_ids


class _Reader:
    """Reads a file and hashes what it reads."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self.digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise SessionFormatError(f"{self._name} ends too early to be a session file")
        self.digest.update(data)
        return data

    def read_into(self, block: NDArray[np.uint8]) -> None:
        block[:] = np.frombuffer(self.read(block.size), dtype=np.uint8)
