"""Blocks in files: a header with a checksum, then keys and values of 64 positions in the kernels' layout.

    bytes 0..7      "SCPREF" and the number of the layout
    8..27           the block's name
    28..31          bytes of the block, uint32, little-endian
    32..63          SHA-256 of the name and the block
    then            the block

Nothing is flushed to the disk and nobody is trusted: a file counts if all of it is right.
"""

from __future__ import annotations

import os
import struct
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from santacoder._util.private_folder import (
    open_private,
    private_folder,
    read_all,
    remove,
    touch,
    write_private,
)
from santacoder.engine.kv_cache import KV_FORMAT
from santacoder.errors import InvalidRequestError

MAGIC: Final = b"SCPREF%02d" % KV_FORMAT
HEADER: Final = struct.Struct("<8s20sI32s")


class BlockFiles:
    """The files of a model's blocks, in a folder of their own.

    Attributes:
        folder: its path; it need not exist.
        block_bytes: bytes of a block.
        file_bytes: bytes of a file.
    """

    def __init__(self, folder: Path, block_bytes: int) -> None:
        self.folder = folder
        self.block_bytes = block_bytes
        self.file_bytes = HEADER.size + block_bytes

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name, which may be damaged."""
        return os.path.lexists(self.folder / name)

    def read(self, name: str, block: NDArray[np.uint8]) -> bool:
        """Fill a block, (block_bytes,), from its file; return False if there is none, or a damaged one, which goes."""
        try:
            with private_folder(self.folder) as folder:
                with open_private(folder, name) as (descriptor, size):
                    header = bytearray(HEADER.size)
                    complete = size == self.file_bytes and read_all(descriptor, memoryview(header))
                    if complete and read_all(descriptor, block.data) and header == self._header(name, block):
                        return True
                remove(folder, name)
        except (OSError, InvalidRequestError):
            pass
        return False

    def write(self, name: str, block: NDArray[np.uint8], used_ns: int) -> None:
        """Write a block, (block_bytes,), to its file, aside first; `used_ns` is the time of its last use.

        Raises:
            OSError: it cannot be written.
            InvalidRequestError: the folder is not this user's.
        """
        with private_folder(self.folder, make=True) as folder:
            write_private(folder, name, (self._header(name, block), block.data), used_ns)

    def touch(self, name: str, used_ns: int) -> bool:
        """Set the time of a block's last use; return False if it has no file."""
        try:
            with private_folder(self.folder) as folder:
                return touch(folder, name, used_ns)
        except (OSError, InvalidRequestError):
            return False

    def _header(self, name: str, block: NDArray[np.uint8]) -> bytes:
        digest = sha256(bytes.fromhex(name))
        digest.update(block.data)
        return HEADER.pack(MAGIC, bytes.fromhex(name), self.block_bytes, digest.digest())
