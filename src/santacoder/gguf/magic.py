"""Recognises a GGUF file, and the files that are often mistaken for one."""

from __future__ import annotations

from typing import Final

from santacoder.errors import ModelFormatError

#: Of a file of packed weights.
PACKED_MAGIC: Final = b"SCPANELS"

_HEADER_BYTES: Final = 24
_FOREIGN_MAGICS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"version https://git-lfs", "is a git-LFS pointer, not the model itself: fetch it with 'git lfs pull'"),
    (PACKED_MAGIC, "holds packed weights, not a model: name the GGUF file they were made from"),
    (b"PK\x03\x04", "is a zip archive (a PyTorch checkpoint?), not GGUF: convert it first"),
    (b"\x80\x02", "is a Python pickle (a PyTorch checkpoint?), not GGUF: convert it first"),
    (b"lmgg", "is in the old GGML format: convert it to GGUF first"),
    (b"GGML", "is in the old GGML format: convert it to GGUF first"),
    (b"fmgg", "is in the old GGMF format: convert it to GGUF first"),
    (b"tjgg", "is in the old GGJT format: convert it to GGUF first"),
    (b"ggjt", "is in the old GGJT format: convert it to GGUF first"),
)


def check_magic(start: bytes, size: int) -> None:
    """Check by its first bytes, `start` (at most 512), that a file of `size` bytes is GGUF.

    Raises:
        ModelFormatError: it is not; the message names the format if its first bytes tell.
    """
    if start[:4] == b"GGUF":
        if size < _HEADER_BYTES:
            raise ModelFormatError(f"the file ends at byte {size}, inside the {_HEADER_BYTES}-byte GGUF header")
        return
    for magic, problem in _FOREIGN_MAGICS:
        if start.startswith(magic):
            raise ModelFormatError(f"the file {problem} (byte 0)")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelFormatError("the file is a web page, not a model (byte 0): the download failed")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        raise ModelFormatError("the file is in the safetensors format (byte 0), not GGUF: convert it first")
    if size < _HEADER_BYTES:
        raise ModelFormatError(f"the file is too short for GGUF: it ends at byte {size} of {_HEADER_BYTES}")
    raise ModelFormatError(f"the file is not GGUF: it starts with {start[:4]!r} at byte 0, not with b'GGUF'")
