"""Facts about a model's file that need only its header."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from santacoder.gguf.metadata import Metadata
from santacoder.gguf.reader import GGUFFile


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the header of a GGUF file says.

    Attributes:
        path: the file's; of a split model that of its first part.
        file_bytes: bytes of the file, or of all parts.
        file_type: llama.cpp's name for the mix of its tensors' types, such as "Q4_K_M"; None if it is not stated.
        parameters: how many weights there are.
        license: as stated, such as "apache-2.0"; None if it is not.
    """

    path: str
    file_bytes: int
    file_type: str | None
    parameters: int
    license: str | None


def file_facts(path: str | os.PathLike[str]) -> FileFacts:
    """Read the facts about a file.

    Raises:
        ModelFormatError: it is not a GGUF file that can be read, or a value has a wrong type.
        OSError: it cannot be opened.
    """
    with GGUFFile.open(path) as file:
        return FileFacts(
            path=file.path,
            file_bytes=file.size,
            file_type=_file_type(file.metadata),
            parameters=sum(math.prod(tensor.shape) for tensor in file.tensors.values()),
            license=file.metadata.string("general.license", "") or None,
        )


def _file_type(metadata: Metadata) -> str | None:
    from gguf import LlamaFileType

    number = metadata.integer("general.file_type", 0, 1 << 32)
    if number is None:
        return None
    names = {kind.value: kind.name for kind in LlamaFileType}
    return names.get(number, str(number)).removeprefix("MOSTLY_").removeprefix("ALL_")
