"""The small model that ships in the package: it is there, small, SantaCoder's kind, and the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

import santacoder
from santacoder.engine.isa import available
from santacoder.sources.packaged import packaged_model

TEXT = 'def mean(values):\n    """The arithmetic mean."""\n    return sum(values) / len(values)\n'


@pytest.fixture(scope="module")
def model() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(threads=2) as model:
        yield model


def test_is_small_and_of_the_architecture(model: santacoder.SantaCoder) -> None:
    assert packaged_model().stat().st_size <= 12_000_000
    config = model.config
    assert (config.architecture, config.head_count_kv, config.tied_embeddings) == ("starcoder", 1, True)
    assert config.feed_forward_length == 4 * config.embedding_length
    assert config.embedding_length % 256 == 0  # what K-quants take
    assert config.context_length >= 1024
    assert {"Q4_K", "Q6_K"} <= set(model.tensor_types)


def test_has_santacoders_special_tokens(model: santacoder.SantaCoder) -> None:
    names = ["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"]
    ids = [model.tokenizer.encode(name) for name in names]
    last = model.config.vocab_size - 5
    assert ids == [[last + i] for i in range(5)]
    tokenizer = model.tokenizer
    assert [tokenizer.eot_id, tokenizer.fim_prefix_id, tokenizer.fim_middle_id, tokenizer.fim_suffix_id] == [
        last, last + 1, last + 2, last + 3,
    ]  # fmt: skip
    assert len(tokenizer.encode("1234")) == 4  # one token per digit


def test_knows_python(model: santacoder.SantaCoder) -> None:
    """Far better than chance: a guess among all tokens costs the logarithm of their number."""
    score = model.score(TEXT)
    assert -score.total / (len(score.tokens) - 1) < 3.0
    assert model.complete("import numpy as", max_tokens=2, temperature=0).text.startswith(" np")
    assert "return" in model.complete("def add(a, b):", max_tokens=48, temperature=0).text


def test_fills_in_suffix_first(model: santacoder.SantaCoder) -> None:
    """By what was measured: docs/reference/tiny.md."""
    assert model.tokenizer.fim_mode == "spm"


def test_the_suffix_helps(model: santacoder.SantaCoder) -> None:
    """The right suffix makes the same middle more probable than a foreign suffix does."""
    prefix, middle = "def area(width, height):\n    ", "result = width * height"
    suffix, foreign = "\n    return result\n", "\nclass Reader:\n    pass\n"

    def loss(after: str) -> float:
        encode = model.tokenizer.encode
        head = encode(f"<fim-prefix>{prefix}<fim-suffix>{after}<fim-middle>")
        score = model.score([*head, *encode(middle)])
        return -sum(value for value in score.logprobs[len(head) :] if value is not None)

    assert loss(suffix) < loss(foreign)


@pytest.mark.parametrize("isa", available())
def test_the_same_bits_on_every_instruction_set(
    model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    expected = hashlib.sha256(model.logits(TEXT).tobytes()).hexdigest()
    monkeypatch.setenv("SANTACODER_ISA", isa)
    with santacoder.load(threads=1) as other:
        assert hashlib.sha256(other.logits(TEXT).tobytes()).hexdigest() == expected
