"""Scores: the log-softmax of `logits` to the last bit, one by one or together, in memory for a chunk; and bad input."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import santacoder
from santacoder import Score, TokenLogprobs
from santacoder.batching.exclusive_steps import ExclusiveSteps
from santacoder.decoding.logprobs import log_softmax, token_logprobs
from santacoder.scoring import score as scoring
from santacoder.scoring.score import score_sequences
from santacoder.text.token_ids import TokenIds
from tests.support import reference
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import DATA, distributed

TEXT = "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"


@pytest.fixture(scope="module", params=["mqa-q4_k_m", "mha-q4_k_m"])
def model(request: pytest.FixtureRequest) -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(distributed(DATA / f"{request.param}.gguf"), threads=2) as model:
        yield model


def random_tokens(count: int, seed: int = 0) -> list[int]:
    tokens: list[int] = np.random.default_rng(seed).integers(0, 512, count).tolist()
    return tokens


def by_definition(model: santacoder.SantaCoder, tokens: list[int]) -> Score:
    """From the logits of all positions at once."""
    rows = model.logits(tokens[:-1] or tokens)[: len(tokens) - 1].astype(np.float64)
    shifted = [row - row.max() for row in rows]
    logprobs = [row - np.log(np.exp(row).sum()) for row in shifted]
    return Score(
        tokens,
        [None, *(float(row[token]) for row, token in zip(logprobs, tokens[1:], strict=True))],
        [None, *(int(row.argmax()) for row in rows)],
    )


class TestScore:
    @pytest.mark.parametrize("count", [1, 2, 17, 18, 129, 256, 257])
    def test_is_the_log_softmax_of_the_logits(self, model: santacoder.SantaCoder, count: int) -> None:
        tokens = random_tokens(count, count)
        assert model.score(tokens) == by_definition(model, tokens)

    def test_against_the_reference(self, model: santacoder.SantaCoder) -> None:
        tokens = model.tokenizer.encode(TEXT)
        exact = reference.log_softmax(model.logits(tokens))[range(len(tokens) - 1), tokens[1:]]
        score = model.score(TEXT)
        assert score.tokens == tokens
        np.testing.assert_allclose(np.array(score.logprobs[1:], dtype=np.float64), exact, rtol=1e-13)
        assert score.total == pytest.approx(exact.sum(), rel=1e-13)

    def test_greedy_is_what_the_model_says(self, model: santacoder.SantaCoder) -> None:
        said = model.complete(model.tokenizer.encode(TEXT), max_tokens=20, temperature=0, ignore_eos=True).tokens
        prompt = model.tokenizer.encode(TEXT)
        score = model.score([*prompt, *said])
        assert score.greedy[len(prompt) :] == said
        assert score.is_greedy[len(prompt) :] == [True] * 20
        assert score.is_greedy == [None, *(a == b for a, b in zip(score.tokens[1:], score.greedy[1:], strict=True))]

    def test_of_equal_logits_the_lowest_id(self, tmp_path: Path) -> None:
        builder = tiny_builder()
        embedding = builder.tensor("token_embd.weight")  # also the head: all logits are 0
        embedding.data = bytes(len(embedding.data))
        path = tmp_path / "zero.gguf"
        path.write_bytes(builder.build())
        with santacoder.load(path) as zero:
            score = zero.score([5, 0, 7])
            assert score.greedy == [None, 0, 0]
            assert score.is_greedy == [None, True, False]
            assert score.logprobs == [None, *[pytest.approx(-np.log(zero.config.vocab_size))] * 2]

    def test_an_empty_prompt_is_the_end_of_text(self, model: santacoder.SantaCoder) -> None:
        empty = Score([model.tokenizer.eot_id or 0], [None], [None])
        assert model.score("") == model.score([]) == empty
        assert (empty.is_greedy, empty.total) == ([None], 0.0)

    def test_forms_of_a_prompt(self, model: santacoder.SantaCoder) -> None:
        ids = model.tokenizer.encode(TEXT)
        score = model.score(TEXT)
        assert score == model.score(ids) == model.score(tuple(ids)) == model.score(np.array(ids, dtype=np.uint16))
        assert type(score.tokens[1]) is type(score.greedy[1]) is int
        assert type(score.logprobs[1]) is float

    def test_leaves_generation_alone(self, model: santacoder.SantaCoder) -> None:
        stream = model.stream(TEXT, max_tokens=10, seed=1, ignore_eos=True)
        texts = [next(stream).text]
        model.score(random_tokens(200))
        texts += [piece.text for piece in stream]
        assert "".join(texts) == model.complete(TEXT, max_tokens=10, seed=1, ignore_eos=True).text


def mixed_sequences() -> list[list[int]]:
    """Sequences of 1 to 257 tokens: some equal, some with common prefixes, some prefixes of others, some unrelated."""
    rng = np.random.default_rng(3)
    trunk = random_tokens(257, 4)
    sequences = [trunk, trunk[:100], [7], trunk, random_tokens(257, 5), trunk[:1], trunk[:256]]
    for seed in range(60):
        common, own = int(rng.integers(0, 230)), int(rng.integers(1, 25))
        sequences.append(trunk[:common] + random_tokens(own, 100 + seed))
    return sequences


class TestScoreMany:
    def test_is_score_one_by_one(self, model: santacoder.SantaCoder) -> None:
        sequences = mixed_sequences()
        many = model.score_many(sequences)
        assert many == [model.score(tokens) for tokens in sequences]
        order = np.random.default_rng(1).permutation(len(sequences)).tolist()
        assert model.score_many([sequences[index] for index in order]) == [many[index] for index in order]

    def test_texts_and_nothing(self, model: santacoder.SantaCoder) -> None:
        assert model.score_many([TEXT, "", [1, 2]]) == [model.score(prompt) for prompt in (TEXT, "", [1, 2])]
        assert model.score_many([]) == []

    def test_a_common_context_runs_once(self, model: santacoder.SantaCoder) -> None:
        context = random_tokens(200)
        engine = CountingEngine(model)
        told: list[int] = []
        scores = score_sequences(engine, [ids(context + random_tokens(3, seed)) for seed in range(40)], told.append)
        assert sum(told) == 40 * 202  # each score counts, also those that one row of logits gave
        assert engine.tokens == 200 + 40 * 2  # the last of each continuation's three tokens predicts nothing
        assert scores[7] == model.score(context + random_tokens(3, 7))

    def test_steps_are_filled(self, model: santacoder.SantaCoder) -> None:
        engine = CountingEngine(model)
        score_sequences(engine, [ids(random_tokens(65, seed)) for seed in range(20)])
        assert engine.steps == 20 * 64 // engine.chunk


def ids(tokens: list[int]) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


class CountingEngine:
    """Passes everything on to a model's engine."""

    def __init__(self, model: santacoder.SantaCoder) -> None:
        self._engine = ExclusiveSteps(model._scheduler)
        self.context = model.context
        self.chunk = 128
        self.steps = self.tokens = 0

    def new_cache(self) -> Any:
        return self._engine.new_cache()

    def each_logits(self, parts: Sequence[tuple[TokenIds, Any]], piece_rows: int, use: Any) -> None:
        self.steps += 1
        self.tokens += sum(len(tokens) for tokens, _ in parts)
        assert sum(len(tokens) for tokens, _ in parts) <= self.chunk
        self._engine.each_logits(parts, piece_rows, use)


VOCABULARY = 30_000
CONTEXT = 1500


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[santacoder.SantaCoder]:
    """Few weights, but a long context and many tokens: all logits at once would be 180 MB."""
    path = tmp_path_factory.mktemp("wide") / "model.gguf"
    path.write_bytes(tiny_builder(context=CONTEXT, n_padding=VOCABULARY).build())
    with santacoder.load(path, threads=2) as model:
        assert model.config.vocab_size > VOCABULARY
        yield model


class TestMemory:
    def peak(self, model: santacoder.SantaCoder, sequences: list[list[int]]) -> int:
        """Bytes that NumPy and Python held at once: caches and logits are NumPy's."""
        model.score(sequences[0][:2])
        tracemalloc.start()
        try:
            model.score_many(sequences)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def allowance(self, model: santacoder.SantaCoder, contexts: int) -> int:
        """Bytes for a piece of logits, a few rows in float64, caches, and some objects."""
        row = 4 * model.config.vocab_size
        cache = model._scheduler.engine.new_cache()
        cache.reserve(CONTEXT)
        blocks = sum(block.nbytes for block in cache._blocks)
        return (scoring.PIECE_ROWS + 8) * row + contexts * blocks + 1_000_000

    def test_of_a_long_prompt(self, wide: santacoder.SantaCoder) -> None:
        tokens = np.random.default_rng(0).integers(0, 269, CONTEXT).tolist()
        assert self.peak(wide, [tokens]) < self.allowance(wide, 1) < 10_000_000

    def test_of_many_prompts(self, wide: santacoder.SantaCoder) -> None:
        rng = np.random.default_rng(1)
        context = rng.integers(0, 269, 1400).tolist()
        sequences = [context + rng.integers(0, 269, 3).tolist() for _ in range(50)]
        results = 80 * sum(map(len, sequences))  # lists, and a float for each token
        assert self.peak(wide, sequences) < self.allowance(wide, 3) + results


class TestMistakes:
    @pytest.mark.parametrize(
        ("prompts", "error", "message"),
        [
            (["a", [0, 512]], santacoder.InvalidRequestError, "prompts[1]: token id 512 is not in 0..511"),
            (["a", "b", 7], santacoder.InvalidRequestError,
             "prompts[2]: the prompt is a int, but it must be a text or a list of token ids"),
            (["a", [1] * 258], santacoder.ContextOverflowError,
             "prompts[1]: the prompt has 258 tokens, but at most 257 can be scored: the context has 256 positions, and "
             "the last token needs none"),
            ("abc", santacoder.InvalidRequestError,
             "prompts is a str, but it must be a list of texts or of lists of token ids"),
            (None, santacoder.InvalidRequestError,
             "prompts is a NoneType, but it must be a list of texts or of lists of token ids"),
        ],
    )  # fmt: skip
    def test_before_anything_runs(
        self, model: santacoder.SantaCoder, prompts: Any, error: type[Exception], message: str
    ) -> None:
        before = model._scheduler.engine.native_seconds
        with pytest.raises(error) as caught:
            model.score_many(prompts)
        assert str(caught.value) == message
        assert model._scheduler.engine.native_seconds == before

    def test_of_one_prompt(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(santacoder.InvalidRequestError, match=r"^token id 512 is not in 0\.\.511$"):
            model.score([512])
        with pytest.raises(
            santacoder.ContextOverflowError, match=r"^the prompt has 258 tokens, but at most 257 can be scored"
        ):
            model.score([1] * 258)

    def test_closed(self) -> None:
        model = santacoder.load(DATA / "mqa-q4_k_m.gguf")
        model.close()
        for use in (lambda: model.score("a"), lambda: model.score_many(["a"])):
            with pytest.raises(santacoder.ModelClosedError):
                use()

    def test_logits_that_are_not_finite(self, tmp_path: Path) -> None:
        builder = tiny_builder(weight_type="F32")
        norm = builder.tensor("output_norm.weight")
        norm.data = np.full(len(norm.data) // 4, 3e38, np.float32).tobytes()
        path = tmp_path / "large.gguf"
        path.write_bytes(builder.build())
        with santacoder.load(path) as large:
            assert not np.isfinite(large.logits([1, 2, 3])).all()
            for _ in range(2):  # the lock is free again
                with pytest.raises(santacoder.NumericalError, match=r"^the logits of position 0 hold a NaN or an inf"):
                    large.score([1, 2, 3])


class TestTokenLogprobs:
    ROW = np.array([1.0, 3.0, -2.0, 3.0, 2.0], dtype=np.float32)

    def test_the_best(self) -> None:
        values = log_softmax(self.ROW).tolist()
        found = token_logprobs(self.ROW, 4, 3)
        assert found == TokenLogprobs(4, values[4], ((1, values[1]), (3, values[3]), (4, values[4])))
        assert found.logprob == found.top[2][1]  # the very same
        assert token_logprobs(self.ROW, 2, 0) == TokenLogprobs(2, values[2], ())
        assert [token for token, _ in token_logprobs(self.ROW, 0, 100).top] == [1, 3, 4, 0, 2]

    def test_of_equals_the_lowest_ids(self) -> None:
        assert [token for token, _ in token_logprobs(np.zeros(300, np.float32), 5, 4).top] == [0, 1, 2, 3]
        signed = np.array([0.0, -0.0, 0.0, -1.0], np.float32)
        assert [token for token, _ in token_logprobs(signed, 0, 2).top] == [0, 1]

    @pytest.mark.parametrize("k", [1, 7, 100])
    def test_random_rows(self, k: int) -> None:
        row = np.random.default_rng(k).normal(size=2000).astype(np.float32).round(2)  # with ties
        values = log_softmax(row)
        expected = sorted(range(2000), key=lambda token: (-row[token], token))[:k]
        found = token_logprobs(row, np.int64(9), k)  # type: ignore[arg-type]
        assert found.top == tuple((token, float(values[token])) for token in expected)
        assert (found.token, type(found.token), type(found.top[0][0])) == (9, int, int)

    def test_never_infinite(self) -> None:
        most = np.finfo(np.float32).max
        row = np.array([most, -most, 0.0], dtype=np.float32)
        values: NDArray[np.float64] = log_softmax(row)
        assert np.isfinite(values).all()
        assert values[0] == 0.0
        assert token_logprobs(row, 1, 3).logprob == -2 * float(most)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite(self, bad: float) -> None:
        row = np.array([0.0, bad], dtype=np.float32)
        with pytest.raises(santacoder.NumericalError, match=r"^the logits of position 7 hold a NaN or an infinity$"):
            token_logprobs(row, 0, 1, position=7)
        with pytest.raises(santacoder.NumericalError, match=r"^the logits hold a NaN or an infinity$"):
            token_logprobs(row, 0, 1)
