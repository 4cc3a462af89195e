"""The public model class on a small random file: determinism, agreement of its methods, bad input."""

from __future__ import annotations

import ast
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.decoding.results import Usage
from santacoder.errors import InvalidRequestError
from santacoder.requests import prompt_ids
from tests.support.gguf_builder import tiny_builder
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
    prompts: list[Any] = [ids, tuple(ids), np.array(ids), narrow, list(narrow)]
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
        (np.array([[1]]), "the prompt is a ndarray, but it must be a text or a list of token ids"),
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
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
    with pytest.raises(santacoder.ModelFormatError, match="directory"):
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
