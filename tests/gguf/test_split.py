"""Models in several files: every reader takes the first part, and gets what a single file would give."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.cli import main
from santacoder.errors import HubError, InvalidRequestError, ModelClosedError, ModelFormatError
from santacoder.gguf.digest import file_sha256, model_sha256
from santacoder.gguf.reader import GGUFFile
from santacoder.gguf.split import part_names
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer
from santacoder.quantize import quantize
from santacoder.sources.hub import choose, download
from tests.support.gguf_builder import tiny_builder
from tests.support.malformed import flips, truncations
from tests.support.malformed_case import model as small_model
from tests.support.malformed_split import COUNT, NO, TENSORS, part_name, split, write_parts
from tests.support.needs import needs_open_files

SEED = int(os.environ.get("SANTACODER_SEED", "1"))
COMMIT = "0123456789" * 4


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.gguf"
    path.write_bytes(tiny_builder(layers=2).build())
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return write_parts(tmp_path, split(tiny_builder(layers=2)))


def logits(path: Path) -> bytes:
    with santacoder.load(path, threads=1) as model:
        return model.logits("abc").tobytes()


def test_names() -> None:
    assert part_names("a-00002-of-00003.gguf") == [f"a-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert part_names("/x/y\n-00001-of-00002.gguf") == [f"/x/y\n-0000{i}-of-00002.gguf" for i in (1, 2)]
    for name in (
        "a.gguf", "a-00001-of-00001.gguf", "a-00000-of-00003.gguf", "a-00004-of-00003.gguf", "a-1-of-3.gguf",
        "a-00001-of-00003.bin", "a-00001-of-00003.gguf.part", "a-00001-of-00000.gguf",
    ):  # fmt: skip
        assert part_names(name) == [name]


@pytest.mark.parametrize("count", [2, 3, 7, 28])
@pytest.mark.parametrize("empty_first", [False, True])
def test_parts_give_what_the_whole_gives(tmp_path: Path, whole: Path, count: int, empty_first: bool) -> None:
    paths = write_parts(tmp_path, split(tiny_builder(layers=2), count, empty_first))
    with GGUFFile.open(paths[0]) as joined, GGUFFile.open(whole) as one:
        assert joined.paths == [str(path) for path in paths]
        assert joined.size == sum(path.stat().st_size for path in paths)
        assert list(joined.tensors) == list(one.tensors)
        for name, info in one.tensors.items():
            assert joined.data(joined.tensors[name]).tobytes() == one.data(info).tobytes()
        keys = {NO, COUNT, TENSORS}
        assert {key: repr(value) for key, value in joined.metadata.items() if key not in keys} == {
            key: repr(value) for key, value in one.metadata.items()
        }
    assert logits(paths[0]) == logits(whole)


@pytest.mark.parametrize("small_first", [False, True])
def test_what_the_gguf_package_splits(tmp_path: Path, whole: Path, small_first: bool) -> None:
    reader = gguf.GGUFReader(whole)
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "starcoder", split_max_tensors=5, small_first_shard=small_first)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    paths = sorted(tmp_path.glob("theirs-*.gguf"))
    assert len(paths) == (7 if small_first else 6)
    assert logits(paths[0]) == logits(whole)


def test_a_closed_model_of_parts(parts: list[Path]) -> None:
    file = GGUFFile.open(parts[0])
    last = file.tensors["output_norm.bias"]
    assert last.part == 2
    view = file.data(last)
    expected = view.tobytes()
    file.release(last.offset + last.n_bytes, last.part)
    assert view.tobytes() == expected
    file.close()
    file.close()
    for use in (lambda: file.data(last), lambda: file.release(64, 2)):
        with pytest.raises(ModelClosedError, match=r"model-00003-of-00003\.gguf: the file is closed$"):
            use()


@needs_open_files
def test_no_part_stays_open(parts: list[Path]) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = descriptors()
    for number in (2, 3):
        parts[number - 1].rename(parts[0].parent / "away")
        with pytest.raises(ModelFormatError, match=f"but part {number}, "):
            GGUFFile.open(parts[0])
        (parts[0].parent / "away").rename(parts[number - 1])
        assert descriptors() == before
    GGUFFile.open(parts[0]).close()
    assert descriptors() == before


def test_a_change_of_another_part_is_noticed(parts: list[Path]) -> None:
    with GGUFFile.open(parts[0]) as file:
        os.truncate(parts[1], 0)
        by_part = {info.part: info for info in file.tensors.values()}
        assert file.data(by_part[0]).size
        assert file.data(by_part[2]).size
        with pytest.raises(ModelFormatError, match=r"model-00002-of-00003\.gguf: the file was changed while it was"):
            file.data(by_part[1])


def test_errors_name_the_part(tmp_path: Path) -> None:
    pieces = split(tiny_builder(layers=2))
    tensor = pieces[2].tensor("output_norm.bias")
    tensor.data = np.full(32, np.inf, np.float32).tobytes()
    paths = write_parts(tmp_path, pieces)
    at = pieces[2].offsets["tensor:output_norm.bias"]
    with pytest.raises(ModelFormatError) as caught:
        santacoder.load(paths[0], threads=1)
    problem = f"tensor output_norm.bias at byte {at} holds a value that is infinite or not a number"
    assert str(caught.value) == f"{paths[2]}: {problem}"


def test_odd_paths(tmp_path: Path) -> None:
    """Characters that would control a terminal are escaped."""
    paths = write_parts(tmp_path, split(small_model()), "a\n\x1b[31m")
    santacoder.load(paths[0], threads=1).close()
    for path, problem in ((paths[1], "so open its part 1, "), (paths[0], "but part 2, ")):
        with pytest.raises(ModelFormatError) as caught:
            GGUFFile.open(path)
        assert problem in str(caught.value)
        assert str(caught.value).isprintable()
        assert "a\\n\\x1b[31m-0000" in str(caught.value)
        paths[1].unlink(missing_ok=True)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_damage(tmp_path: Path, number: int) -> None:
    """Single bytes and truncations of each part, drawn by SANTACODER_SEED: loading succeeds or names a part."""
    pieces = split(small_model())
    paths = write_parts(tmp_path, pieces)
    path = paths[number - 1]
    data = path.read_bytes()
    draw = random.Random(SEED)
    outcomes = set()
    for what, bad in [
        *flips(data, draw.sample(range(len(data)), min(120, len(data)))),
        *truncations(data, draw.sample(range(len(data)), 40)),
    ]:
        path.unlink()
        path.write_bytes(bad)
        try:
            with santacoder.load(paths[0], threads=1) as model:
                model.complete([0], max_tokens=1, ignore_eos=True)
            outcomes.add("loaded")
        except santacoder.NumericalError:
            outcomes.add("loaded")
        except ModelFormatError as error:
            assert str(error).startswith(str(tmp_path)), what  # noqa: PT017 (either outcome is right)
            assert "\n" not in str(error), what  # noqa: PT017
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However the tensors are spread over the files, empty ones included."""
    folder = tmp_path_factory.mktemp("cut")
    whole = small_model()
    count = data.draw(st.integers(2, 9))
    places = data.draw(st.lists(st.integers(0, count - 1), min_size=16, max_size=16))
    pieces = split(small_model(), count)
    for number, piece in enumerate(pieces):
        piece.tensors = [t for t, place in zip(whole.tensors, places, strict=True) if place == number]
    paths = write_parts(folder, pieces)
    (folder / "whole.gguf").write_bytes(whole.build())
    with santacoder.load(folder / "whole.gguf", threads=1) as one, santacoder.load(paths[0], threads=1) as joined:
        assert joined.logits([0, 1]).tobytes() == one.logits([0, 1]).tobytes()


# What reads models.


def test_quantize(tmp_path: Path, whole: Path, parts: list[Path]) -> None:
    options: dict[str, Any] = {"threads": 1, "calibration": ["def f(x):\n    return x\n" * 40]}
    theirs = quantize(whole, tmp_path / "a.gguf", "q8_0", **options)
    ours = quantize(parts[0], tmp_path / "b.gguf", "q8_0", **options)
    assert ours == theirs
    assert (tmp_path / "b.gguf").read_bytes() == (tmp_path / "a.gguf").read_bytes()
    with pytest.raises(ModelFormatError, match=f"so open its part 1, {parts[0]}$"):
        quantize(parts[1], tmp_path / "c.gguf", "q8_0")
    assert not (tmp_path / "c.gguf").exists()


def test_no_part_is_replaced(parts: list[Path]) -> None:
    before = [part.read_bytes() for part in parts]
    for part in parts:
        with pytest.raises(InvalidRequestError, match=f"^{re.escape(str(part))} is a file that is read"):
            quantize(parts[0], part, "q8_0", force=True)
    assert [part.read_bytes() for part in parts] == before


def test_commands(tmp_path: Path, whole: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    def out(*arguments: str) -> str:
        assert main(arguments) == 0
        return capsys.readouterr().out

    for command in (["tokenize", "a b"], ["complete", "a", "--seed", "1", "-n", "4"]):
        assert out(*command, "--model", str(parts[0])) == out(*command, "--model", str(whole))
    facts, expected = (json.loads(out("info", "--json", "--model", str(path))) for path in (parts[0], whole))
    size = sum(path.stat().st_size for path in parts)
    assert facts == {**expected, "path": str(parts[0]), "file_bytes": size}
    target = tmp_path / "q.gguf"
    said = out("quantize", str(parts[0]), str(target), "--type", "q8_0", "-t", "1")
    percent = target.stat().st_size / sum(path.stat().st_size for path in parts)
    assert said.endswith(f" MB, {percent:.0%} of {parts[0]}\n")
    assert main(["info", "--model", str(parts[2])]) == 1
    problem = f"this is part 3 of a split model, so open its part 1, {parts[0]}\n"
    assert capsys.readouterr().err.endswith(problem)


def test_digest(whole: Path, parts: list[Path]) -> None:
    assert model_sha256(whole) == file_sha256(whole)
    joined = whole.parent / "joined"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    assert model_sha256(parts[0]) == file_sha256(joined)


def test_folders(tmp_path: Path, whole: Path, parts: list[Path]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in parts:
        path.rename(folder / path.name)
    expected = AutoModelForCausalLM.from_pretrained(whole, threads=1).engine.logits("ab").tobytes()
    model = AutoModelForCausalLM.from_pretrained(folder, threads=1)
    assert model.engine.logits("ab").tobytes() == expected
    assert AutoTokenizer.from_pretrained(folder)._tokenizer is model.engine.tokenizer


# The hub.


def test_choice() -> None:
    three = [part_name(n, 3, "m") for n in (1, 2, 3)]
    assert choose("a/b", three) == three[0]
    assert choose("a/b", [*three, part_name(1, 2, "m-Q4_K_M"), part_name(2, 2, "m-Q4_K_M")]).startswith(
        "m-Q4_K_M-00001"
    )
    assert choose("a/b", [*three, "x-q4_k_m.gguf"]) == "x-q4_k_m.gguf"
    with pytest.raises(
        InvalidRequestError, match=r"has several GGUF files, so one must be named: m-00001[^,]*, x\.gguf$"
    ):
        choose("a/b", [*three, "x.gguf"])
    with pytest.raises(InvalidRequestError, match=r"'a/b' has no GGUF file; it has m-00002"):
        choose("a/b", three[1:])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a repository's commit in a cache, with three parts below a folder, and no network."""
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT / "sub"
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in write_parts(folder, split(tiny_builder())):
        blob = repository / "blobs" / file_sha256(path)
        path.rename(blob)
        path.symlink_to(blob)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_hub(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = cache / part_name(1, 3)
    assert download("owner/name") == download("owner/name", f"sub/{first.name}") == str(first)
    santacoder.from_pretrained("owner/name", threads=1).close()
    assert main(["info", "--model", f"owner/name:sub/{first.name}"]) == 0
    message = r"^'sub/model-00002-of-00003\.gguf' is a part of a split model: name its first, 'sub/model-00001-of-"
    with pytest.raises(InvalidRequestError, match=message):
        download("owner/name", f"sub/{part_name(2, 3)}")


def test_hub_without_a_part(cache: Path) -> None:
    (cache / part_name(3, 3)).unlink()
    with pytest.raises(HubError, match=r"^cannot get sub/model-00003-of-00003\.gguf from 'owner/name' at '0123456789"):
        download("owner/name")


def test_all_parts_are_of_one_commit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch may move on between two files."""
    asked: list[tuple[str, str | None, bool]] = []

    def hf_hub_download(repo: str, name: str, *, revision: str | None, force_download: bool, **_: Any) -> str:
        asked.append((name, revision, force_download))
        return str(cache.parent / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    assert download("owner/name", revision="main", force_download=True) == str(cache / part_name(1, 3))
    names = [f"sub/{part_name(number, 3)}" for number in (1, 2, 3)]
    assert asked == [(names[0], "main", True), (names[1], COMMIT, True), (names[2], COMMIT, True)]
