"""Calls written for transformers, on one random checkpoint: each gives on santacoder.hf what it gives there."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import santacoder.hf
from santacoder.conversion.convert import convert
from santacoder.hf.generation_config import GenerationConfig
from santacoder.hf.off_values import GENERATION, UNUSED_BY_GENERATION
from tests.support import checkpoint_builder as builder

EOT = builder.BPE_TOKENS
TEXT, OTHER = "def f(a):", "import os\n\nprint("
TEXTS = [TEXT, "x", OTHER]
#: Tokens that greedy decoding writes: twice after TEXT, after all texts, and as plain text after TEXT.
TWICE, ALWAYS, SPELLED = 235, 12, 260


@dataclass
class Library:
    """One of the two libraries, with the model and the tokenizer of the checkpoint.

    Attributes:
        lib: the module that code imports from.
        model, tokenizer: loaded.
        kind: of arrays: "pt" or "np".
    """

    lib: Any
    model: Any
    tokenizer: Any
    kind: str

    def inputs(self, text: str | list[str]) -> Any:
        return self.tokenizer(text, return_tensors=self.kind, padding=isinstance(text, list))

    def run(self, text: str | list[str] = TEXT, **options: Any) -> Any:
        return self.model.generate(**self.inputs(text), **{"pad_token_id": EOT, "max_new_tokens": 12, **options})

    def with_default(self, name: str, value: Any) -> Any:
        """The model with another default of `generate`."""
        model = copy.copy(self.model)
        model.generation_config = copy.deepcopy(self.model.generation_config)
        setattr(model.generation_config, name, value)
        return model

    def pipe(self, *args: Any, **options: Any) -> Any:
        pipe = self.lib.pipeline("text-generation", model=self.model, tokenizer=self.tokenizer)
        return pipe(*args, **{"do_sample": False, "max_new_tokens": 8, **options})

    def printed(self, **options: Any) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.run(streamer=self.lib.TextStreamer(self.tokenizer, **options))
        return out.getvalue()

    def iterated(self, **options: Any) -> str:
        streamer = self.lib.TextIteratorStreamer(self.tokenizer, timeout=60, **options)
        thread = threading.Thread(target=self.run, args=(OTHER,), kwargs={"streamer": streamer})
        thread.start()
        text = "".join(streamer)
        thread.join()
        return text

    def transitions(self, text: str, **options: Any) -> Any:
        output = self.run(text, return_dict_in_generate=True, output_scores=True, repetition_penalty=1.2)
        return self.model.compute_transition_scores(output.sequences, output.scores, **options)

    def ban(self, token: int) -> Any:
        """A processor as a user writes it."""

        class Ban(self.lib.LogitsProcessor):  # type: ignore[misc,name-defined]
            def __call__(self, input_ids: Any, scores: Any) -> Any:
                assert input_ids.shape[0] == scores.shape[0]
                scores[:, token] = -float("inf")
                return scores

        return Ban()

    def stop_at(self, length: int) -> Any:
        """A criterion as a user writes it."""

        class Length(self.lib.StoppingCriteria):  # type: ignore[misc,name-defined]
            def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
                return input_ids[:, -1] == -1 if input_ids.shape[1] < length else input_ids[:, -1] >= 0

        return Length()

    def stop_after(self, token: int) -> Any:
        class Last(self.lib.StoppingCriteria):  # type: ignore[misc,name-defined]
            def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
                return input_ids[:, -1] == token

        return Last()


def double(input_ids: Any, scores: Any) -> Any:
    return scores * 2 - input_ids.shape[1]


def without_rest(output: Any) -> Any:
    """Scores of single rows, which have no steps after their end."""
    return [output.sequences, *(output.scores or ()), *(output.logits or ())]


Call = Callable[[Library], Any]

GENERATE: dict[str, dict[str, Any]] = {
    "defaults": {},
    "20 tokens": {"max_new_tokens": None},
    "max_new_tokens": {"max_new_tokens": 3},
    "max_length": {"max_new_tokens": None, "max_length": 11},
    "lengths off": {"min_length": 0, "min_new_tokens": None},
    "min_length": {"min_length": 14, "eos_token_id": TWICE},
    "min_new_tokens": {"min_new_tokens": 6, "eos_token_id": [TWICE, EOT]},
    "beams off": {"num_beams": 1, "early_stopping": False, "length_penalty": 1.0, "do_sample": False},
    "penalties off": {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "sampling values off": {"temperature": None, "top_k": None, "top_p": None, "min_p": None, "typical_p": None},
    "words off": {"bad_words_ids": None, "suppress_tokens": None, "begin_suppress_tokens": None, "sequence_bias": None},
    "bad_words_ids": {"bad_words_ids": [[TWICE], [3]]},
    "bad_words_ids of several tokens": {"bad_words_ids": [[TWICE, TWICE]], "repetition_penalty": 1.1},
    "suppress_tokens": {"suppress_tokens": [TWICE, 5]},
    "hooks off": {"logits_processor": None, "stopping_criteria": None, "prefix_allowed_tokens_fn": None},
    "empty hooks": {"logits_processor": [], "stopping_criteria": []},
    "streamer off": {"streamer": None},
    "use_cache": {"use_cache": True},
    "no use_cache": {"use_cache": False},
    "outputs off": {"output_attentions": False, "output_hidden_states": False, "return_dict_in_generate": False},
    "scores off": {"output_scores": False, "output_logits": None},
    "bos_token_id": {"bos_token_id": 7},
    "eos_token_id": {"eos_token_id": TWICE},
    "eos_token_ids": {"eos_token_id": [5, TWICE]},
    "pad_token_id": {"pad_token_id": 9},
    "max_time": {"max_time": 1e6},
    "max_time off": {"max_time": None},
    "forced tokens off": {"forced_bos_token_id": None, "forced_eos_token_id": None},
    "assistants off": {"assistant_model": None, "prompt_lookup_num_tokens": None, "synced_gpus": False},
    "guidance off": {"guidance_scale": None, "negative_prompt_ids": None},
    "normalization off": {"renormalize_logits": False, "remove_invalid_values": False},
    "watermark off": {"watermarking_config": None, "exponential_decay_length_penalty": None},
    "cache off": {"cache_implementation": None, "low_memory": None, "return_legacy_cache": None},
    "token_healing off": {"token_healing": False},
    "penalty and words": {"repetition_penalty": 1.2, "bad_words_ids": [[TWICE]], "min_new_tokens": 12},
    "sampling of one token": {"do_sample": True, "top_k": 1},
    "sampling with a tiny top_p": {"do_sample": True, "top_p": 1e-6, "temperature": 0.7},
    "sampling with the largest min_p": {"do_sample": True, "min_p": 1.0, "top_k": 0},
    "sampling several": {"do_sample": True, "top_k": 1, "num_return_sequences": 3},
}

OTHERS: dict[str, Call] = {
    "without a prompt": lambda c: c.model.generate(max_new_tokens=4, bos_token_id=7, pad_token_id=EOT),
    "input_ids by position": lambda c: c.model.generate(
        c.inputs(TEXT)["input_ids"], max_new_tokens=3, pad_token_id=EOT
    ),
    "GenerationConfig": lambda c: c.run(
        max_new_tokens=None, generation_config=c.lib.GenerationConfig(max_new_tokens=5, repetition_penalty=1.4)
    ),
    "GenerationConfig with values that are off": lambda c: c.run(
        max_new_tokens=None,
        generation_config=c.lib.GenerationConfig(
            max_new_tokens=5, num_beams=1, no_repeat_ngram_size=0, do_sample=False
        ),
    ),
    "a changed generation_config": lambda c: c.with_default("max_new_tokens", 4).generate(
        **c.inputs(TEXT), pad_token_id=EOT
    ),
    "stop_strings": lambda c: c.run(stop_strings=[c.tokenizer.decode([SPELLED])], tokenizer=c.tokenizer),
    "a LogitsProcessorList": lambda c: c.run(logits_processor=c.lib.LogitsProcessorList([c.ban(TWICE), double])),
    "a processor and a penalty": lambda c: c.run(logits_processor=[double], repetition_penalty=1.2),
    "a processor of a batch": lambda c: c.run(TEXTS, logits_processor=[c.ban(ALWAYS), c.ban(EOT)]),
    "a StoppingCriteriaList": lambda c: c.run(stopping_criteria=c.lib.StoppingCriteriaList([c.stop_at(13)])),
    "a criterion of a batch": lambda c: c.run(TEXTS, stopping_criteria=[c.stop_after(ALWAYS)]),
    "both hooks": lambda c: c.run(logits_processor=[c.ban(TWICE)], stopping_criteria=[c.stop_at(10), c.stop_at(12)]),
    "sequences of a dict": lambda c: c.run(return_dict_in_generate=True).sequences,
    "output_scores": lambda c: without_rest(c.run(return_dict_in_generate=True, output_scores=True)),
    "output_logits": lambda c: without_rest(
        c.run(return_dict_in_generate=True, output_logits=True, repetition_penalty=1.3)
    ),
    "scores and logits with all rules": lambda c: without_rest(
        c.run(
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            repetition_penalty=1.3,
            suppress_tokens=[4],
            min_new_tokens=3,
            logits_processor=[double],
        )
    ),
    "scores of sampling": lambda c: c.run(
        return_dict_in_generate=True,
        output_scores=True,
        do_sample=True,
        temperature=0.6,
        top_k=20,
        top_p=0.8,
        min_p=0.02,
    )["scores"][0],
    "scores by key": lambda c: c.run(return_dict_in_generate=True, output_scores=True, max_new_tokens=1)["scores"],
    "transition scores": lambda c: c.transitions(TEXT, normalize_logits=False),
    "normalized transition scores": lambda c: c.transitions(OTHER, normalize_logits=True),
    "a batch": lambda c: c.run(TEXTS),
    "a batch with rules": lambda c: c.run(
        TEXTS, repetition_penalty=1.2, min_length=20, bad_words_ids=[[ALWAYS, ALWAYS], [198]]
    ),
    "a batch that ends early": lambda c: c.run(TEXTS, eos_token_id=ALWAYS),
    "TextStreamer": lambda c: c.printed(),
    "TextStreamer without prompt": lambda c: c.printed(skip_prompt=True, skip_special_tokens=True),
    "TextIteratorStreamer": lambda c: c.iterated(),
    "TextIteratorStreamer without prompt": lambda c: c.iterated(skip_prompt=True),
    "pipeline": lambda c: c.pipe(TEXT),
    "pipeline of a list": lambda c: c.pipe(TEXTS),
    "pipeline of a batch": lambda c: c.pipe(TEXTS, batch_size=3),
    "pipeline without prompt": lambda c: c.pipe(TEXT, return_full_text=False, clean_up_tokenization_spaces=False),
    "pipeline of ids": lambda c: c.pipe(TEXT, return_tensors=True),
    "pipeline with a prefix": lambda c: c.pipe(TEXT, prefix="# Python\n", repetition_penalty=1.2),
    "pipeline with a stop": lambda c: c.pipe(TEXT, stop_sequence=c.tokenizer.decode([SPELLED])),
    "pipeline with several": lambda c: c.pipe(TEXT, do_sample=True, top_k=1, num_return_sequences=2),
    "logits": lambda c: c.model(c.inputs(TEXT)["input_ids"], use_cache=True, return_dict=True).logits,
    "logits by key": lambda c: c.model(**c.inputs(TEXT), output_attentions=False, position_ids=None)["logits"],
    "logits by index": lambda c: c.model(input_ids=c.inputs(TEXT)["input_ids"], return_dict=False)[0],
    "logits of the end": lambda c: c.model(**c.inputs(TEXT), logits_to_keep=2).logits,
    "loss": lambda c: c.model(**c.inputs(TEXT), labels=c.inputs(TEXT)["input_ids"]).loss,
    "parameters": lambda c: [c.model.num_parameters(), sum(each.numel() for each in c.model.parameters())],
    "the first parameter": lambda c: [*next(iter(c.model.parameters())).shape],
    "conversions": lambda c: (
        c.model.float()
        .eval()
        .to("cpu")
        .to(c.model.dtype)
        .generate(
            c.inputs(TEXT)["input_ids"].copy() if c.kind == "np" else c.inputs(TEXT)["input_ids"], max_new_tokens=2
        )
    ),
    "the device": lambda c: [str(c.model.device), c.model.device.type, c.model.can_generate(), c.model.training],
    "config.to_dict": lambda c: {
        name: c.model.config.to_dict()[name] for name in ("n_embd", "n_layer", "n_head", "vocab_size", "model_type")
    },
    "padding": lambda c: {**c.tokenizer(TEXTS, padding=True)},
    "pad": lambda c: {**c.tokenizer.pad([{"input_ids": [1, 2, 3]}, {"input_ids": [4]}], return_tensors=c.kind)},
    "pad_to_multiple_of": lambda c: {**c.tokenizer(TEXTS, padding=True, pad_to_multiple_of=8)},
    "offsets": lambda c: c.tokenizer(TEXT + " é旧 10  x\n\n", return_offsets_mapping=True)["offset_mapping"],
    "offsets of a batch": lambda c: c.tokenizer(TEXTS, return_offsets_mapping=True, padding=True)["offset_mapping"],
    "a batch of texts": lambda c: [c.tokenizer.batch_decode([[1, 2], [EOT]]), c.tokenizer.decode([[1, 2], [EOT]])],
    "a truncated text": lambda c: c.tokenizer(OTHER, truncation=True, max_length=4, stride=0, text_pair=None)[
        "input_ids"
    ],
    "is_fast": lambda c: c.tokenizer.is_fast,
}

CALLS: dict[str, Call] = {
    **{name: lambda c, options=options: c.run(**options) for name, options in GENERATE.items()},  # type: ignore[misc]
    **OTHERS,
}


def plain(value: Any) -> Any:
    """Tensors and arrays as arrays, tuples as lists."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def check_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if expected.dtype.kind == "f" else 0)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, each in expected.items():
            check_equal(found[name], each)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("safetensors")
    folder = builder.write_checkpoint(
        tmp_path_factory.mktemp("checkpoint"), "linear-mqa", changes={"bos_token_id": EOT, "eos_token_id": EOT}
    )
    settings = builder.tokenizer()
    settings["post_processor"] = {**settings["post_processor"], "trim_offsets": False}
    builder.write_json(folder / "tokenizer.json", settings)
    convert(folder, folder / "m.gguf", "f32")
    return folder


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> Iterator[Library]:
    model = santacoder.hf.AutoModelForCausalLM.from_pretrained(checkpoint / "m.gguf", threads=1)
    yield Library(santacoder.hf, model, santacoder.hf.AutoTokenizer.from_pretrained(checkpoint / "m.gguf"), "np")
    model.engine.close()


@pytest.mark.parametrize("name", CALLS)
def test_call_runs(ours: Library, name: str) -> None:
    CALLS[name](ours)


def test_the_calls_have_effects(ours: Library) -> None:
    """Nothing above is equal because it does nothing."""
    default = ours.run().tolist()
    assert default[0].count(TWICE) == 2
    assert all(ALWAYS in row for row in ours.run(TEXTS).tolist())
    assert ours.tokenizer.decode([SPELLED]) in ours.tokenizer.decode(default[0])
    equal = {name for name, options in GENERATE.items() if ours.run(**options).tolist() == default}
    assert {name for name in equal if name in GENERATE[name]} == {
        "use_cache",
        "bos_token_id",
        "pad_token_id",
        "max_time",
    }
    for name in (
        "a processor and a penalty",
        "a StoppingCriteriaList",
        "stop_strings",
        "GenerationConfig",
        "both hooks",
    ):
        assert CALLS[name](ours).tolist() != default
    batch = ours.run(TEXTS).tolist()
    for name in ("a processor of a batch", "a criterion of a batch", "a batch with rules", "a batch that ends early"):
        assert CALLS[name](ours).tolist() != batch


@pytest.mark.filterwarnings("ignore")  # of the other library
class TestBesideTransformers:
    @pytest.fixture(scope="class")
    def theirs(self, checkpoint: Path) -> Library:
        pytest.importorskip("torch")
        transformers = pytest.importorskip("transformers")
        special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(checkpoint / "tokenizer.json"), padding_side="left", **special
        )
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32").eval()
        return Library(transformers, model, tokenizer, "pt")

    @pytest.fixture(scope="class")
    def tensors(self, ours: Library) -> Library:
        return Library(ours.lib, ours.model, ours.tokenizer, "pt")

    @pytest.mark.parametrize("name", CALLS)
    def test_call(self, tensors: Library, theirs: Library, name: str) -> None:
        check_equal(plain(CALLS[name](tensors)), plain(CALLS[name](theirs)))

    def test_their_objects(self, tensors: Library, theirs: Library) -> None:
        """Configurations, lists, criteria and streamers of transformers itself."""
        lib = theirs.lib
        config = lib.GenerationConfig(max_new_tokens=9, repetition_penalty=1.2, num_beams=1, eos_token_id=EOT)
        criteria = lib.StoppingCriteriaList([lib.MaxLengthCriteria(max_length=14), lib.EosTokenCriteria(EOT)])
        processors = lib.LogitsProcessorList([lib.TemperatureLogitsWarper(0.5), lib.NoRepeatNGramLogitsProcessor(2)])
        found = []
        for each in (tensors, theirs):
            streamer = lib.TextIteratorStreamer(each.tokenizer)
            options = {"generation_config": config, "stopping_criteria": criteria, "logits_processor": processors}
            ids = each.model.generate(**each.inputs(TEXT), **options, streamer=streamer)
            found.append((ids.tolist(), "".join(streamer)))
        assert found[0] == found[1]

    def test_every_argument_is_known(self) -> None:
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("torch")
        generate = inspect.signature(transformers.GenerationMixin.generate).parameters
        named = {*vars(transformers.GenerationConfig()), *generate} - {"self", "kwargs"}
        known = {*vars(GenerationConfig()), *GENERATION, *UNUSED_BY_GENERATION}
        known |= {*inspect.signature(santacoder.hf.CausalLM.generate).parameters}
        assert {name for name in named if name.strip("_") == name} - known == set()


@pytest.mark.parametrize("name", GENERATION)
def test_what_is_missing_is_refused_by_name(ours: Library, name: str) -> None:
    with pytest.raises(santacoder.InvalidRequestError, match=rf"^{name} is 7, but generate\(\) lacks this feature: "):
        ours.run(TEXT, **{name: 7})
    for value in GENERATION[name]:
        ours.run(TEXT, max_new_tokens=1, **{name: value})
