"""Completions as users write them: one, many, as they come, in asyncio; checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import santacoder
from santacoder import Completion, Piece, Request, SantaCoder, SantaCoderError, Timings, TokenLogprobs, Usage


def load() -> None:
    assert_type(santacoder.load(), SantaCoder)
    assert_type(santacoder.load("m.gguf", threads=2, context=512), SantaCoder)
    assert_type(SantaCoder.load(Path("m.gguf")), SantaCoder)
    assert_type(santacoder.from_pretrained("owner/name", "m.gguf", revision="main", threads=1), SantaCoder)
    assert_type(santacoder.isa(), str)
    assert_type(santacoder.__version__, str)
    with santacoder.load() as model:
        assert_type(model, SantaCoder)
        assert_type((model.context, model.threads, model.isa), tuple[int, int, str])
        assert_type((model.weights_bytes, model.cache_bytes), tuple[int, int])
        assert_type(model.tensor_types["Q4_K"], int)
        assert_type(model.config, santacoder.Config)
        assert_type(model.config.block_count, int)
        print(model.config.n_layer)  # type: ignore[attr-defined]
        model.config.name = "other"  # type: ignore[misc]

    santacoder.load(b"m.gguf")  # type: ignore[arg-type]
    santacoder.load(threads="2")  # type: ignore[arg-type]
    santacoder.load("m.gguf", n_threads=2)  # type: ignore[call-arg]
    santacoder.from_pretrained()  # type: ignore[call-arg]
    santacoder.Llama("m.gguf")  # type: ignore[attr-defined]


def complete(model: SantaCoder, halves: NDArray[np.float32]) -> None:
    completion = model.complete(
        "def fib(n):",
        max_tokens=64,
        temperature=0.2,
        top_k=0,
        top_p=0.95,
        min_p=0,
        repetition_penalty=1,
        frequency_penalty=0,
        presence_penalty=0,
        logit_bias={5: 1.5},
        stop=["\n\n", "\ndef"],
        stop_tokens=7,
        seed=1,
        echo=True,
        ignore_eos=False,
        any_token=False,
        deadline=(1, 2.5),
        logprobs=3,
        lookup=True,
    )
    assert_type(completion, Completion)
    assert_type(completion.text, str)
    assert_type(completion.tokens, list[int])
    assert_type(completion.finish_reason, Literal["stop", "length", "deadline", "attribution"])
    assert_type(completion.seed, int)
    assert_type(completion.usage, Usage)
    assert_type(completion.usage.total_tokens, int)
    assert_type(completion.timings, Timings)
    assert_type(completion.timings.generation_tokens_per_second, float)
    for logprob in completion.logprobs or ():
        assert_type(logprob, TokenLogprobs)
        assert_type((logprob.token, logprob.logprob), tuple[int, float])
        assert_type(logprob.top, tuple[tuple[int, float], ...])

    model.complete([1, 2, 3], stop="\n", stop_tokens=(7, 8), deadline=5, seed=None, logit_bias=None)
    model.complete(np.array([1, 2, 3], np.int32))
    model.complete((1, 2))
    model.complete("x", max_tokens=None, stop=None, lookup=None, logit_bias={"7": -1.0}, truncate="left")
    model.complete("x", stop={"a", "b"}, stop_tokens={7})
    options: santacoder.SamplingOptions = {"max_tokens": 4}
    prompt: santacoder.Prompt = "x"
    model.complete(prompt, **options)

    model.complete("x", max_token=5)  # type: ignore[call-arg]
    model.complete("x", max_tokens="5")  # type: ignore[arg-type]
    model.complete("x", True)  # type: ignore[call-arg]
    model.complete("x", stop=1)  # type: ignore[arg-type]
    model.complete("x", logit_bias={1.5: 1.0})  # type: ignore[arg-type]
    model.complete("x", deadline=(1.0, 2.0, 3.0))  # type: ignore[arg-type]
    model.complete(None)  # type: ignore[arg-type]
    model.complete(["x"])  # type: ignore[list-item]
    model.complete(halves)  # type: ignore[arg-type]
    completion.text = ""  # type: ignore[misc]
    print(completion.logprobs[0])  # type: ignore[index]


def complete_many(model: SantaCoder) -> None:
    rows = model.complete_many(["def a():", [1, 2]], n=3, progress=False, temperature=0.8, seed=1)
    assert_type(rows, list[list[Completion]])
    model.complete_many(["x"], 2)
    model.complete_many((f"def {name}(" for name in "ab"), n=None)
    model.complete_many({1: "x", 2: "y"}.values())
    model.complete_many(np.array(["x", "y"]))

    model.complete_many(["x"], n=2.0)  # type: ignore[arg-type]
    model.complete_many(["x"], 2, False)  # type: ignore[call-arg]
    model.complete_many(5)  # type: ignore[arg-type]


def complete_each(model: SantaCoder) -> None:
    def requests() -> Iterator[Request]:
        for index in range(3):
            yield Request("def f():", {"max_tokens": 4, "stop": ["\n"]}, index)

    for position, completion in model.complete_each(requests()):
        assert_type(position, int)
        assert_type(completion, Completion)
    assert_type(model.complete_each([], on_error="raise"), Generator[tuple[int, Completion], None, None])
    for _, result in model.complete_each([Request([1], {})], on_error="return"):
        assert_type(result, Completion | SantaCoderError)
        if isinstance(result, Completion):
            assert_type(result.text, str)
        else:
            assert_type(result, SantaCoderError)

    Request("x")  # type: ignore[call-arg]
    Request("x", {"max_token": 4})  # type: ignore[typeddict-unknown-key]
    Request("x", {"max_tokens": "4"})  # type: ignore[typeddict-item]
    model.complete_each(["x"])  # type: ignore[list-item]
    model.complete_each([], on_error="skip")  # type: ignore[call-overload]


def stream(model: SantaCoder) -> None:
    pieces = model.stream("def f():", max_tokens=8, logprobs=0)
    assert_type(pieces, Generator[Piece, None, Completion])
    for piece in pieces:
        assert_type(piece, Piece)
        assert_type((piece.text, piece.tokens), tuple[str, tuple[int, ...]])
        assert_type(piece.finish_reason, Literal["stop", "length", "deadline", "attribution"] | None)
        assert_type(piece.logprobs, tuple[TokenLogprobs, ...] | None)
    pieces.close()

    def whole() -> Generator[Piece, None, str]:
        completion = yield from model.stream("x")
        assert_type(completion, Completion)
        return completion.text

    assert_type(whole(), Generator[Piece, None, str])
    model.stream("x", n=2)  # type: ignore[call-arg]
    print(piece.logprobs[0])  # type: ignore[index]


async def asyncio(model: SantaCoder) -> None:
    assert_type(await model.acomplete("def f():", seed=1), Completion)
    pieces = model.astream("def f():", seed=1)
    assert_type(pieces, AsyncGenerator[Piece, None])
    async for piece in pieces:
        assert_type(piece, Piece)
    await pieces.aclose()

    assert_type(await model.acomplete_many(["x"], n=2, seed=1), list[list[Completion]])
    async for position, completion in model.acomplete_each([Request("x", {})]):
        assert_type(position, int)
        assert_type(completion, Completion)
    async for _, result in model.acomplete_each([Request("x", {})], on_error="return"):
        assert_type(result, Completion | SantaCoderError)
    async for prompt, sample, part in model.astream_many(["x"], 2, max_tokens=4):
        assert_type((prompt, sample), tuple[int, int])
        assert_type(part, Piece)
    assert_type(await model.ainfill("a", "b", mode="psm", seed=1), Completion)
    assert_type(model.astream_infill("a", "b"), AsyncGenerator[Piece, None])
    assert_type(await model.ascore("x"), santacoder.Score)
    assert_type(await model.ascore_many(["x"]), list[santacoder.Score])
    session = model.session()
    assert_type(await session.acomplete("x", seed=1), Completion)
    assert_type(await session.ainfill("a", "b"), Completion)
    assert_type(session.astream("x"), AsyncGenerator[Piece, None])
    assert_type(session.astream_infill("a", "b"), AsyncGenerator[Piece, None])

    print(model.acomplete("x").text)  # type: ignore[attr-defined]
    await model.acomplete("x", max_token=1)  # type: ignore[call-arg]
    list(model.astream("x"))  # type: ignore[call-overload]
