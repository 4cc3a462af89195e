"""Bits per byte and divergence against direct computation, and `santacoder eval` as a user runs it."""

from __future__ import annotations

import json
import lzma
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import santacoder
from santacoder.scoring.perplexity import (
    Divergence,
    Likelihood,
    Window,
    measure_divergence,
    measure_likelihood,
    text_tokens,
    windows,
    xz_bytes,
)
from tests.support import reference
from tests.support.command_line import fails, run_here
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import DATA, FILE, distributed

FINER = DATA / "mqa-q8_0.gguf"  # the same weights in Q8_0
SHORT = "def fib(n):\n    return n  # é\n"
LONG = "".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(40))  # several contexts


@pytest.fixture(scope="module")
def finer() -> Iterator[santacoder.SantaCoder]:
    with santacoder.load(distributed(FINER), threads=2) as model:
        yield model


def token_nats(model: santacoder.SantaCoder, text: str, stride: int) -> NDArray[np.float64]:
    """By the definition: each token from its own call of `logits` with the context of its window."""
    tokens = [0, *model.tokenizer.encode(text, special=False)]
    nats = []
    for target in range(1, len(tokens)):
        late = max(0, target - model.context)  # positions beyond the first window
        begin = -(-late // stride) * stride
        row = model.logits(tokens[begin:target])[-1]
        nats.append(-reference.log_softmax(row)[tokens[target]])
    return np.array(nats)


class TestWindows:
    def test_one_is_enough(self) -> None:
        assert list(windows(5, 8, 4)) == [Window(0, 0, 5)]
        assert list(windows(8, 8, 4)) == [Window(0, 0, 8)]

    def test_they_overlap(self) -> None:
        assert list(windows(17, 8, 4)) == [Window(0, 0, 8), Window(4, 8, 12), Window(8, 12, 16), Window(12, 16, 17)]
        assert list(windows(17, 8, 8)) == [Window(0, 0, 8), Window(8, 8, 16), Window(16, 16, 17)]

    @pytest.mark.parametrize(("positions", "context", "stride"), [(1, 1, 1), (100, 7, 1), (100, 7, 3), (99, 10, 9)])
    def test_every_position_is_scored_once(self, positions: int, context: int, stride: int) -> None:
        found = list(windows(positions, context, stride))
        assert [i for window in found for i in range(window.scored, window.stop)] == list(range(positions))
        assert all(window.stop - window.begin <= context for window in found)
        assert all(window.scored - window.begin == context - stride for window in found[1:])


class TestLikelihood:
    def test_short_text(self, model: santacoder.SantaCoder) -> None:
        ids = model.tokenizer.encode(SHORT, special=False)
        exact = reference.log_softmax(model.logits([0, *ids[:-1]]))[range(len(ids)), ids]
        result = measure_likelihood(model, SHORT)
        assert (result.n_bytes, result.n_tokens) == (len(SHORT.encode()), len(ids))
        assert result.bits == pytest.approx(-exact.sum() / math.log(2), rel=1e-13)
        assert result.bits_per_byte == result.bits / len(SHORT.encode())
        assert result.perplexity == pytest.approx(math.exp(-exact.mean()), rel=1e-13)

    @pytest.mark.parametrize("stride", [None, 100])
    def test_long_text(self, model: santacoder.SantaCoder, stride: int | None) -> None:
        exact = token_nats(model, LONG, stride or model.context // 2)
        result = measure_likelihood(model, LONG, stride)
        assert result.n_tokens == len(exact) > 2 * model.context
        assert result.bits == pytest.approx(exact.sum() / math.log(2), rel=1e-13)

    def test_piece_does_not_matter(self, model: santacoder.SantaCoder) -> None:
        whole = measure_likelihood(model, LONG)
        for piece in (1, 7, 64):
            assert measure_likelihood(model, LONG, piece=piece) == whole

    def test_special_tokens_are_plain_text(self, model: santacoder.SantaCoder) -> None:
        text = "<|endoftext|>"
        assert text_tokens(model.tokenizer, text) == [0, *model.tokenizer.encode(text, special=False)]
        assert measure_likelihood(model, text).n_tokens > 1

    def test_a_model_that_knows_nothing_pays_for_every_token(self, tmp_path: Path) -> None:
        builder = tiny_builder()
        embedding = builder.tensor("token_embd.weight")  # also the head: all logits are 0
        embedding.data = bytes(len(embedding.data))
        path = tmp_path / "zero.gguf"
        path.write_bytes(builder.build())
        with santacoder.load(path) as zero:
            result = measure_likelihood(zero, "abc" * 50)
            vocabulary = zero.config.vocab_size
        assert result.bits == pytest.approx(result.n_tokens * math.log2(vocabulary), rel=1e-13)
        assert result.perplexity == pytest.approx(vocabulary, rel=1e-12)

    def test_total(self) -> None:
        total = Likelihood.total([Likelihood(10, 4, 20.0), Likelihood(30, 6, 20.0)])
        assert total == Likelihood(40, 10, 40.0)
        assert total.bits_per_byte == 1.0
        assert total.perplexity == pytest.approx(16.0)

    def test_progress(self, model: santacoder.SantaCoder) -> None:
        counts: list[int] = []
        result = measure_likelihood(model, LONG, piece=100, progress=counts.append)
        assert sum(counts) == result.n_tokens
        assert max(counts) == 100

    def test_mistakes(self, model: santacoder.SantaCoder) -> None:
        for stride in (0, 257):
            with pytest.raises(santacoder.InvalidRequestError, match=f"stride is {stride}, but it must .* 1..256"):
                measure_likelihood(model, SHORT, stride)
        with pytest.raises(santacoder.InvalidRequestError, match="the text is empty"):
            measure_likelihood(model, "")

    def test_iter_logits(self, model: santacoder.SantaCoder) -> None:
        whole = model.logits(SHORT)
        for start, piece in ((0, 5), (3, 4), (len(whole) - 1, 1), (2, 1000)):
            pieces = list(model.iter_logits(SHORT, start, piece))
            np.testing.assert_array_equal(np.concatenate(pieces), whole[start:])
            assert all(len(rows) == piece for rows in pieces[:-1])
        with pytest.raises(santacoder.InvalidRequestError, match=r"start is 2, but it must be an integer in 0\.\.1"):
            model.iter_logits([1, 2], 2)
        with pytest.raises(santacoder.ContextOverflowError):
            model.iter_logits([1] * 257)


class TestDivergence:
    def test_of_a_model_with_itself(self, model: santacoder.SantaCoder) -> None:
        result = measure_divergence(model, model, LONG)
        assert (result.mean_kl, result.perplexity_ratio, result.top1_agreement) == (0.0, 1.0, 1.0)
        bits = measure_likelihood(model, LONG).bits
        assert result.nats == result.reference_nats == pytest.approx(bits * math.log(2), rel=1e-13)

    def test_against_the_definitions(self, model: santacoder.SantaCoder, finer: santacoder.SantaCoder) -> None:
        ids = model.tokenizer.encode(SHORT, special=False)
        actual, expected = model.logits([0, *ids[:-1]]), finer.logits([0, *ids[:-1]])
        result = measure_divergence(model, finer, SHORT)
        assert result.mean_kl == pytest.approx(reference.mean_kl(expected, actual), rel=1e-12)
        assert result.top1_agreement == (actual.argmax(1) == expected.argmax(1)).mean()
        own, other = measure_likelihood(model, SHORT), measure_likelihood(finer, SHORT)
        assert result.perplexity == pytest.approx(own.perplexity, rel=1e-12)
        assert result.reference_perplexity == pytest.approx(other.perplexity, rel=1e-12)
        assert result.perplexity_ratio == pytest.approx(own.perplexity / other.perplexity, rel=1e-12)

    def test_windows_and_pieces(self, model: santacoder.SantaCoder, finer: santacoder.SantaCoder) -> None:
        whole = measure_divergence(model, finer, LONG, 100)
        assert measure_divergence(model, finer, LONG, 100, piece=9) == whole
        assert whole.reference_nats == pytest.approx(token_nats(finer, LONG, 100).sum(), rel=1e-13)
        assert 0 < whole.mean_kl < 0.1

    def test_the_smaller_context_counts(self, model: santacoder.SantaCoder) -> None:
        with santacoder.load(FILE, threads=2, context=100) as short:
            result = measure_divergence(short, model, LONG)
            assert (result.kl, result.nats) == (0.0, measure_divergence(short, short, LONG).nats)

    def test_a_known_answer(self) -> None:
        result = measure_divergence(Rows([0.75, 0.25]), Rows([0.5, 0.5]), "aa")  # type: ignore[arg-type]
        assert result.n_tokens == 2
        assert result.mean_kl == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), rel=1e-7)
        assert result.perplexity_ratio == pytest.approx(2.0, rel=1e-7)
        assert result.top1_agreement == 1.0  # of equals the lowest id

    def test_total(self) -> None:
        total = Divergence.total([Divergence(1, 0.5, 1.0, 2.0, 1), Divergence(3, 1.5, 3.0, 2.0, 0)])
        assert total == Divergence(4, 2.0, 4.0, 4.0, 1)
        assert (total.mean_kl, total.perplexity_ratio, total.top1_agreement) == (0.5, 1.0, 0.25)

    def test_mistakes(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(santacoder.InvalidRequestError, match="the model has 512 tokens and the reference 2: they"):
            measure_divergence(model, Rows([0.5, 0.5]), SHORT)  # type: ignore[arg-type]
        with pytest.raises(santacoder.NumericalError, match="the logits of position 0 hold a NaN or an infinity"):
            measure_likelihood(Rows([0.0, 1.0]), "a")  # type: ignore[arg-type]


class Rows:
    """A model of two tokens, the end of text and "a", whose distribution is always the same."""

    context = 8
    eot_id = 0
    vocab_size = 2

    def __init__(self, probabilities: list[float]) -> None:
        with np.errstate(divide="ignore"):
            self._row = np.log(probabilities).astype(np.float32)
        self.tokenizer = self

    def encode(self, text: str, special: bool = True) -> list[int]:
        return [1] * len(text)

    def iter_logits(self, prompt: list[int], start: int = 0, piece: int = 256) -> Iterator[NDArray[np.float32]]:
        yield np.tile(self._row, (len(prompt) - start, 1))


def test_xz_bytes() -> None:
    data = LONG.encode()
    assert lzma.decompress(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) == data
    assert xz_bytes(data) == len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "short.py", tmp_path / "long.py"]
    for path, text in zip(paths, (SHORT, LONG), strict=True):
        path.write_bytes(text.encode())
    return paths


class TestCommand:
    def test_bpb_json(self, model: santacoder.SantaCoder, files: list[Path]) -> None:
        code, out, err = run_here("eval", "bpb", "--json", "--xz", "-t", "2", *map(str, files))
        assert (code, err) == (0, "")
        result = json.loads(out)
        parts = [measure_likelihood(model, text) for text in (SHORT, LONG)]
        sizes = [xz_bytes(text.encode()) for text in (SHORT, LONG)]
        expected = [*zip(parts, sizes, strict=True), (Likelihood.total(parts), sum(sizes))]
        for row, (part, size) in zip([*result["files"], result["total"]], expected, strict=True):
            row.pop("file", None)
            assert row == {
                "bytes": part.n_bytes, "tokens": part.n_tokens, "bits": part.bits,
                "bits_per_byte": part.bits_per_byte, "perplexity": part.perplexity,
                "xz_bits_per_byte": 8 * size / part.n_bytes, "xz_ratio": part.bits / (8 * size),
            }  # fmt: skip
        assert (result["model"], result["context"], result["stride"]) == (str(FILE), 256, 128)

    def test_bpb_table(self, model: santacoder.SantaCoder, files: list[Path], tmp_path: Path) -> None:
        names = tmp_path / "names.txt"
        names.write_text(f"{files[0]}\n\n{files[1]}\n", encoding="utf-8")
        options = ("--stride", "64", "--context", "200")
        code, out, err = run_here("eval", "bpb", "--files-from", str(names), *options)
        assert (code, err) == (0, "")
        assert run_here("eval", "bpb", "--files-from", "-", *options, stdin=names.read_bytes()) == (code, out, err)
        lines = [line.split() for line in out.decode().splitlines()]
        assert lines[0] == ["bytes", "tokens", "bits", "bits/byte", "perplexity", "file"]
        assert [line[-1] for line in lines[1:]] == [str(files[0]), str(files[1]), "total"]
        first = measure_likelihood(model, SHORT)
        assert lines[1][:2] == [str(first.n_bytes), str(first.n_tokens)]
        assert lines[1][3] == f"{first.bits_per_byte:.4f}"

    def test_ppl(self, model: santacoder.SantaCoder, files: list[Path]) -> None:
        code, out, _ = run_here("eval", "ppl", str(files[0]))
        first = measure_likelihood(model, SHORT)
        assert code == 0
        assert out.decode().splitlines()[1].split() == [str(first.n_tokens), f"{first.perplexity:.4f}", str(files[0])]

    def test_kl(self, model: santacoder.SantaCoder, finer: santacoder.SantaCoder, files: list[Path]) -> None:
        code, out, err = run_here("eval", "kl", "-r", str(distributed(FINER)), "--json", "-t", "2", *map(str, files))
        assert (code, err) == (0, "")
        result = json.loads(out)
        parts = [measure_divergence(model, finer, text) for text in (SHORT, LONG)]
        assert [row["mean_kl"] for row in result["files"]] == [part.mean_kl for part in parts]
        total = Divergence.total(parts)
        assert result["total"] == {
            "tokens": total.n_tokens, "mean_kl": total.mean_kl, "perplexity": total.perplexity,
            "reference_perplexity": total.reference_perplexity, "perplexity_ratio": total.perplexity_ratio,
            "top1_agreement": total.top1_agreement,
        }  # fmt: skip
        assert (result["model"], result["reference"]) == (str(FILE), str(FINER))
        lines = run_here("eval", "kl", "-r", str(FINER), *map(str, files))[1].decode().splitlines()
        assert lines[-1].split()[:2] == [str(total.n_tokens), f"{total.mean_kl:.6f}"]

    def test_mistakes(self, files: list[Path], tmp_path: Path) -> None:
        good, bad = str(files[0]), tmp_path / "bad.py"
        message = "there is nothing to measure: pass FILES or --files-from LIST (see santacoder eval bpb --help)"
        assert fails("eval", "bpb", status=2) == message
        assert fails("eval", "bpb", good, str(bad)) == f"{bad}: No such file or directory"
        assert fails("eval", "bpb", good, str(tmp_path)) == f"{tmp_path}: Is a directory"
        assert fails("eval", "kl", "-r", good, "--files-from", str(bad)) == f"{bad}: No such file or directory"
        bad.write_bytes(b"")
        assert fails("eval", "bpb", good, str(bad)) == f"{bad} is empty: there is nothing to measure"
        bad.write_bytes(b"a\xff")
        assert fails("eval", "ppl", good, str(bad)) == f"{bad} is not UTF-8 at byte 1"
        message = "stride is 257, but it must be an integer in 1..256"
        assert fails("eval", "bpb", good, "--stride", "257") == message
        assert fails("eval", "kl", good, status=2).endswith("(see santacoder eval kl --help)")
        assert fails("eval", status=2).endswith("(see santacoder eval --help)")
        assert fails("eval", "kl", "-r", "none.gguf", good) == "none.gguf: there is no such model file"
