"""Models in several files, as gguf-split writes them, and parts that do not belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.gguf_builder import I32, U16, GGUFBuilder, scalar
from tests.support.malformed_case import Case, model

NO, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
STEM = "model"


def part_name(number: int, count: int, stem: str = STEM) -> str:
    """The file of part `number`, counted from 1."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def split(whole: GGUFBuilder, count: int = 3, empty_first: bool = False) -> list[GGUFBuilder]:
    """The parts of a model: the metadata in the first, and with `empty_first` no tensors there."""
    n_shares = count - empty_first
    size = -(-len(whole.tensors) // n_shares)
    shares = [whole.tensors[i * size : (i + 1) * size] for i in range(n_shares)]
    parts = []
    for number, tensors in enumerate([[]] * empty_first + shares):
        part = GGUFBuilder(metadata=[*whole.metadata] if number == 0 else [], tensors=tensors)
        part.set(NO, scalar(U16, number)).set(COUNT, scalar(U16, count))
        parts.append(part.set(TENSORS, scalar(I32, len(whole.tensors))))
    return parts


def write_parts(folder: Path, parts: list[GGUFBuilder], stem: str = STEM) -> list[Path]:
    """The files, by their right names."""
    paths = [folder / part_name(number, len(parts), stem) for number in range(1, len(parts) + 1)]
    for path, part in zip(paths, parts, strict=True):
        if path.is_dir():  # left by a case before this one
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(part.build())
    return paths


def splits() -> Iterator[Case]:
    """Parts that are missing, foreign, in another place, or do not say what they are."""
    first, second, third = (part_name(number, 3) for number in (1, 2, 3))

    def case(name: str, problem: str | None, change: Callable[[list[GGUFBuilder]], object], **options: Any) -> Case:
        """Three parts; `change` does something to them, and part 1 is loaded."""

        def write(folder: Path) -> Path:
            parts = split(model(), **options)
            change(parts)
            return write_parts(folder, parts)[0]

        return Case(f"split: {name}", write, problem)

    def after(name: str, problem: str, change: Callable[[list[Path]], Path]) -> Case:
        """Three good parts; `change` does something to their files, and tells which to load."""
        return Case(f"split: {name}", lambda folder: change(write_parts(folder, split(model()))), problem)

    yield case("three parts", None, lambda parts: None)
    yield case("many parts", None, lambda parts: None, count=16)
    yield case("no tensors in the first", None, lambda parts: None, empty_first=True)
    yield case("another alignment in the second", None, lambda parts: align(parts[1], 64))
    yield case("versions", None, lambda parts: setattr(parts[2], "version", 2))
    yield case("only numbers in the others", None, lambda parts: [p.drop(COUNT).drop(TENSORS) for p in parts[1:]])
    yield after("part 3 is missing", f"split into 3 files, but part 3, {{}}/{third}, is not there", without(2))
    yield after("part 2 is missing", f"split into 3 files, but part 2, {{}}/{second}, is not there", without(1))
    for n in (2, 3):
        problem = f"is {n - 1}: this is part {n} of a split model, so open its part 1, {{}}/{first}"
        yield after(f"part {n} is loaded", problem, loaded(n))
    yield after("part 2 by another name", "this is part 2 of a split model, so open its part 1", renamed(1))
    yield after("part 1 by another name", f"is 3, but the name does not end with {part_name(1, 3, '')}, so", renamed(0))
    yield after("2 and 3 change places", f"{second}: split.no at byte 44 is 2, but its name is that of 1", exchanged)
    yield after("part 2 is part 1", f"{second}: split.no at byte", lambda paths: copied(paths, 0, 1))
    yield after("part 3 is part 2", f"{third}: split.no at byte 44 is 1, but its name is that of 2", copied_second)
    yield after("part 2 is not GGUF", f"{second}: the file is not GGUF", lambda paths: filled(paths, b"x" * 99))
    yield after("part 2 is empty", f"{second}: the file is empty", lambda paths: filled(paths, b""))
    yield after("part 2 is a folder", f"{second}: the path is a directory, not a file", foldered)
    yield case("no number in part 2", f"{second}: split.no is missing: this is not part 2", lambda p: p[1].drop(NO))
    yield case("part of four", "is 4, but 3 in part 1: this is a part of another", lambda p: set_16(p[1], COUNT, 4))
    others = "is 7, but 16 in part 1: this is a part of another model"
    yield case("part of fewer tensors", others, lambda p: p[2].set(TENSORS, scalar(I32, 7)))
    total = lambda p: [each.set(TENSORS, scalar(I32, 15)) for each in p]  # noqa: E731
    yield case("more tensors than there are to be", "is 15, but the parts hold 16 tensors", total)
    yield case("a tensor is missing", "is 16, but the parts hold 15 tensors", lambda p: p[1].tensors.pop())
    yield case("a tensor is there twice", f"is in {{}}/{first} too", lambda p: p[2].tensors.append(p[0].tensors[0]))
    yield case("no number of tensors", f"{TENSORS} is missing from part 1 of 3", lambda p: p[0].drop(TENSORS))
    wrong = f"{second}: tensor blk.0.ffn_norm.bias at byte"
    yield case("a wrong shape in part 2", wrong, lambda p: setattr(p[1].tensor("blk.0.ffn_norm.bias"), "dims", (2, 4)))
    for key in (NO, COUNT, TENSORS):
        for value in ("1", True, -1, 2**31, [1]):
            yield case(f"{key} of part 1 is {value}", key, put(0, key, value))
            yield case(f"{key} of part 2 is {value}", key, put(1, key, value))
    yield case("513 parts", "is 513, but it must be in 0..512", lambda p: set_16(p[0], COUNT, 513))
    yield case("one part of many is said", "is 2, but the name does not end with", lambda p: set_16(p[0], COUNT, 2))


def align(part: GGUFBuilder, alignment: int) -> None:
    part.set("general.alignment", alignment)
    part.alignment = alignment


def set_16(part: GGUFBuilder, key: str, value: int) -> None:
    part.set(key, scalar(U16, value))


def put(index: int, key: str, value: Any) -> Callable[[list[GGUFBuilder]], object]:
    return lambda parts: parts[index].set(key, scalar(I32, value) if value == -1 else value)


def loaded(number: int) -> Callable[[list[Path]], Path]:
    return lambda paths: paths[number - 1]


def without(index: int) -> Callable[[list[Path]], Path]:
    def remove(paths: list[Path]) -> Path:
        paths[index].unlink()
        return paths[0]

    return remove


def renamed(index: int) -> Callable[[list[Path]], Path]:
    return lambda paths: paths[index].rename(paths[index].parent / "other.gguf")


def copied(paths: list[Path], source: int, target: int) -> Path:
    paths[target].write_bytes(paths[source].read_bytes())
    return paths[0]


def copied_second(paths: list[Path]) -> Path:
    return copied(paths, 1, 2)


def exchanged(paths: list[Path]) -> Path:
    second = paths[1].read_bytes()
    copied(paths, 2, 1)
    paths[2].write_bytes(second)
    return paths[0]


def filled(paths: list[Path], data: bytes) -> Path:
    paths[1].write_bytes(data)
    return paths[0]


def foldered(paths: list[Path]) -> Path:
    paths[1].unlink()
    paths[1].mkdir()
    return paths[0]
