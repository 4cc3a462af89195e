"""The public model class on a small random file: determinism, agreement of its methods, bad input."""

from __future__ import annotations

import ast
import math
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import santacoder
from santacoder.decoding.options import OPTIONS
from santacoder.decoding.results import Usage
from santacoder.errors import InvalidRequestError
from santacoder.requests import prompt_ids
from tests.support.foreign import Column, Table, Tensor, series, table, tensor
from tests.support.gguf_builder import tiny_builder
from tests.support.needs import needs_fork
from tests.support.paths import FILE
from tests.support.samples import CODE

PROMPT = "def fib(n):"


def test_public_names() -> None:
    assert set(santacoder.__all__) >= {
        "load", "from_pretrained", "isa", "SantaCoder", "Completion", "Piece", "Config", "Tokenizer",
        "SantaCoderError", "ModelFormatError", "ContextOverflowError", "InvalidRequestError",
        "UnsupportedISAError", "ModelClosedError", "__version__",
    }  # fmt: skip
    assert all(getattr(santacoder, name) is not None for name in santacoder.__all__)
    assert set(dir(santacoder)) == set(santacoder.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        santacoder.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_know_the_public_names() -> None:
    """The imports for them are those that happen on first use."""
    tree = ast.parse(Path(santacoder.__file__).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body]
    found = {}
    for node in imports:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.name == alias.asname  # else strict checkers take it for private
            found[alias.name] = (node.module or "").removeprefix("santacoder.")
    assert found == santacoder._MODULES
    assert santacoder.__all__ == sorted(santacoder.__all__)


def test_greedy_is_the_argmax_of_the_logits(model: santacoder.SantaCoder) -> None:
    prompt = model.tokenizer.encode(PROMPT)
    completion = model.complete(prompt, max_tokens=20, temperature=0, ignore_eos=True)
    logits = model.logits([*prompt, *completion.tokens])
    assert logits.shape == (len(prompt) + 20, 512)
    assert logits.dtype == np.float32
    assert logits[len(prompt) - 1 : -1].argmax(axis=1).tolist() == completion.tokens
    assert completion.usage == Usage(len(prompt), 20)
    assert completion.finish_reason == "length"
    assert completion.text == model.tokenizer.decode(completion.tokens)


def test_seed_decides(model: santacoder.SantaCoder) -> None:
    first = model.complete(PROMPT, max_tokens=30, temperature=1.0, seed=1)
    again = model.complete(PROMPT, max_tokens=30, temperature=1.0, seed=1)
    other = model.complete(PROMPT, max_tokens=30, temperature=1.0, seed=2)
    assert (first.tokens, first.text, first.seed) == (again.tokens, again.text, 1)
    assert first.tokens != other.tokens
    drawn = model.complete(PROMPT, max_tokens=30, temperature=1.0)
    assert model.complete(PROMPT, max_tokens=30, temperature=1.0, seed=drawn.seed).tokens == drawn.tokens


def test_a_longer_prompt_goes_on_alike(model: santacoder.SantaCoder) -> None:
    prompt = model.tokenizer.encode(PROMPT)
    options: dict[str, Any] = {"temperature": 1.0, "seed": 3, "ignore_eos": True}
    whole = model.complete(prompt, max_tokens=20, **options).tokens
    assert model.complete([*prompt, *whole[:8]], max_tokens=12, **options).tokens == whole[8:]


def test_stream_is_complete(model: santacoder.SantaCoder) -> None:
    options: dict[str, Any] = {
        "max_tokens": 60, "temperature": 1.2, "top_k": 100, "top_p": 0.9, "min_p": 0.01, "seed": 4,
        "repetition_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.1,
        "logit_bias": {7: 1.5}, "stop": ["zz", "\n\n"], "echo": True,
    }  # fmt: skip
    completion = model.complete(PROMPT, **options)
    pieces = list(model.stream(PROMPT, **options))
    assert "".join(piece.text for piece in pieces) == completion.text
    assert sum((piece.tokens for piece in pieces), ()) == tuple(completion.tokens)
    assert pieces[-1].finish_reason == completion.finish_reason
    assert completion.text.startswith(PROMPT)


def test_prompt_forms_are_equal(model: santacoder.SantaCoder) -> None:
    ids = model.tokenizer.encode(PROMPT)
    narrow = np.array(ids, dtype=np.uint16)
    prompts: list[Any] = [ids, tuple(ids), np.array(ids), narrow, list(narrow), np.array(ids, dtype=object)]
    prompts += [Tensor(ids), Column(ids), tensor(ids), series(ids)]
    for prompt in prompts:
        assert prompt_ids(model.tokenizer, prompt).tolist() == ids
    assert prompt_ids(model.tokenizer, "<|endoftext|>a")[0] == model.tokenizer.eot_id
    assert model.tokenizer.eot_id is not None
    empties: list[Any] = ["", [], np.array([], dtype=np.int64)]
    for empty in empties:
        assert prompt_ids(model.tokenizer, empty).tolist() == [model.tokenizer.eot_id]
    assert model.complete(ids, max_tokens=1, echo=True).text.startswith(PROMPT)
    assert not model.complete([], max_tokens=1, echo=True).text.startswith("<|endoftext|>")
    np.testing.assert_array_equal(model.logits(""), model.logits([model.tokenizer.eot_id]))


TEXTS = ["def f(", "a", "import os"]
OF_TEXTS: dict[str, Callable[[], Any]] = {
    "list": lambda: TEXTS,
    "tuple": lambda: (*TEXTS,),
    "generator": lambda: (text for text in TEXTS),
    "values": lambda: dict(enumerate(TEXTS)).values(),
    "keys": lambda: dict.fromkeys(TEXTS).keys(),
    "array": lambda: np.array(TEXTS),
    "array of objects": lambda: np.array(TEXTS, dtype=object),
    "column": lambda: Column(TEXTS),
    "series": lambda: series(TEXTS),
}


@pytest.mark.parametrize("make", OF_TEXTS.values(), ids=OF_TEXTS)
def test_collections_of_prompts(model: santacoder.SantaCoder, make: Callable[[], Any]) -> None:
    options: Any = {"max_tokens": 4, "seed": 1}
    expected = [model.complete(text, **options).text for text in TEXTS]
    assert [row[0].text for row in model.complete_many(make(), None, **options)] == expected
    assert model.score_many(make()) == [model.score(text) for text in TEXTS]


@pytest.mark.parametrize("kind", [np.array, Tensor, tensor])
def test_rows_of_token_ids(model: santacoder.SantaCoder, kind: Callable[[Any], Any]) -> None:
    rows = [[1, 2, 3], [4, 5, 6]]
    assert model.score_many(kind(rows)) == model.score_many(rows)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("ab", "prompts is a str, but it must be a list of texts or of lists of token ids"),
        ({"a": "b"}, "prompts is a dict, but it must be a list of texts or of lists of token ids"),
        (Table({"a": ["b"]}), "prompts is a Table, but it must be a list of texts or of lists of token ids"),
        (table({"a": ["b"]}), "prompts is a "),
        (None, "prompts is a NoneType, but it must be a list of texts or of lists of token ids"),
        (np.array("a"), "prompts is a ndarray, but it must be a list of texts or of lists of token ids"),
        (np.array([1, 2]), "prompts[0]: the prompt is a int64, but it must be a text or a list of token ids"),
        (Column(["a", None]), "prompts[1]: the prompt is a NoneType, but it must be a text or a list of token ids"),
        (Column(["a", math.nan]), "prompts[1]: the prompt is a float, but it must be a text or a list of token ids"),
    ],
    ids=repr,
)
def test_collections_that_hold_no_prompts(model: santacoder.SantaCoder, prompts: Any, message: str) -> None:
    for call in (model.complete_many, model.score_many):
        with pytest.raises(InvalidRequestError) as error:
            call(prompts)
        assert str(error.value)[: len(message)] == message


def test_a_bias_of_minus_infinity_bans_a_token(model: santacoder.SantaCoder) -> None:
    options: Any = {"max_tokens": 8, "temperature": 0, "ignore_eos": True, "token_healing": False}
    first = model.complete(PROMPT, **options).tokens[0]
    banned = model.complete(PROMPT, logit_bias={str(first): -math.inf}, **options).tokens
    assert banned[0] != first
    assert first not in banned
    everything = dict.fromkeys(range(model.config.vocab_size), -math.inf)
    with pytest.raises(santacoder.NumericalError, match=r"^all tokens are banned at position \d+$"):
        model.complete(PROMPT, logit_bias=everything, **options)


class TestTruncate:
    OPTIONS: ClassVar[Any] = {"max_tokens": 56, "temperature": 1.0, "seed": 5, "ignore_eos": True}  # 200 are left

    @pytest.mark.parametrize(("size", "kept"), [(200, 200), (201, 151), (250, 200), (251, 151), (5000, 200)])
    def test_what_is_kept(self, model: santacoder.SantaCoder, size: int, kept: int) -> None:
        """As of the prefix of a gap: whole cuts of a quarter of the room are dropped, here 50 tokens."""
        ids = [(7 * i) % 400 + 50 for i in range(size)]
        found = model.complete(ids, truncate="left", echo=True, **self.OPTIONS)
        assert found.usage.prompt_tokens == kept
        assert found.tokens == model.complete(ids[-kept:], **self.OPTIONS).tokens
        assert found.text.startswith(model.tokenizer.decode(ids))
        assert [row[0].tokens for row in model.complete_many([ids], truncate="left", **self.OPTIONS)] == [found.tokens]

    def test_texts_and_sessions(self, model: santacoder.SantaCoder) -> None:
        text = CODE * 20
        expected = model.complete(text, truncate="left", **self.OPTIONS)
        session = model.session()
        assert session.complete(text, truncate="left", **self.OPTIONS).tokens == expected.tokens
        grown = session.complete(text + "x = 1\n", truncate="left", **self.OPTIONS)
        assert grown.tokens == model.complete(text + "x = 1\n", truncate="left", **self.OPTIONS).tokens
        assert grown.timings.prompt_tokens < 30
        assert "".join(piece.text for piece in model.stream(text, truncate="left", **self.OPTIONS)) == expected.text

    def test_a_prompt_that_is_too_long_is_refused_without_it(self, model: santacoder.SantaCoder) -> None:
        with pytest.raises(santacoder.ContextOverflowError):
            model.complete(CODE * 20, **self.OPTIONS)
        for most in (256, 300):
            with pytest.raises(santacoder.ContextOverflowError, match=f"max_tokens is {most}"):
                model.complete("a", truncate="left", max_tokens=most)
        assert model.complete([1] * 300, truncate="left", max_tokens=255).usage.prompt_tokens == 1


def test_none_is_the_default(model: santacoder.SantaCoder) -> None:
    options: Any = {**dict.fromkeys(OPTIONS), "max_tokens": 5, "seed": 1}
    assert model.complete(CODE, **options).tokens == model.complete(CODE, max_tokens=5, seed=1).tokens
    gap: Any = {"mode": None, "single_line": None, **options}
    expected = model.infill(CODE, "\n", max_tokens=5, seed=1).tokens
    assert model.infill(CODE, "\n", **gap).tokens == expected
    spm = model.session().infill(CODE, "\n", max_tokens=5, seed=1).tokens
    assert model.session().infill(CODE, "\n", **gap).tokens == spm
    assert list(model.complete_each([], on_error=None)) == []
    np.testing.assert_array_equal(next(model.iter_logits([1, 2], None, None)), model.logits([1, 2]))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([0, 512], "token id 512 is not in 0..511"),
        ([-1], "token id -1 is not in 0..511"),
        ([1.0], "a token id is 1.0, but it must be an integer"),
        ([True], "a token id is True, but it must be an integer"),
        ([np.int64(512)], "token id 512 is not in 0..511"),
        ([np.float32(1)], "a token id is np.float32(1.0), but it must be an integer"),
        (["a"], "a token id is 'a', but it must be an integer"),
        (b"abc", "the prompt is a bytes, but it must be a text or a list of token ids"),
        (None, "the prompt is a NoneType, but it must be a text or a list of token ids"),
        (7, "the prompt is a int, but it must be a text or a list of token ids"),
        (np.array([1.5]), "the prompt is a ndarray, but it must be a text or a list of token ids"),
        (np.array([[1]]), "the prompt is a ndarray of shape (1, 1), but it must be a text or a list of token ids"),
        (iter([1]), "the prompt is a list_iterator, but it must be a text or a list of token ids"),
        (Tensor([[1, 2]]), "the prompt is a Tensor of shape (1, 2), but it must be a text or a list of token ids"),
        (Tensor(1), "the prompt is a Tensor, but it must be a text or a list of token ids"),
        (Tensor([1.5]), "a token id is 1.5, but it must be an integer"),
        (Tensor([True]), "a token id is True, but it must be an integer"),
        ("a\ud800", "character 1 of the text is the lone surrogate U+D800, which is not valid Unicode"),
    ],
)
def test_bad_prompts(model: santacoder.SantaCoder, prompt: Any, message: str) -> None:
    for call in (model.complete, model.stream, model.logits):
        with pytest.raises(santacoder.InvalidRequestError) as error:
            call(prompt)
        assert str(error.value) == message


def test_context(model: santacoder.SantaCoder) -> None:
    assert model.context == model.config.context_length == 256
    message = r"^the prompt has 200 tokens and max_tokens is 57, together 257, but the context has 256 positions$"
    with pytest.raises(santacoder.ContextOverflowError, match=message):
        model.complete([1] * 200, max_tokens=57)
    full = model.complete([1] * 200, max_tokens=56, ignore_eos=True)
    assert len(full.tokens) == 56
    assert model.logits([1] * 256).shape == (256, 512)
    with pytest.raises(santacoder.ContextOverflowError):
        model.logits([1] * 257)
    with santacoder.load(FILE, context=20) as small:
        assert small.context == 20
        with pytest.raises(santacoder.ContextOverflowError, match="has 20 positions"):
            small.complete([1] * 10, max_tokens=11)


def test_padding_is_never_sampled(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_builder().build())
    with santacoder.load(path) as model:
        never = set(model.tokenizer.never_sampled)
        assert never
        for token in never:
            options: dict[str, Any] = {"logit_bias": {token: 100.0}, "ignore_eos": True, "max_tokens": 5}
            assert never.isdisjoint(model.complete("a", temperature=0, **options).tokens)
            assert never.isdisjoint(model.complete("a", temperature=9, top_p=1, **options).tokens)


def test_closed() -> None:
    model = santacoder.load(FILE)
    stream = model.stream(PROMPT, max_tokens=20, ignore_eos=True)
    next(stream)
    model.close()
    model.close()
    with pytest.raises(santacoder.ModelClosedError, match=r"^the model is closed$"):
        next(stream)
    for use in (
        lambda: model.complete("a"),
        lambda: model.stream("a"),
        lambda: model.infill("a", "b"),
        lambda: model.logits("a"),
        lambda: model.threads,
    ):
        with pytest.raises(santacoder.ModelClosedError):
            use()
    assert repr(model) == "<SantaCoder 'random': 2 layers of 256, 512 tokens, closed>"


def test_repr(model: santacoder.SantaCoder) -> None:
    expected = f"<SantaCoder 'random': 2 layers of 256, 512 tokens, 2 threads, {santacoder.isa()}>"
    assert repr(model) == expected


def test_threads_share_the_model(model: santacoder.SantaCoder) -> None:
    options: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0}
    serial = [model.complete(PROMPT, seed=seed, **options).tokens for seed in range(6)]
    found: dict[int, list[int]] = {}

    def work(seed: int) -> None:
        found[seed] = model.complete(PROMPT, seed=seed, **options).tokens

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[seed] for seed in range(6)] == serial


def test_streams_interleave(model: santacoder.SantaCoder) -> None:
    options: dict[str, Any] = {"max_tokens": 20, "temperature": 1.0}
    streams = [model.stream(PROMPT, seed=seed, **options) for seed in (1, 2)]
    texts = ["", ""]
    for _ in range(25):
        for i, stream in enumerate(streams):
            texts[i] += getattr(next(stream, None), "text", "")
    assert texts == [model.complete(PROMPT, seed=seed, **options).text for seed in (1, 2)]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_the_lock_is_held(model: santacoder.SantaCoder) -> None:
    expected = model.complete(PROMPT, max_tokens=5, seed=1).tokens

    def fork(_: object) -> int:
        child = os.fork()
        if not child:
            same = model.complete(PROMPT, max_tokens=5, seed=1).tokens == expected
            os._exit(0 if same else 1)
        return child

    child = model._scheduler.exclusive(fork)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert model.complete(PROMPT, max_tokens=5, seed=1).tokens == expected


def test_models_cannot_be_pickled(model: santacoder.SantaCoder) -> None:
    with pytest.raises(TypeError, match=r"^a model cannot be pickled: load it in each process$"):
        pickle.dumps(model)


@pytest.mark.parametrize("threads", [0, -1, True, 2.0, "2", 5000])
def test_bad_threads(threads: Any) -> None:
    with pytest.raises(santacoder.InvalidRequestError, match=r"^threads is "):
        santacoder.load(FILE, threads=threads)


@pytest.mark.parametrize("context", [0, 257, 1.5])
def test_bad_context(context: Any) -> None:
    with pytest.raises(santacoder.InvalidRequestError, match=r"^context is "):
        santacoder.load(FILE, context=context)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        santacoder.load(tmp_path / "none.gguf")
    with pytest.raises(santacoder.InvalidRequestError, match=r"has no GGUF file; it has no files$"):
        santacoder.load(tmp_path)


@pytest.mark.parametrize("prompt", ["", CODE, [1] * 255, [1] * 256, [1] * 300, "x" * 10**6])
@pytest.mark.parametrize("max_tokens", [0, 1, 56, 255, 256, 257])
def test_fits_is_what_complete_takes(model: santacoder.SantaCoder, prompt: Any, max_tokens: int) -> None:
    try:
        model.stream(prompt, max_tokens=max_tokens) if max_tokens else model.iter_logits(prompt)
        fits = True
    except santacoder.ContextOverflowError:
        fits = False
    assert model.fits(prompt, max_tokens) is fits


@pytest.mark.parametrize("max_tokens", [-1, True, "5", 2.0])
def test_fits_checks_its_arguments(model: santacoder.SantaCoder, max_tokens: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^max_tokens is .*, but it must be an integer of 0 or more$"):
        model.fits("x", max_tokens)
    with pytest.raises(InvalidRequestError, match=r"^the prompt is a int"):
        model.fits(5, 1)  # type: ignore[arg-type]
