"""Names of blocks: a hash of everything that their keys and values depend on.

The weights, the layout, and all tokens from the first of the text to the last of the block: each name is the hash of
the one before and of the block's own tokens. So texts that begin alike share the files of their beginning.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from santacoder.engine.kv_cache import KV_BLOCK, KV_FORMAT
from santacoder.text.token_ids import TokenIds

_BYTES: Final = 20
#: Letters of a name.
LETTERS: Final = 2 * _BYTES


def root_name(fingerprint: str, block_bytes: int) -> bytes:
    """Return what the names of all blocks of a model begin from."""
    return blake2b(f"{KV_FORMAT} {fingerprint} {block_bytes}".encode(), digest_size=_BYTES).digest()


def block_names(root: bytes, tokens: TokenIds, count: int) -> list[str]:
    """Return the names of the first `count` blocks of a text (T,), T >= 64 * count."""
    data = tokens[: count * KV_BLOCK].astype("<i4").tobytes()
    names = []
    digest, size = root, 4 * KV_BLOCK
    for start in range(0, count * size, size):
        digest = blake2b(digest + data[start : start + size], digest_size=_BYTES).digest()
        names.append(digest.hex())
    return names
