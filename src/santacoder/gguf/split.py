"""Models that llama.cpp's gguf-split has split into several files: finds the files and checks that they match.

The first part has the metadata, and every part some of the tensors. The files' names end with -00001-of-00003.gguf and
so on; `split.no`, which each part has, counts from 0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from santacoder._util.validation import printable

if TYPE_CHECKING:
    from santacoder.gguf.metadata import Metadata

_NO, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
#: Prefix of the keys that only parts have.
SPLIT_PREFIX: Final = "split."
_NAME: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)
_MAX_PARTS: Final = 512  # all are open at once
_MAX_NUMBER: Final = (1 << 16) - 1  # a part's number has 16 bits
_MAX_TENSORS: Final = 1 << 16


def part_names(name: str) -> list[str]:
    """Return the names of all parts, in order, if `name` is that of a part; else only `name`."""
    found = _NAME.fullmatch(name)
    number, count = (int(found[2]), int(found[3])) if found else (1, 1)
    if found is None or not 1 <= number <= count or count == 1:
        return [name]
    return [f"{found[1]}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]


def other_parts(path: str, metadata: Metadata) -> list[str]:
    """Return the paths of part 2 and later of the model whose first part is `path`; none if it is not split.

    Raises:
        ModelFormatError: it is not the first part, it does not say how many tensors there are, or the names of the
            others do not follow from its name.
    """
    count = metadata.integer(_COUNT, 0, _MAX_PARTS, default=1)
    number = metadata.integer(_NO, 0, _MAX_NUMBER, default=0)
    names = part_names(path)
    if number:
        first = f", {printable(names[0])}" if len(names) == count else ""
        raise metadata.error(_NO, f"is {number}: this is part {number + 1} of a split model, so open its part 1{first}")
    if count <= 1:
        return []
    if len(names) != count or names[0] != path:
        ending = f"-00001-of-{count:05}.gguf"
        raise metadata.error(_COUNT, f"is {count}, but the name does not end with {ending}, so its parts are unknown")
    if _TENSORS not in metadata:
        raise metadata.error(_TENSORS, f"is missing from part 1 of {count}")
    return names[1:]


def check_part(part: Metadata, number: int, first: Metadata) -> None:
    """Check that a file is part `number`, counted from 0, of the model that begins with `first`.

    Raises:
        ModelFormatError: it is another part, not a part, or one of another model.
    """
    found = part.integer(_NO, 0, _MAX_NUMBER)
    if found is None:
        raise part.error(_NO, f"is missing: this is not part {number + 1} of a split model")
    if found != number:
        raise part.error(_NO, f"is {found}, but its name is that of {number}: the parts are in the wrong order")
    for key, high in ((_COUNT, _MAX_NUMBER), (_TENSORS, _MAX_TENSORS)):
        value, expected = part.integer(key, 0, high), first.integer(key, 0, high)
        if value not in (None, expected):
            raise part.error(key, f"is {value}, but {expected} in part 1: this is a part of another model")


def check_tensors_count(first: Metadata, n_tensors: int) -> None:
    """Check that the parts together hold as many tensors as part 1 says.

    Raises:
        ModelFormatError: they do not.
    """
    expected = first.integer(_TENSORS, 0, _MAX_TENSORS)
    if expected != n_tensors:
        raise first.error(_TENSORS, f"is {expected}, but the parts hold {n_tensors} tensors")
