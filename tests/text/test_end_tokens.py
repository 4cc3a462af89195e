"""Every token that a file calls the end of a text or of a turn ends it, in every interface."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.conversion.convert import convert
from santacoder.errors import ModelFormatError
from santacoder.gguf.metadata import Metadata
from santacoder.gguf.reader import GGUFFile
from santacoder.harness.sampling_run import Sampling, sample_problems
from santacoder.harness.tasks import Problem
from santacoder.hf.model import CausalLM
from santacoder.quantize import quantize
from santacoder.text.tokenizer import Tokenizer
from tests.support import checkpoint_builder as builder
from tests.support.gguf_builder import byte_symbols, tiny_builder, vocabulary

EOT, FIM_PAD, FIRST = 262, 266, 267  # in the tiny vocabulary, which goes on with tokens of our own
EXTRA = ["<|end|>", "<|im_end|>", "<turn>", "[PAD270]"]
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
#: The model below says these tokens, with these odds, whatever the prompt.
LIKELY = [*b"abc\n", EOT, FIM_PAD, *range(FIRST, FIRST + len(EXTRA))]
PREFIX = "tokenizer.ggml."
NO_WARNING = pytest.mark.filterwarnings("ignore:.*has the name of a turn's end")


def model_file(path: Path, ends: dict[str, Any], types: Sequence[int]) -> Path:
    """A model that says only LIKELY tokens, and calls these the end of a text; `types` are those of EXTRA."""
    tokens, kinds = vocabulary(byte_symbols(), len(EXTRA))
    keys = {"tokenizer.ggml.tokens": tokens[:FIRST] + EXTRA, "tokenizer.ggml.token_type": [*kinds[:FIRST], *types]}
    nothing = {"tokenizer.ggml.eos_token_id": None}
    out = tiny_builder(context=48, tied=False, n_padding=len(EXTRA), metadata=keys | nothing | ends, weight_type="F32")
    width = 32
    rows = np.full((len(tokens), width), -50 / width, np.float32)
    rows[LIKELY] = np.linspace(0.5, 1, len(LIKELY), dtype=np.float32)[:, None] / width
    out.tensor("output.weight").data = rows.tobytes()
    out.tensor("output_norm.weight").data = np.zeros(width, np.float32).tobytes()
    out.tensor("output_norm.bias").data = np.ones(width, np.float32).tobytes()
    path.write_bytes(out.build())
    return path


def cut(tokens: Sequence[int], ends: set[int] | frozenset[int]) -> tuple[list[int], str]:
    """The text that is left of one that went on after its ends, and the finish reason."""
    for i, token in enumerate(tokens):
        if token in ends:
            return [*tokens[:i]], "stop"
    return [*tokens], "length"


OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "token_healing": False}

Door = Callable[[santacoder.SantaCoder, Any], santacoder.Completion]


def stream(model: santacoder.SantaCoder, options: dict[str, Any]) -> santacoder.Completion:
    pieces = model.stream("a", **options)
    while True:
        try:
            next(pieces)
        except StopIteration as stop:
            completion: santacoder.Completion = stop.value
            return completion


#: Whatever takes the options of `complete`.
DOORS: dict[str, Door] = {
    "complete": lambda model, options: model.complete("a", **options),
    "stream": stream,
    "complete_many": lambda model, options: model.complete_many(["a"], progress=False, **options)[0][0],
    "complete_each": lambda model, options: next(model.complete_each([santacoder.Request("a", options)]))[1],
    "acomplete": lambda model, options: asyncio.run(model.acomplete("a", **options)),
    "infill": lambda model, options: model.infill("a", "zz", **options),
    "session": lambda model, options: model.session().complete("a", **options),
    "session.infill": lambda model, options: model.session().infill("a", "zz", **options),
}


@st.composite
def declared_ends(draw: st.DrawFn) -> tuple[dict[str, Any], set[int], list[int]]:
    """Keys of a file, the ids that they name, and the types of EXTRA."""
    likely = st.sampled_from(LIKELY)
    keys: dict[str, Any] = {
        f"{PREFIX}{name}_token_id": draw(likely) for name in ("eos", "eot", "eom") if draw(st.booleans())
    }
    more = draw(st.lists(likely, max_size=3))
    named = {*keys.values(), *more}
    if more:
        keys["santacoder.end_token_ids"] = more
    types = [draw(st.sampled_from([NORMAL, CONTROL, USER_DEFINED, UNUSED])) for _ in EXTRA]
    return keys, named, types


@NO_WARNING
@given(declared=declared_ends(), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_every_door_stops_at_every_end(
    tmp_path_factory: pytest.TempPathFactory, declared: tuple[dict[str, Any], set[int], list[int]], seed: int
) -> None:
    keys, named, types = declared
    path = model_file(tmp_path_factory.mktemp("ends") / "m.gguf", keys, types)
    with santacoder.load(path, threads=1) as model:
        ends = {*named, EOT, FIM_PAD}
        assert model.tokenizer.end_ids == ends
        assert ends.isdisjoint(model.tokenizer.never_sampled)
        options = {**OPTIONS, "seed": seed}
        for name, door in DOORS.items():
            going_on = door(model, {**options, "ignore_eos": True})
            expected, reason = cut(going_on.tokens, ends)
            completion = door(model, options)
            assert (name, completion.tokens, completion.finish_reason) == (name, expected, reason)
        check_hf(CausalLM(model), {*named, EOT}, seed)
        check_harness(model, ends, seed)


def check_hf(model: CausalLM, ends: set[int], seed: int) -> None:
    """`generate` gives the end, too; <fim-pad> is none there unless the file says so."""
    prompt = np.array([[97]])
    options: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "seed": seed}
    going_on = model.generate(prompt, eos_token_id=[], pad_token_id=0, **options)[0, 1:].tolist()
    expected, reason = cut(going_on, ends)
    last = going_on[len(expected) : len(expected) + 1] if reason == "stop" else []
    assert model.generate(prompt, **options)[0, 1:].tolist() == expected + last


def check_harness(model: santacoder.SantaCoder, ends: set[int], seed: int) -> None:
    problem = Problem(task_id="t/0", prompt="a", suffix=None, stops=(), check="")
    sampling = Sampling(n_samples=1, max_tokens=12, max_length=None, seed=seed, temperature=1.0, top_p=1.0)
    [sampled] = sample_problems(model, [(problem, 0)], sampling)
    expected, reason = cut(model.complete("a", **OPTIONS, seed=seed, ignore_eos=True).tokens, ends)
    assert (sampled.completion, sampled.finish_reason) == (model.tokenizer.decode(expected), reason)


def test_lm_eval_stops_at_every_end(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from types import SimpleNamespace

    from santacoder.integrations.lm_eval import SantaCoderLM

    options = {**OPTIONS, "max_tokens": 2, "ignore_eos": True}
    keys = {f"{PREFIX}eot_token_id": FIRST, f"{PREFIX}eom_token_id": FIRST + 1, "santacoder.end_token_ids": [FIRST + 2]}
    with santacoder.load(model_file(tmp_path / "m.gguf", keys, [CONTROL] * 4), threads=1) as model:
        reasons = set()
        for seed in range(30):
            tokens, reason = cut(model.complete("a", **options, seed=seed).tokens, model.tokenizer.end_ids)
            lm = SantaCoderLM(model, seed=seed)
            request = SimpleNamespace(args=("a", {"temperature": 1.0, "max_gen_toks": 2}), task_name="t")
            assert lm.generate_until([request], disable_tqdm=True) == [model.tokenizer.decode(tokens)]
            reasons.add(reason)
    assert reasons == {"stop", "length"}


# What a tokenizer makes of the keys.


def metadata(**changes: Any) -> Metadata:
    tokens, types = vocabulary(byte_symbols(), 0)
    keys: dict[str, Any] = {"model": "gpt2", "tokens": [*tokens, *EXTRA], "merges": ["d e", "de f"]}
    keys["token_type"] = np.array([*types, CONTROL, CONTROL, USER_DEFINED, UNUSED])
    full = {f"{PREFIX}{key}": value for key, value in keys.items()}
    return Metadata(full | {key if "." in key else f"{PREFIX}{key}_token_id": value for key, value in changes.items()})


def made(**changes: Any) -> Tokenizer:
    keys = metadata(**changes)
    return Tokenizer.from_gguf(keys, FIRST + len(EXTRA))


@NO_WARNING
@pytest.mark.parametrize(("text", "index"), [("\n", 10), ("def", 257), ("<turn>", FIRST + 2)])
def test_an_end_of_text_that_is_no_special_token_stays_what_it_is(text: str, index: int) -> None:
    """Its spelling is that of other text, so it must not become a marker."""
    plain, got = made(), made(eos=index)
    assert (got.eot_id, got.end_ids) == (index, frozenset({index, EOT, FIM_PAD}))
    for sample in (text, f"a{text}b", "def f():\n  <turn>"):
        assert got.encode(sample) == plain.encode(sample)
        assert got.encode(sample, special=False) == plain.encode(sample, special=False)
    assert got.decode(got.encode(text)) == text
    assert got.special_ids == plain.special_ids


@pytest.mark.parametrize("name", ["eot", "eom"])
@pytest.mark.parametrize("value", [FIRST + len(EXTRA), -1, 2**32 - 1, "1", 1.0, True])
def test_ends_outside_the_vocabulary(name: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=rf"^tokenizer\.ggml\.{name}_token_id is "):
        made(**{name: value})


@NO_WARNING
@pytest.mark.parametrize("key", ["santacoder.end_token_ids", "santacoder.swapped_token_ids"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.array([1, -1]), "holds -1, but token ids are in 0..270"),
        (np.array([271]), "holds 271, but token ids are in 0..270"),
        (np.array([2**64 - 1], np.uint64), f"holds {2**64 - 1}, but token ids are in 0..270"),
        (np.array([1.0]), "is an array of float64, but it must be an array of integers"),
        (np.array([True]), "is an array of bool, but it must be an array of integers"),
        (["1"], "is an array of strings, but it must be an array of integers"),
        (1, "is an integer, but it must be an array of integers"),
    ],
)
def test_arrays_of_ids_that_are_none(key: str, value: Any, problem: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        made(**{key: value})
    assert str(caught.value) == f"{key} {problem}"


def test_a_turn_that_nothing_ends_is_said() -> None:
    keys = metadata(eot=FIRST)
    keys.path = "m.gguf"
    message = r"^m\.gguf: the token <\|im_end\|> has the name of a turn's end, but no key .* stop_tokens \(268\)$"
    with pytest.warns(UserWarning, match=message) as caught:
        Tokenizer.from_gguf(keys, FIRST + len(EXTRA))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(eot=FIRST, eom=FIRST + 1)


# From a checkpoint to the file, and through the quantiser.


def checkpoint(folder: Path, config: Any, special: bool, generation: Any = None) -> Path:
    """A fine-tune whose turns end with <|end|>, the last token of its vocabulary but one, or <|im_end|>."""
    folder = builder.write_checkpoint(folder, changes={"eos_token_id": config})
    tokenizer = builder.tokenizer()
    for i, name in enumerate(EXTRA[:3]):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special}
        tokenizer["added_tokens"].append({"id": FIRST + i, "content": name, **flags})
    builder.write_json(folder / "tokenizer.json", tokenizer)
    if generation is not None:
        builder.write_json(folder / "generation_config.json", {"eos_token_id": generation})
    return folder


@NO_WARNING
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize(
    ("config", "generation", "named"),
    [
        ([EOT, FIRST], None, [EOT, FIRST]),
        ([FIRST], None, [FIRST]),
        (FIRST, None, [FIRST]),
        (EOT, [EOT, FIRST], [EOT, FIRST]),
        (50256, FIRST + 1, [FIRST + 1]),
        (None, [FIRST + 1, FIRST], [FIRST + 1, FIRST]),
    ],
)
def test_ends_of_checkpoints(tmp_path: Path, config: Any, generation: Any, named: list[int], special: bool) -> None:
    folder = checkpoint(tmp_path / "c", config, special, generation)
    convert(folder, tmp_path / "m.gguf", "f32")
    quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    for path in (tmp_path / "m.gguf", tmp_path / "q.gguf"):
        with GGUFFile.open(path) as file:
            keys = {key: file.metadata.get(f"{PREFIX}{key}_token_id") for key in ("bos", "eos", "eot")}
        assert keys == {"bos": EOT, "eos": named[0], "eot": named[1] if len(named) > 1 else None}
        with santacoder.load(path, threads=1) as model:
            assert model.tokenizer.end_ids == {*named, EOT, FIM_PAD}
            for end in named:
                said = model.complete("a", temperature=0, logit_bias={end: 100}, stop_tokens=end, ignore_eos=True)
                assert said.tokens == [end]
                ended = model.complete("a", temperature=0, logit_bias={end: 100})
                assert (ended.tokens, ended.finish_reason) == ([], "stop")


def test_more_ends_than_other_programs_find_are_kept_and_said(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "c", [EOT, FIRST, FIRST + 1, FIRST + 2], special=True)
    with pytest.warns(UserWarning, match=r"^4 tokens end a text; llama\.cpp will find 2, the others are kept under"):
        convert(folder, tmp_path / "m.gguf", "f32")
    quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    for name in ("m.gguf", "q.gguf"):
        with GGUFFile.open(tmp_path / name) as file:
            assert np.asarray(file.metadata["santacoder.end_token_ids"]).tolist() == [FIRST + 1, FIRST + 2]
            assert Tokenizer.from_gguf(file, builder.VOCABULARY).end_ids == {EOT, FIM_PAD, FIRST, FIRST + 1, FIRST + 2}


@NO_WARNING
@pytest.mark.parametrize(
    ("config", "generation", "message"),
    [
        ([EOT, 300, FIRST], None, r"^config\.json: eos_token_id has 300: not a token, so it does not end a text$"),
        (
            EOT,
            [FIRST, -1, "<x>"],
            r"^generation_config\.json: eos_token_id has -1, and 1 more that are named: not a token",
        ),
    ],
)
def test_what_ends_no_text_is_said(tmp_path: Path, config: Any, generation: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        convert(checkpoint(tmp_path / "c", config, True, generation), tmp_path / "m.gguf", "f32")
    assert (tmp_path / "m.gguf").is_file()


# Added tokens that overlap.


@st.composite
def added_tokens(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to six tokens of few letters, so that they overlap, with all flags that run here."""
    texts = draw(st.lists(st.text("<q>r", min_size=2, max_size=4), unique=True, max_size=6))
    flag = st.booleans()
    return [
        {
            "id": FIRST + i, "content": text, "special": draw(flag), "normalized": draw(flag),
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for i, text in enumerate(texts)
    ]  # fmt: skip


@given(added=added_tokens(), texts=st.lists(st.text("<q>r a", max_size=12), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_overlapping_tokens_are_found_as_the_original_finds_them(
    tmp_path_factory: pytest.TempPathFactory, added: list[dict[str, Any]], texts: list[str]
) -> None:
    from tokenizers import Tokenizer as Original

    from santacoder.conversion.metadata import as_read, tokenizer_fields
    from santacoder.conversion.tokenizer_json import read_tokenizer
    from santacoder.conversion.vocabulary import build_vocabulary

    folder = tmp_path_factory.mktemp("added")
    values = builder.tokenizer()
    values["added_tokens"] += added
    builder.write_json(folder / "tokenizer.json", values)
    files = read_tokenizer(folder, "here")
    found = build_vocabulary(files, FIRST + len(added), [], None)
    ours = Tokenizer.from_gguf(as_read(tokenizer_fields(files, found)), FIRST + len(added))
    theirs = Original.from_file(str(folder / "tokenizer.json"))
    for text in texts:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_tokens_out_of_turn_survive_conversion(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    values = builder.tokenizer()
    for i, (content, normalized) in enumerate((("<q>", False), ("<q><r>", True))):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "special": False}
        values["added_tokens"].append({"id": FIRST + i, "content": content, "normalized": normalized, **flags})
    builder.write_json(folder / "tokenizer.json", values)
    convert(folder, tmp_path / "m.gguf", "f32")
    quantize(tmp_path / "m.gguf", tmp_path / "q.gguf", "q8_0")
    with GGUFFile.open(tmp_path / "q.gguf") as file:
        assert np.asarray(file.metadata["santacoder.swapped_token_ids"]).tolist() == [FIRST]
    with santacoder.load(tmp_path / "q.gguf", threads=1) as model:
        assert model.tokenizer.encode("<q><r>") == [FIRST, *b"<r>"]
        assert model.tokenizer.encode("<q><r>", special=False) == [FIRST, *b"<r>"]
