"""`complete_each`: requests as they come, answers as they finish, and errors of bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.errors import ContextOverflowError, InvalidRequestError, ModelClosedError, NumericalError
from tests.support.paths import FILE

OPTIONS: Any = {"max_tokens": 5, "seed": 1, "temperature": 0.8}


@pytest.mark.parametrize("index", ["a", None, 1.5, True, -1, 2**63, 2**70])
def test_a_bad_index_of_a_request(index: Any) -> None:
    with pytest.raises(InvalidRequestError) as error:
        santacoder.Request("x", {}, index)
    assert str(error.value) == f"index is {index!r}, but it must be an integer in 0..9223372036854775807"


@pytest.mark.parametrize(("options", "kind"), [(None, "NoneType"), ([], "list"), ("max_tokens", "str")])
def test_bad_options_of_a_request(options: Any, kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"options is a {kind}, but it must be a dict"):
        santacoder.Request("x", options)


def test_complete_each_refuses_what_is_no_request() -> None:
    with santacoder.load(threads=1) as model:
        good = santacoder.Request("x", {"max_tokens": 1}, np.int64(3))  # type: ignore[arg-type]
        bad: list[tuple[Any, str]] = [
            (["def f("], r"requests\[0\] is a str, but it must be a Request"),
            ([good, {"prompt": "x"}], r"requests\[1\] is a dict, but it must be a Request"),
            ([santacoder.Request(None, {})], r"requests\[0\]: the prompt is a NoneType"),  # type: ignore[arg-type]
            ("def f(", "requests is a str, but it must be an iterable of Request"),
            (good, "requests is a Request, but it must be an iterable of Request"),
            (None, "requests is a NoneType, but it must be an iterable of Request"),
        ]
        for requests, message in bad:
            with pytest.raises(InvalidRequestError, match=message):
                list(model.complete_each(requests))
        last = santacoder.Request("x", {"max_tokens": 1, "seed": 1, "temperature": 1.0}, 2**63 - 1)
        assert [position for position, _ in model.complete_each([good, last])] in ([0, 1], [1, 0])
        assert type(good.index) is int


def test_complete_each_mixes_options_and_names_errors() -> None:
    with santacoder.load(threads=1) as model:
        requests = [
            santacoder.Request("def f(", {"max_tokens": 3, "seed": 1, "temperature": 0.8}, index) for index in range(5)
        ] + [santacoder.Request("import", {"max_tokens": 5, "temperature": 0.0, "echo": True})]
        found = dict(model.complete_each(iter(requests)))
        expected = model.complete_many(["def f("], n=5, max_tokens=3, seed=1, temperature=0.8, progress=False)[0]
        assert [found[i].text for i in range(5)] == [completion.text for completion in expected]
        assert found[5].text == model.complete("import", max_tokens=5, temperature=0.0, echo=True).text
        assert list(model.complete_each([])) == []
        with pytest.raises(InvalidRequestError, match=r"requests\[1\]: max_tokens is -1"):
            list(model.complete_each([requests[0], santacoder.Request("x", {"max_tokens": -1})]))
        many = model.complete_each(santacoder.Request("def", {"max_tokens": 8, "seed": 1}, i) for i in range(300))
        next(many)
        many.close()


def good(count: int) -> list[santacoder.Request]:
    return [santacoder.Request(f"def f{i}(", OPTIONS | {"max_tokens": 1 + i % 6}) for i in range(count)]


def broken(model: santacoder.SantaCoder) -> list[tuple[Any, type[Exception], str]]:
    """Requests that fail, and how."""
    return [
        (santacoder.Request("x" * 100_000, {}), ContextOverflowError, "the prompt has "),
        (santacoder.Request([1] * 300, {}), ContextOverflowError, "the prompt has 300 tokens"),
        (santacoder.Request("x", {"max_tokens": -1}), InvalidRequestError, "max_tokens is -1"),
        (santacoder.Request("x", {"max_token": 1}), InvalidRequestError, "'max_token' is not a keyword"),  # type: ignore[typeddict-unknown-key]
        (santacoder.Request([model.tokenizer.n_tokens], {}), InvalidRequestError, "token id 512 is not in"),
        (santacoder.Request("\ud800", {}), InvalidRequestError, "character 0 of the text is the lone surrogate"),
        (santacoder.Request("x", {"stop_tokens": 999}), InvalidRequestError, "a token id of stop_tokens is 999"),
    ]


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("before", [0, 40, 130, 300])
def test_a_bad_request_takes_no_other_with_it(model: santacoder.SantaCoder, number: int, before: int) -> None:
    bad, kind, message = broken(model)[number]
    requests = [*good(before), bad, *good(3)]
    found = dict[int, santacoder.Completion]()
    with pytest.raises(kind, match=rf"^requests\[{before}\]: {message}") as error:
        found.update(model.complete_each(requests))  # keeps what came before the error
    assert type(error.value) is kind
    assert sorted(found) == list(range(before))
    for position in range(0, before, 29):
        assert found[position].text == model.complete(requests[position].prompt, **requests[position].options).text


def test_errors_are_given_in_their_places(model: santacoder.SantaCoder) -> None:
    bad = broken(model)
    requests: list[Any] = []
    for i, request in enumerate(good(200)):
        requests += [request, bad[i % 7][0]] if i % 3 == 0 else [request]
    requests.append("no request")
    found = dict(model.complete_each(requests, on_error="return"))
    assert sorted(found) == list(range(len(requests)))
    wrong = {position for position, result in found.items() if isinstance(result, santacoder.SantaCoderError)}
    bad_ones = {i for i, request in enumerate(requests) if any(request is one for one, *_ in bad)}
    assert wrong == bad_ones | {len(requests) - 1}
    assert all(str(found[position]).startswith(f"requests[{position}]") for position in wrong)


def test_endless_bad_requests_are_given_as_they_come(model: santacoder.SantaCoder) -> None:
    def endless() -> Iterator[santacoder.Request]:
        while True:
            yield santacoder.Request("x", {"max_tokens": -1})

    results = model.complete_each(endless(), on_error="return")
    assert [next(results)[0] for _ in range(1000)] == list(range(1000))
    results.close()


def test_what_the_callers_iterable_raises_comes_after_what_was_taken(model: santacoder.SantaCoder) -> None:
    def lines() -> Iterator[santacoder.Request]:
        yield from good(70)
        raise KeyError("a line of the caller's file")

    for on_error in ("raise", "return"):
        found = dict[int, Any]()
        with pytest.raises(KeyError, match="a line of the caller's file"):
            found.update(model.complete_each(lines(), on_error=on_error))
        assert sorted(found) == list(range(70))


class TestWhatFailsOnItsWay:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[santacoder.SantaCoder]:
        """A model whose logits are not finite for the sample that `spoil` was called with."""
        with santacoder.load(FILE, threads=1) as model:
            engine = model._scheduler.engine
            forward_batch = engine.forward_batch

            def forward(parts: Any, outputs: Any, *more: Any) -> Any:
                logits = forward_batch(parts, outputs, *more)
                row = 0
                for (_, cache), wanted in zip(parts, outputs, strict=True):
                    if cache is self.bad_cache:
                        logits[row : row + wanted] = np.nan
                    row += wanted
                return logits

            self.bad_cache: object = None
            monkeypatch.setattr(engine, "forward_batch", forward)
            yield model

    def spoil(self, model: santacoder.SantaCoder, sequence: Any) -> None:
        start = sequence.use

        def use(cache: Any) -> None:
            start(cache)
            self.bad_cache = cache

        sequence.use = use

    @pytest.mark.parametrize("on_error", ["raise", "return"])
    def test_a_sample_without_finite_logits(
        self, failing: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch, on_error: Any
    ) -> None:
        make = failing._continuation

        def spoiled(prompt: Any, options: Any, index: int = 0) -> Any:
            sequence = make(prompt, options, index)
            if prompt == "def f3(":
                self.spoil(failing, sequence)
            return sequence

        monkeypatch.setattr(failing, "_continuation", spoiled)
        found = dict[int, Any]()
        results = failing.complete_each(good(50), on_error=on_error)
        if on_error == "raise":
            with pytest.raises(NumericalError, match=r"^requests\[3\]: "):
                found.update(results)
            assert sorted(found) == [i for i in range(50) if i != 3]
        else:
            found.update(results)
            assert sorted(found) == list(range(50))
            assert [i for i in found if isinstance(found[i], NumericalError)] == [3]

    @pytest.mark.parametrize("on_error", ["raise", "return"])
    def test_a_closed_model_ends_all(self, on_error: Any) -> None:
        model = santacoder.load(FILE, threads=1)
        results = model.complete_each(good(300), on_error=on_error)
        next(results)
        model.close()
        with pytest.raises(ModelClosedError, match=r"^the model is closed$"):
            list(results)
        with pytest.raises(ModelClosedError):
            model.complete_each([])


def test_arguments_are_checked_at_the_call(model: santacoder.SantaCoder) -> None:
    with pytest.raises(InvalidRequestError, match=r"^on_error is 'skip', but it must be 'raise' or 'return'$"):
        model.complete_each([], on_error="skip")  # type: ignore[call-overload]
    with pytest.raises(InvalidRequestError, match=r"^requests is a int"):
        model.complete_each(5)  # type: ignore[call-overload]


@pytest.mark.parametrize("healing", [None, False])
def test_clip_generates_as_many_tokens_as_fit(healing: bool | None) -> None:
    with santacoder.load(FILE, threads=1) as model:
        options: Any = {"seed": 1, "temperature": 0.8, "ignore_eos": True, "token_healing": healing}
        prompt = "def f(" * 20
        room = model.context - len(model.tokenizer.encode(prompt))
        expected = model.complete(prompt, max_tokens=room, **options)
        assert model.complete(prompt, max_tokens=2**62, clip=True, **options).text == expected.text
        assert expected.usage.total_tokens == model.context
        short = model.complete(prompt, max_tokens=3, **options)
        assert model.complete(prompt, max_tokens=3, clip=True, **options).text == short.text
        rows = model.complete_many([prompt, "a"], max_tokens=2**62, clip=True, **options)
        assert [row[0].usage.total_tokens for row in rows] == [model.context] * 2
        with pytest.raises(ContextOverflowError) as error:
            model.complete_many(["a", [5] * model.context], max_tokens=9, clip=True)
        assert (error.value.prompt_tokens, error.value.context) == (model.context, model.context)
        assert str(error.value).startswith("prompts[1]: the prompt has")
        full = model.complete([5] * model.context, max_tokens=0, clip=True)
        assert full.usage.prompt_tokens == model.context


def test_clip_leaves_a_quarter_of_the_context_for_an_infill() -> None:
    with santacoder.load(FILE, threads=1) as model:
        options: Any = {"seed": 1, "temperature": 0.8, "ignore_eos": True}
        before, after = "x = 1\n" * 300, "y = 2\n" * 300
        for tokens in (1, model.context - 3):
            expected = model.infill(before, after, max_tokens=tokens, **options)
            assert model.infill(before, after, max_tokens=tokens, clip=True, **options).text == expected.text
        completion = model.infill(before, after, max_tokens=model.context, clip=True, **options)
        assert model.context // 2 < completion.usage.prompt_tokens <= model.context - model.context // 4
        short = model.infill("x", "y", max_tokens=2**40, clip=True, **options)
        assert short.usage.total_tokens == model.context or short.finish_reason == "stop"
