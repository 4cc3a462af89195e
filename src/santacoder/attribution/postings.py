"""Postings: where in a shard each chosen gram stands, packed in buckets of a few dozen.

A posting is key << 32 | position, both of 32 bits. A bucket holds the postings whose keys begin with the same bits:
their keys without these (big-endian, in as few bytes as hold them), then their positions (little-endian, four bytes
each), then a CRC-32 of its number and all this. Postings are sorted. Every bucket has a row, so that a lost one is
noticed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder.errors import AttributionIndexError

Postings = NDArray[np.uint64]

PER_BUCKET: Final = 64
MAX_BITS: Final = 24
_CRC_BYTES: Final = 4


def bucket_bits(postings: int) -> int:
    """Return how many bits of the key choose the bucket, in a shard of so many postings."""
    return min(max(postings // PER_BUCKET, 1).bit_length(), MAX_BITS)


def key_bytes(bits: int) -> int:
    """Return the bytes of a key within a bucket."""
    return (32 - bits + 7) // 8


def pack(postings: Postings, bits: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the buckets first..last-1, which hold the sorted postings."""
    width = key_bytes(bits)
    keys = (postings >> np.uint64(32)).astype(np.uint32)
    mask = (1 << (32 - bits)) - 1
    rest = (keys & np.uint32(mask)).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    positions = postings.astype("<u4").tobytes()
    numbers = np.arange(first, last + 1, dtype=np.uint64)
    bounds = np.searchsorted(postings, numbers[:-1] << np.uint64(64 - bits) if bits else numbers[:-1] * np.uint64(0))
    limits = [*bounds.tolist(), len(postings)]
    for bucket in range(first, last):
        begin, end = limits[bucket - first : bucket - first + 2]
        data = rest[begin * width : end * width] + positions[4 * begin : 4 * end]
        yield bucket, data + zlib.crc32(data, bucket).to_bytes(_CRC_BYTES, "little")


def check_bucket(bucket: int, data: object, bits: int) -> tuple[bytes, int]:
    """Return the bytes of a bucket without the CRC, and how many postings it has.

    Raises:
        AttributionIndexError: it is damaged.
    """
    if isinstance(data, bytes) and len(data) >= _CRC_BYTES:
        body, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
        count, rest = divmod(len(body), key_bytes(bits) + 4)
        if rest == 0 and zlib.crc32(body, bucket).to_bytes(_CRC_BYTES, "little") == crc:
            return body, count
    raise AttributionIndexError("a bucket of postings is damaged or missing")


def find_positions(data: object, bits: int, key: int, most: int) -> list[int]:
    """Return the first `most` positions of a key in its bucket, rising."""
    body, count = check_bucket(key >> (32 - bits), data, bits)
    width = key_bytes(bits)
    wanted = (key & ((1 << (32 - bits)) - 1)).to_bytes(width, "big")
    limit = count * width
    at = body.find(wanted, 0, limit)
    while at % width and at >= 0:  # across two keys
        at = body.find(wanted, at + 1, limit)
    if at < 0:
        return []
    end = at + width
    farthest = min(limit, at + most * width)
    while end < farthest and body.startswith(wanted, end):
        end += width
    found: list[int] = np.frombuffer(body, "<u4", (end - at) // width, limit + at // width * 4).tolist()
    return found


def unpack(bucket: int, data: object, bits: int) -> Postings:
    """Return the postings of a bucket."""
    body, count = check_bucket(bucket, data, bits)
    width = key_bytes(bits)
    rest = np.zeros((count, 4), np.uint8)
    rest[:, 4 - width :] = np.frombuffer(body, np.uint8, count * width).reshape(count, width)
    keys = rest.view(">u4").reshape(count).astype(np.uint64) | np.uint64(bucket << (32 - bits))
    return keys << np.uint64(32) | np.frombuffer(body, "<u4", count, count * width).astype(np.uint64)


def merge_sorted(parts: Iterable[Postings]) -> Postings:
    """Return all postings, sorted."""
    merged = np.concatenate([np.empty(0, np.uint64), *parts])
    merged.sort()
    return merged
