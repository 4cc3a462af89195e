"""What goes when a prefix cache is full."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from santacoder.prefixes.eviction import (
    ABANDONED,
    Room,
    StoredFile,
    disk_bytes,
    model_folders,
    remove_files,
    stored_files,
)

PAGE = 4096
SECOND = 10**9


def name_of(number: int) -> str:
    return f"{number:040x}"


@pytest.fixture
def model(folder: Path) -> Path:
    path = folder / ("a" * 16)
    path.mkdir(parents=True)
    return path


def put(model: Path, name: str, used_ns: int, size: int = PAGE) -> Path:
    path = model / name
    path.write_bytes(bytes(size))
    os.utime(path, ns=(used_ns, used_ns))
    return path


def numbers(model: Path) -> list[int]:
    return sorted(int(path.name, 16) for path in model.iterdir())


def test_bytes_of_the_disk() -> None:
    assert [disk_bytes(size) for size in (0, 1, PAGE, PAGE + 1)] == [0, PAGE, PAGE, 2 * PAGE]


def test_the_oldest_go_until_there_is_room_for_a_while(folder: Path, model: Path) -> None:
    for number in range(16):
        put(model, name_of(number), used_ns=(7 * number) % 16)
    room = Room(folder, 16 * PAGE)
    room.make(PAGE)
    left = numbers(model)
    assert len(left) == 14  # an eighth of the limit is free
    assert set(range(16)) - set(left) == {number for number in range(16) if (7 * number) % 16 < 2}
    for number in (16, 17):
        put(model, name_of(number), 100)
        room.make(PAGE)
    assert len(numbers(model)) == 14


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 100])
def test_never_more_than_the_limit(folder: Path, model: Path, limit: int) -> None:
    room = Room(folder, limit * PAGE)
    for number in range(3 * limit):
        room.make(100)
        put(model, name_of(number), number, 100)
        found = numbers(model)
        assert len(found) <= limit
        assert found == list(range(number - len(found) + 1, number + 1))  # the newest


def test_other_processes_and_models_count(folder: Path, model: Path) -> None:
    other = folder / ("b" * 16)
    other.mkdir()
    for number in range(6):
        put(other, name_of(number), number)
        put(model, name_of(number), 100 + number)
    Room(folder, 12 * PAGE).make(PAGE)
    assert (len(numbers(other)), len(numbers(model))) == (4, 6)


def test_nothing_else_is_touched(folder: Path, model: Path) -> None:
    foreign = [put(model, "thesis.txt", 0), put(model, name_of(1)[1:], 0)]
    (folder / "my files").mkdir()
    foreign += [put(folder / "my files", name_of(1), 0), put(folder, name_of(2), 0)]
    target = folder / "elsewhere"
    target.mkdir()
    foreign.append(put(target, name_of(3), 0))
    (folder / ("c" * 16)).symlink_to(target)
    put(model, name_of(5), 5)
    Room(folder, PAGE).make(PAGE)
    assert all(path.exists() for path in foreign)
    assert not (model / name_of(5)).exists()


def test_what_killed_processes_leave(folder: Path, model: Path) -> None:
    now = time.time_ns()
    old = put(model, f".{name_of(1)}-aa", now - (ABANDONED + 60) * SECOND)
    new = put(model, f".{name_of(1)}-bb", now)
    assert [file.name for file in stored_files(model, now)] == [new.name]
    assert not old.exists()


def test_folders_that_are_not_there(folder: Path) -> None:
    assert model_folders(folder) == []
    assert list(stored_files(folder / "x", 0)) == []
    remove_files([StoredFile(0, 1, folder / "x", "y")])
    Room(folder, PAGE).make(PAGE)
