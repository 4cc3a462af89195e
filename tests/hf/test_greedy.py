"""`santacoder.hf` where markers and padding rows have the largest logits, by itself and against transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import santacoder
from santacoder.conversion.convert import convert
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer, CausalLM, GenerationConfig
from tests.support import checkpoint_builder as builder
from tests.support import gguf_builder

EOT, PREFIX, MIDDLE, SUFFIX, PAD = range(builder.BPE_TOKENS, builder.BPE_TOKENS + 5)
ROWS = builder.BPE_TOKENS + 5 + 4  # 4 rows of padding
LOUD = [*range(EOT, ROWS)]
NEW = 12


def loud_weights() -> builder.Tensors:
    """Weights of a model that often says special tokens and padding, whose rows are scaled up."""
    tensors = builder.weights("linear-mqa")
    tensors["transformer.wte.weight"][LOUD] *= np.float32(3)
    return tensors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("safetensors")
    folder = tmp_path_factory.mktemp("checkpoint")
    return builder.write_checkpoint(
        folder, "linear-mqa", tensors=loud_weights(), changes={"bos_token_id": EOT, "eos_token_id": EOT}
    )


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> Iterator[CausalLM]:
    convert(checkpoint, checkpoint / "m.gguf", "f32")
    model = AutoModelForCausalLM.from_pretrained(checkpoint / "m.gguf", threads=1)
    yield model
    model.engine.close()


def by_logits(model: CausalLM, prompt: Sequence[int], ends: Sequence[int], penalty: float = 1.0) -> list[int]:
    """Greedy decoding by its definition, from the model's own logits."""
    tokens = list(prompt)
    for _ in range(NEW):
        logits = model.engine.logits(tokens)[-1]
        seen = sorted(set(tokens))
        logits[seen] = np.where(
            logits[seen] > 0, logits[seen] / np.float32(penalty), logits[seen] * np.float32(penalty)
        )
        tokens.append(int(logits.argmax()))
        if tokens[-1] in ends:
            break
    return tokens


PROMPTS = st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(prompt=PROMPTS, penalty=st.sampled_from([1.0, 1.3]), ends=st.sampled_from([None, [], [PAD], [SUFFIX, ROWS - 1]]))
def test_greedy_is_what_the_logits_say(ours: CausalLM, prompt: list[int], penalty: float, ends: Any) -> None:
    found = ours.generate(np.array([prompt]), max_new_tokens=NEW, repetition_penalty=penalty, eos_token_id=ends)
    assert found[0].tolist() == by_logits(ours, prompt, [EOT] if ends is None else ends, penalty)


def test_every_kind_of_token_is_said(ours: CausalLM) -> None:
    """The property above is not vacuous."""
    prompts = np.random.default_rng(0).integers(0, ROWS, (300, 3))
    said = set(ours.generate(prompts, max_new_tokens=2)[:, 3:].ravel().tolist())
    assert {EOT, PREFIX, MIDDLE, SUFFIX, PAD} <= said
    assert {token for token in said if token > PAD}
    assert {token for token in said if token < EOT}


def test_the_rest_of_the_library_chooses_others(ours: CausalLM) -> None:
    never = ours.engine.tokenizer.never_sampled
    assert never == (PREFIX, MIDDLE, SUFFIX, *range(PAD + 1, ROWS))
    options: dict[str, Any] = {"max_tokens": NEW, "temperature": 0, "ignore_eos": True}
    differ = 0
    for prompt in np.random.default_rng(1).integers(EOT - 5, ROWS, (20, 3)).tolist():
        every = ours.engine.complete(prompt, any_token=True, **options).tokens
        assert [*prompt, *every] == by_logits(ours, prompt, [])
        plain = ours.engine.complete(prompt, **options).tokens
        assert not set(plain) & set(never)
        logits = ours.engine.logits(prompt)[-1]
        logits[list(never)] = -np.inf
        assert plain[0] == logits.argmax()
        differ += plain != every
    assert differ >= 5


def test_sampling_draws_from_all(ours: CausalLM) -> None:
    options: dict[str, Any] = {"do_sample": True, "top_k": 0, "temperature": 4.0, "num_return_sequences": 40}
    drawn = ours.generate(np.array([[5]]), max_new_tokens=NEW, seed=1, eos_token_id=[], **options)[:, 1:]
    assert set(drawn.ravel().tolist()) & {PREFIX, MIDDLE, SUFFIX}
    assert (drawn > PAD).any()


@pytest.mark.filterwarnings("ignore")  # from the other project's imports
class TestBesideTransformers:
    @pytest.fixture(scope="class")
    def theirs(self, checkpoint: Path) -> Any:
        pytest.importorskip("torch")
        transformers = pytest.importorskip("transformers")
        return transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32").eval()

    @pytest.mark.parametrize("seed", range(25))
    def test_greedy(self, ours: CausalLM, theirs: Any, seed: int) -> None:
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, ROWS, (4, int(rng.integers(1, 30))))
        options: dict[str, Any] = {"max_new_tokens": 2 * NEW, "repetition_penalty": (1.0, 1.2)[seed % 2]}
        if seed % 3:
            options["eos_token_id"] = ([SUFFIX], [PAD, ROWS - 1])[seed % 3 - 1]
        expected = theirs.generate(
            torch.tensor(ids), attention_mask=torch.ones(ids.shape), do_sample=False, pad_token_id=EOT, **options
        )
        assert ours.generate(ids, pad_token_id=EOT, **options).tolist() == expected.tolist()

    @pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [0, 4, 1, 2, 3], [4, 2, 0, 3, 1], [3, 2, 1, 4, 0]])
    def test_vocabulary(self, checkpoint: Path, tmp_path: Path, order: list[int]) -> None:
        transformers = pytest.importorskip("transformers")
        folder = builder.write_checkpoint(tmp_path / "c", "linear-mqa", tensors=loud_weights())
        settings = builder.tokenizer()
        for i, k in enumerate(order):
            settings["added_tokens"][i]["content"] = gguf_builder.SPECIALS[k]
        builder.write_json(folder / "tokenizer.json", settings)
        convert(folder, tmp_path / "m.gguf", "f32")
        found = AutoTokenizer.from_pretrained(tmp_path / "m.gguf")
        expected = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        assert len(found) == len(expected)
        assert found.get_vocab() == expected.get_vocab()


@pytest.mark.parametrize("n_padding", [0, 3])
@pytest.mark.parametrize("last", ["<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>", "<|endoftext|>"])
def test_markers_that_are_the_last_ids(tmp_path: Path, n_padding: int, last: str) -> None:
    tokens, types = gguf_builder.vocabulary(gguf_builder.byte_symbols(), n_padding)
    specials = sorted(gguf_builder.SPECIALS, key=lambda token: (token == last, token.startswith("<fim")))
    tokens[EOT : EOT + 5] = specials
    metadata = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    metadata |= {f"tokenizer.ggml.{name}_token_id": tokens.index("<|endoftext|>") for name in ("bos", "eos")}
    (tmp_path / "m.gguf").write_bytes(gguf_builder.tiny_model(n_padding=n_padding, metadata=metadata))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m.gguf")
    assert len(tokenizer) == tokenizer.vocab_size == EOT + 5
    assert tokenizer.get_vocab() == {token: i for i, token in enumerate(tokens[: EOT + 5])}
    assert tokenizer.convert_tokens_to_ids(last) == tokenizer.get_vocab()[last] == len(tokenizer) - 1


def test_any_token_is_not_an_argument_of_generate(ours: CausalLM) -> None:
    with pytest.raises(santacoder.InvalidRequestError, match=r"^generate\(\) does not know any_token"):
        ours.generate(np.array([[1]]), any_token=False)
    assert not hasattr(GenerationConfig(), "any_token")
