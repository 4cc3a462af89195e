"""Several sequences in one step: each gives the same bytes in any batch as by itself, and prefixes are shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from santacoder.engine.isa import available
from santacoder.engine.kv_cache import KV_BLOCK, KVCache
from santacoder.engine.loading import open_transformer
from santacoder.engine.transformer import Transformer
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import DATA, distributed

FIXTURES = ["mqa-q4_k_m", "mha-q4_k_m"]
SLOTS = 16


@pytest.fixture(params=FIXTURES)
def path(request: pytest.FixtureRequest) -> Path:
    return distributed(DATA / f"{request.param}.gguf")


def random_tokens(count: int, seed: int = 0) -> list[int]:
    tokens: list[int] = np.random.default_rng(seed).integers(0, 512, count).tolist()
    return tokens


def alone(model: Transformer, tokens: list[int], prompt: int) -> bytes:
    """The logits after the prompt and after each further token, of a sequence by itself."""
    cache = model.new_cache()
    rows = [model.forward(tokens[:prompt], cache)]
    rows += [model.forward([token], cache) for token in tokens[prompt:]]
    return np.concatenate(rows).tobytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("isa", available())
def test_a_sequence_has_the_same_bytes_in_any_slot(
    monkeypatch: pytest.MonkeyPatch, path: Path, isa: str, threads: int
) -> None:
    monkeypatch.setenv("SANTACODER_ISA", isa)
    model, _ = open_transformer(path, threads=threads)
    lengths = [3 + 5 * i for i in range(SLOTS)]  # prompts of 3 to 78 tokens: some cross a block of the cache
    sequences = [random_tokens(length + 4, seed) for seed, length in enumerate(lengths)]
    expected = [alone(model, tokens, length) for tokens, length in zip(sequences, lengths, strict=True)]
    for turn in (0, 5):
        order = np.roll(np.arange(SLOTS), turn).tolist()
        caches = {i: model.new_cache() for i in order}
        cuts = [(0, 0), *((j, j + 1) for j in range(4))]  # counted from a prompt's end; the first is the prompt
        steps = []
        for start, stop in cuts:
            parts = [sequences[i][lengths[i] + start if stop else 0 : lengths[i] + stop] for i in order]
            steps.append(model.forward_batch([(part, caches[i]) for part, i in zip(parts, order, strict=True)]))
        for slot, i in enumerate(order):
            assert np.stack([step[slot] for step in steps]).tobytes() == expected[i]


def test_prompts_and_single_tokens_in_one_step(path: Path) -> None:
    model, _ = open_transformer(path, threads=2)
    tokens = random_tokens(70)
    decoding, other = model.new_cache(), model.new_cache()
    model.forward(tokens[:66], decoding)
    both = model.forward_batch([(tokens[66:67], decoding), (tokens[:40], other), (tokens[40:41], model.new_cache())])
    assert both[0].tobytes() == alone(model, tokens[:67], 66)[-both[0].nbytes :]
    assert both[1].tobytes() == alone(model, tokens[:40], 40)
    assert both[2].tobytes() == alone(model, tokens[40:41], 1)
    assert (len(decoding), len(other)) == (67, 40)


def test_all_outputs_of_a_batch(path: Path) -> None:
    model, _ = open_transformer(path, threads=2)
    first, second = random_tokens(9, 1), random_tokens(20, 2)
    logits = model.forward_batch([(first, model.new_cache()), (second, model.new_cache())], "all")
    apart = [model.forward(tokens, model.new_cache(), "all") for tokens in (first, second)]
    assert logits.tobytes() == np.concatenate(apart).tobytes()


def test_more_rows_than_a_step_takes(tmp_path: Path) -> None:
    context = 600
    file = tmp_path / "model.gguf"
    file.write_bytes(tiny_builder(layers=2, context=context).build())
    model, _ = open_transformer(file, threads=2)
    sequences = [random_tokens(length, length) for length in (300, 590, 1, 400)]
    sequences = [[token % 269 for token in tokens] for tokens in sequences]
    assert sum(map(len, sequences)) > 2 * model.chunk
    logits = model.forward_batch([(tokens, model.new_cache()) for tokens in sequences])
    apart = [model.forward(tokens, model.new_cache()) for tokens in sequences]
    assert logits.tobytes() == np.concatenate(apart).tobytes()


# Logits of all positions piece by piece.


@pytest.mark.parametrize("rows", [1, 7, 64, 128, 1000])
def test_pieces_are_the_whole(path: Path, rows: int) -> None:
    model, _ = open_transformer(path, threads=2)
    model.chunk = 64  # several steps
    sequences = [random_tokens(length, length) for length in (9, 150, 1)]
    whole = model.forward_batch([(tokens, model.new_cache()) for tokens in sequences], "all")
    caches = [model.new_cache() for _ in sequences]
    pieces = [piece.copy() for piece in model.iter_logits_batch(list(zip(sequences, caches, strict=True)), rows)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert {len(piece) for piece in pieces[:-1]} <= {rows}
    assert [len(cache) for cache in caches] == [9, 150, 1]


@pytest.mark.parametrize("pieces", [0, 1, 3, 4, 5])
def test_an_abandoned_generator_leaves_whole_steps(path: Path, pieces: int) -> None:
    model, _ = open_transformer(path, threads=2)
    model.chunk = 64
    tokens, cache = random_tokens(150), model.new_cache()
    rows = model.iter_logits_batch([(tokens, cache)], 16)
    for _ in range(pieces):
        next(rows)
    del rows
    done = (0, 64, 64, 64, 64, 128)[pieces]
    assert len(cache) == done
    rest = model.forward(tokens[done:], cache, "all")
    assert rest.tobytes() == model.forward(tokens, model.new_cache(), "all")[done:].tobytes()


@pytest.mark.parametrize(("past", "calls"), [(0, 1), (64, 2)])
def test_a_long_context_is_cut_into_calls(path: Path, past: int, calls: int) -> None:
    """Attention counts as work: a step can be given up in between."""
    model, _ = open_transformer(path, threads=2)
    cache = model.new_cache()
    model.forward(random_tokens(past + 1), cache)
    layers, head = model.macs
    heads = 4 * 2 * model.config.embedding_length * model.config.block_count  # of attention, per position
    model._budget = layers + head + 2 * heads  # enough for one token after another
    asked: list[bool] = []

    def abandon() -> bool:
        asked.append(True)
        return False

    model.forward_batch([([1], cache)], abandon=abandon)
    assert len(asked) == calls


def test_no_step_in_between(path: Path) -> None:
    model, _ = open_transformer(path, threads=2)
    rows = model.iter_logits_batch([(random_tokens(40), model.new_cache())], 16)
    next(rows)
    model.forward([1], model.new_cache())
    with pytest.raises(RuntimeError, match="another step ran before all logits of this one were asked for"):
        next(rows)


# Caches with a common prefix.


def test_a_fork_of_a_beginning(path: Path) -> None:
    model, _ = open_transformer(path, threads=2)
    tokens, ending = random_tokens(150), random_tokens(3, 1)
    base = model.new_cache()
    model.forward(tokens, base)
    child = base.fork(70)
    assert (len(child), blocks_of(child)) == (70, blocks_of(base)[:2])
    assert model.forward(ending, child).tobytes() == model.forward(tokens[:70] + ending, model.new_cache()).tobytes()
    assert model.forward(ending, base).tobytes() == model.forward(tokens + ending, model.new_cache()).tobytes()
    for length in (-1, 154):
        with pytest.raises(ValueError, match=rf"cannot fork {length} positions of a cache of 153"):
            base.fork(length)


def blocks_of(cache: KVCache) -> list[int]:
    return [int(address) for address in cache._table[: len(cache._blocks)]]


@pytest.mark.parametrize("prefix", [1, 63, 64, 65, 128])
def test_forks_go_on_as_if_alone(path: Path, prefix: int) -> None:
    model, _ = open_transformer(path, threads=2)
    common = random_tokens(prefix)
    base = model.new_cache()
    model.forward(common, base)
    caches = [base, *(base.fork() for _ in range(3))]
    endings = [random_tokens(5, 10 + i) for i in range(4)]
    steps = [model.forward_batch([([e[j]], c) for e, c in zip(endings, caches, strict=True)]) for j in range(5)]
    for slot, ending in enumerate(endings):
        expected = alone(model, common + ending, prefix)
        assert np.stack([step[slot] for step in steps]).tobytes() == expected[len(expected) // 6 :]
    whole = prefix // KV_BLOCK
    tables = [blocks_of(cache) for cache in caches]
    assert all(table[:whole] == tables[0][:whole] for table in tables)  # shared
    assert len({address for table in tables for address in table[whole:]}) == sum(len(t) - whole for t in tables)


def test_a_fork_survives_what_happens_to_its_parent(path: Path) -> None:
    model, _ = open_transformer(path, threads=2)
    common, ending = random_tokens(100), random_tokens(3, 1)
    base = model.new_cache()
    model.forward(common, base)
    child, grandchild = base.fork(), base.fork().fork()
    base.truncate(10)  # into a block that the others read
    model.forward(random_tokens(60, 2), base)
    expected = alone(model, common + ending, 100)[-model.config.vocab_size * 4 :]
    assert model.forward(ending, child).tobytes() == expected
    child.truncate(20)
    model.forward(random_tokens(80, 3), child)
    del base, child
    assert model.forward(ending, grandchild).tobytes() == expected


def test_a_fork_copies_nothing_until_it_writes() -> None:
    base = KVCache(block_bytes=4096, capacity=256, dim=16, item_bytes=2)
    base.reserve(100)
    base.append(100)
    child = base.fork()
    assert blocks_of(child) == blocks_of(base)
    assert len(child) == 100
    base._blocks[1][:] = 7
    child.reserve(1)
    mine, theirs = blocks_of(child), blocks_of(base)
    assert (mine[0], mine[1] == theirs[1]) == (theirs[0], False)
    assert child._blocks[1].tobytes() == base._blocks[1].tobytes()
    child._blocks[1][:] = 9
    assert set(base._blocks[1].tolist()) == {7}


def test_an_empty_fork() -> None:
    child = KVCache(block_bytes=64, capacity=64, dim=1, item_bytes=1).fork()
    child.reserve(64)
    child.append(64)
    assert len(child) == 64
    with pytest.raises(ValueError, match="a cache of 64 positions cannot take 65"):
        child.reserve(1)


def test_a_cache_starts_with_zeros_after_sharing() -> None:
    """A block beyond the length is not copied: its content is unused, and NaN there would do harm."""
    base = KVCache(block_bytes=64, capacity=256, dim=1, item_bytes=1)
    base.reserve(130)
    base.append(130)
    base._blocks[1][:] = 255
    child = base.fork()
    child.truncate(64)
    child.reserve(1)
    rows: NDArray[Any] = child._blocks[1]
    assert not rows.any()
