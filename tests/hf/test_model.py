"""The interface of transformers: loading and generating. See test_tokenizer.py for the tokenizer."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

import santacoder
from santacoder.gguf.facts import file_facts
from santacoder.hf import AutoModelForCausalLM, AutoTokenizer, CausalLM, CodeTokenizer, GenerationConfig, set_seed
from santacoder.hf.checkpoint import _TOKENIZERS, load_tokenizer
from tests.support import hub_cache
from tests.support.paths import DATA, FILE, distributed

OTHER = DATA / "mha-q4_k_m.gguf"
PROMPTS = ["def print_hello_world():", "x", "import os\n\nprint("]


def ids_of(model: CausalLM, text: str) -> np.ndarray[Any, Any]:
    return np.array([model.engine.tokenizer.encode(text)])


def continued(model: CausalLM, text: str, **options: Any) -> list[int]:
    """The library's own generation from all tokens, the end of text included."""
    ends = model.engine.tokenizer.eot_id
    assert ends is not None
    completion = model.engine.complete(
        text, stop_tokens=ends, ignore_eos=True, any_token=True, token_healing=False, **options
    )
    return [*ids_of(model, text)[0].tolist(), *completion.tokens]


class TestLoading:
    def test_model_card(self) -> None:
        """The two snippets of bigcode/santacoder's card, with another checkpoint and "np" for "pt"."""
        checkpoint = str(FILE)
        device = "cpu"
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        options: dict[str, Any] = {"trust_remote_code": True, "attn_implementation": "sdpa", "low_cpu_mem_usage": True}
        model = AutoModelForCausalLM.from_pretrained(checkpoint, **options).to(device)
        for text in (
            "def print_hello_world():",
            "<fim-prefix>def print_hello_world():\n    <fim-suffix>\n    print('Hello world!')<fim-middle>",
        ):
            inputs = tokenizer.encode(text, return_tensors="np")
            outputs = model.generate(inputs)
            assert outputs.shape[0] == 1
            assert outputs[0, : inputs.shape[1]].tolist() == inputs[0].tolist()
            expected = continued(model, text, max_tokens=20, temperature=0)
            assert outputs[0].tolist() == expected
            assert tokenizer.decode(outputs[0]) == model.engine.tokenizer.decode(expected)

    @pytest.mark.parametrize("auto", [AutoTokenizer, AutoModelForCausalLM])
    def test_folder(self, auto: Any, tmp_path: Path) -> None:
        with pytest.raises(santacoder.InvalidRequestError, match=r"has no GGUF file; it has no files$"):
            auto.from_pretrained(tmp_path)
        shutil.copy(FILE, tmp_path / "a.gguf")
        assert auto.from_pretrained(str(tmp_path)).name_or_path == str(tmp_path)
        shutil.copy(FILE, tmp_path / "b.gguf")
        with pytest.raises(santacoder.InvalidRequestError, match=r"several GGUF files.*a\.gguf, b\.gguf$"):
            auto.from_pretrained(tmp_path)
        auto.from_pretrained(tmp_path, gguf_file="b.gguf")
        with pytest.raises(santacoder.InvalidRequestError, match=r"has no file 'c'; it has a\.gguf, b\.gguf$"):
            auto.from_pretrained(tmp_path, gguf_file="c")

    @pytest.mark.parametrize("auto", [AutoTokenizer, AutoModelForCausalLM])
    @pytest.mark.parametrize("name", ["none", "a/none.gguf", "a/b/none", Path("a/none")])
    def test_no_such_file(self, auto: Any, name: Any) -> None:
        with pytest.raises(FileNotFoundError):
            auto.from_pretrained(name)

    def test_hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub_cache.fill(tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        options: dict[str, Any] = {"revision": "v1", "cache_dir": tmp_path}
        assert AutoTokenizer.from_pretrained("owner/name", **options).name_or_path == "owner/name"
        assert AutoModelForCausalLM.from_pretrained("owner/name", gguf_file="model.gguf", **options).config.n_layer == 2
        with pytest.raises(OSError, match=r"^cannot get a model from 'owner/name' at 'v2': it is not in"):
            AutoTokenizer.from_pretrained("owner/name", cache_dir=tmp_path, revision="v2")
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *args, **given: seen.update(given) or str(FILE))
        seen: dict[str, Any] = {}
        AutoTokenizer.from_pretrained("a/b", gguf_file="m.gguf", token="t", force_download=True, local_files_only=True)
        expected = {"token": "t", "force_download": True, "local_files_only": True, "revision": None, "cache_dir": None}
        assert seen == expected

    def test_tokenizer_is_shared_while_in_use(self, tmp_path: Path) -> None:
        path = tmp_path / "m.gguf"
        shutil.copy(FILE, path)
        gc.collect()  # of what other tests left
        before = len(_TOKENIZERS)
        first = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path)
        shared = model.engine.tokenizer
        assert load_tokenizer(str(path))[0] is shared
        assert first.get_vocab() == AutoTokenizer.from_pretrained(path).get_vocab()
        assert len(_TOKENIZERS) == before + 1
        path.unlink()
        shutil.copy(distributed(OTHER), path)
        assert load_tokenizer(str(path))[0] is not shared  # another file at the same path
        del first, model, shared
        gc.collect()
        assert len(_TOKENIZERS) == before

    def test_tokenizer_reads_no_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from santacoder.gguf.reader import GGUFFile

        monkeypatch.delattr(GGUFFile, "data")
        assert len(AutoTokenizer.from_pretrained(FILE)) == 512

    def test_devices(self, model: CausalLM) -> None:
        assert model.eval() is model.to("cpu") is model.to(model.device) is model
        assert (model.device, model.device.type) == ("cpu", "cpu")
        message = r"^the device is 'cuda', but this library runs on the CPU only: use 'cpu'$"
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            model.to("cuda")
        for device_map in ("auto", "cpu", {"": "cpu"}):
            AutoModelForCausalLM.from_pretrained(FILE, device_map=device_map, torch_dtype="auto")
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            AutoModelForCausalLM.from_pretrained(FILE, device_map={"": "cuda"})

    def test_config(self, model: CausalLM) -> None:
        config = model.config
        assert (config.vocab_size, config.n_positions, config.n_embd, config.n_layer) == (512, 256, 256, 2)
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (256, 2, 4)
        assert (config.max_position_embeddings, config.multi_query, config.eos_token_id) == (256, True, 0)
        assert AutoModelForCausalLM.from_pretrained(FILE, context=20).config.n_positions == 20
        assert repr(model).startswith(f"<CausalLM {str(FILE)!r}: <SantaCoder 'random'")

    def test_what_changes_nothing_is_accepted(self) -> None:
        off: dict[str, Any] = {"config": None, "subfolder": "", "load_in_8bit": False, "quantization_config": None}
        AutoModelForCausalLM.from_pretrained(FILE, **off, use_safetensors=True, variant=None, max_memory={0: 1})
        message = r"^load_in_8bit is True, but from_pretrained\(\) lacks this feature: load_in_8bit may only be False$"
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            AutoModelForCausalLM.from_pretrained(FILE, load_in_8bit=True)
        with pytest.raises(TypeError, match=r"^from_pretrained\(\) got an unexpected keyword argument 'colour'$"):
            AutoModelForCausalLM.from_pretrained(FILE, colour="red")

    def test_attributes(self, model: CausalLM) -> None:
        config = model.engine.config
        assert model.half() is model.float() is model.bfloat16() is model.cpu() is model.train(False) is model
        assert model.requires_grad_(False) is model.to("cpu", np.float32) is model.to(dtype=np.float16) is model
        assert (model.training, model.can_generate()) == (False, True)
        first, second, *_ = model.parameters()
        assert first.shape == (config.vocab_size, config.embedding_length)
        assert second.shape == (config.context_length, config.embedding_length)
        assert (first.device.type, first.dtype, first.requires_grad) == ("cpu", model.dtype, False)
        total = sum(each.numel() for each in model.parameters())
        assert model.num_parameters() == total == file_facts(FILE).parameters
        assert model.num_parameters(exclude_embeddings=True) == total - first.numel() - second.numel()
        assert model.num_parameters(only_trainable=True) == 0
        assert model.get_memory_footprint() == model.engine.weights_bytes
        values = model.config.to_dict()
        assert (values["n_layer"], values["model_type"], values["use_cache"]) == (2, "gpt_bigcode", True)
        assert json.loads(model.config.to_json_string()) == values
        for refused in (model.train, model.requires_grad_):
            with pytest.raises(santacoder.InvalidRequestError, match=r"^the model cannot be trained"):
                refused()
        with pytest.raises(santacoder.InvalidRequestError, match=r"^the device is 'cuda', but"):
            model.cuda()

    def test_importing_santacoder_stays_quick(self) -> None:
        code = (
            "import sys, santacoder; assert 'santacoder.hf' not in sys.modules and 'numpy' not in sys.modules;"
            "import santacoder.hf; assert not {'torch', 'huggingface_hub'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestGenerate:
    def test_greedy_batch_equals_single_rows(self, model: CausalLM, tokenizer: CodeTokenizer) -> None:
        batch = tokenizer(PROMPTS, padding=True, return_tensors="np")
        outputs = model.generate(**batch, max_new_tokens=30)
        assert outputs.dtype == np.int64
        assert outputs[:, : batch.input_ids.shape[1]].tolist() == batch.input_ids.tolist()
        for prompt, row, mask in zip(PROMPTS, outputs, batch.attention_mask, strict=True):
            padding = len(mask) - int(mask.sum())
            expected = continued(model, prompt, max_tokens=30, temperature=0)
            assert row[padding:].tolist() == [*expected, *[0] * (len(row) - padding - len(expected))]

    def test_sampled_batch_equals_single_rows(self, model: CausalLM, tokenizer: CodeTokenizer) -> None:
        options: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "seed": 5, "max_new_tokens": 12}
        batch = tokenizer(PROMPTS, padding=True, return_tensors="np")
        outputs = model.generate(**batch, **options, repetition_penalty=1.2, num_return_sequences=2)
        assert outputs.shape[0] == 6
        for i, prompt in enumerate(PROMPTS):
            lone = model.generate(ids_of(model, prompt), **options, repetition_penalty=1.2, num_return_sequences=2)
            padding = batch.input_ids.shape[1] - ids_of(model, prompt).shape[1]
            for row, other in zip(outputs[2 * i : 2 * i + 2, padding:], lone, strict=True):
                length = min(len(row), len(other))
                assert row[:length].tolist() == other[:length].tolist()
                assert not row[length:].any()
            assert lone[0].tolist() != lone[1].tolist()
            penalties = {"temperature": 0.8, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.2, "seed": 5}
            expected = continued(model, prompt, max_tokens=12, **penalties)
            assert lone[0, : len(expected)].tolist() == expected

    def test_equal_prompts_get_different_samples(self, model: CausalLM) -> None:
        ids = ids_of(model, PROMPTS[0]).repeat(3, axis=0)
        options: dict[str, Any] = {"do_sample": True, "seed": 1, "max_new_tokens": 8, "eos_token_id": []}
        rows = model.generate(ids, **options).tolist()
        assert len({tuple(row) for row in rows}) == 3
        assert rows == model.generate(ids[:1], num_return_sequences=3, **options).tolist()

    def test_masked_ids_do_not_count_wherever_they_are(self, model: CausalLM) -> None:
        ids = ids_of(model, PROMPTS[0])
        right = np.concatenate([ids, np.full((1, 4), -100)], axis=1)
        new = model.generate(right, attention_mask=right >= 0, max_new_tokens=5)
        assert new[0, :-5].tolist() == right[0].tolist()
        assert new[0, -5:].tolist() == model.generate(ids, max_new_tokens=5)[0, -5:].tolist()

    def test_ends(self, model: CausalLM) -> None:
        ids = ids_of(model, PROMPTS[0])
        free = model.generate(ids, max_new_tokens=10, eos_token_id=[])[0, ids.shape[1] :].tolist()
        assert len(free) == 10
        end = next(token for i, token in enumerate(free) if i > 1 and token not in free[:i])
        stopped = free[: free.index(end) + 1]
        for ends in (end, [end], [500, end], np.int64(end)):
            assert model.generate(ids, max_new_tokens=10, eos_token_id=ends)[0, ids.shape[1] :].tolist() == stopped
        both = np.arange(10, 20).reshape(2, 5)
        rows = model.generate(both, max_new_tokens=10, eos_token_id=[], pad_token_id=9)[:, 5:]
        end = int(rows[0, 2])
        cut = model.generate(both, max_new_tokens=10, eos_token_id=end, pad_token_id=9)[:, 5:]
        for row, free_row in zip(cut.tolist(), rows.tolist(), strict=True):
            length = free_row.index(end) + 1 if end in free_row else 10
            assert row == [*free_row[:length], *[9] * (len(row) - length)]

    def test_stop_strings(self, model: CausalLM, tokenizer: CodeTokenizer) -> None:
        ids = ids_of(model, PROMPTS[0])
        free = model.generate(ids, max_new_tokens=10)[0]
        text = tokenizer.decode(free[ids.shape[1] + 3])
        stopped = model.generate(ids, max_new_tokens=10, stop_strings=[text], tokenizer=tokenizer)[0]
        assert stopped.tolist() == free[: len(stopped)].tolist()
        assert text in tokenizer.decode(stopped[ids.shape[1] :])
        assert len(stopped) <= ids.shape[1] + 4

    def test_lengths(self, model: CausalLM) -> None:
        ids = ids_of(model, PROMPTS[0])
        length = ids.shape[1]
        options: dict[str, Any] = {"eos_token_id": []}
        assert model.generate(ids, **options).shape == (1, length + 20)
        assert model.generate(ids, max_length=length + 3, **options).shape == (1, length + 3)
        assert model.generate(ids, max_length=2, max_new_tokens=4, **options).shape == (1, length + 4)
        assert model.generate(np.full((1, 250), 7), **options).shape == (1, 256)  # all that fits in the context
        message = rf"^max_length is {length}, but the prompt already has {length} tokens: set max_new_tokens$"
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            model.generate(ids, max_length=length)
        with pytest.raises(
            santacoder.ContextOverflowError, match=rf"^the prompt has {length} tokens and max_tokens is 256"
        ):
            model.generate(ids, max_new_tokens=256)

    def test_without_prompt(self, model: CausalLM) -> None:
        start = model.generate(max_new_tokens=3, eos_token_id=[])
        assert start.tolist() == model.generate(np.array([[0]]), max_new_tokens=3, eos_token_id=[]).tolist()

    def test_seeds(self, model: CausalLM) -> None:
        ids = ids_of(model, PROMPTS[0])
        options: dict[str, Any] = {"do_sample": True, "max_new_tokens": 10, "eos_token_id": []}
        set_seed(7)
        first, second = (model.generate(ids, **options).tolist() for _ in range(2))
        assert first != second
        np.random.seed(7)
        assert model.generate(ids, **options).tolist() == first
        assert model.generate(ids, **options).tolist() == second
        assert model.generate(ids, seed=3, **options).tolist() == model.generate(ids, seed=3, **options).tolist()

    def test_generation_config(self) -> None:
        model = AutoModelForCausalLM.from_pretrained(FILE)
        ids = ids_of(model, "x")
        model.generation_config.max_new_tokens = 2
        assert model.generate(ids, eos_token_id=[]).shape == (1, ids.shape[1] + 2)
        with pytest.raises(santacoder.InvalidRequestError, match=r"^generation_config is \{'max_new_tokens': 3\}, but"):
            model.generate(ids, generation_config={"max_new_tokens": 3})
        given = GenerationConfig(max_new_tokens=3, eos_token_id=[])
        assert model.generate(ids, given).shape == (1, ids.shape[1] + 3)
        assert model.generate(ids, generation_config=given, max_new_tokens=4).shape == (1, ids.shape[1] + 4)
        assert given.max_new_tokens == 3
        assert GenerationConfig(max_new_tokens=3, eos_token_id=[]) == given
        assert given.update(max_new_tokens=5, top_k=7, num_beams=1) == {}
        assert (given.max_new_tokens, given.to_dict()["top_k"]) == (5, 7)
        assert given.to_diff_dict() == {"max_new_tokens": 5, "top_k": 7, "eos_token_id": []}
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^num_beams is 2, but generate\(\) lacks this feature"
        ):
            given.update(max_new_tokens=6, num_beams=2)
        assert given.max_new_tokens == 5

    def test_generation_config_knows_what_is_missing(self) -> None:
        off: dict[str, Any] = {"num_beams": 1, "no_repeat_ngram_size": 0, "cache_implementation": "static"}
        config: Any = GenerationConfig(max_new_tokens=3, **off)
        assert config == GenerationConfig(max_new_tokens=3)
        config.length_penalty = 1.0
        assert (config.num_beams, config.length_penalty) == (1, 1.0)
        for name, message in (
            ("num_beams", r"^num_beams is 4, but generate\(\) lacks"),
            ("colour", "does not know colour"),
        ):
            wrong: dict[str, Any] = {name: 4}
            with pytest.raises(santacoder.InvalidRequestError, match=message):
                GenerationConfig(**wrong)
            with pytest.raises(santacoder.InvalidRequestError, match=message):
                setattr(config, name, 4)
        with pytest.raises(AttributeError, match=r"^GenerationConfig has no attribute 'colour'$"):
            config.colour  # noqa: B018
        assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config

    def test_generation_config_of_transformers(self, model: CausalLM) -> None:
        """Its values that are not its defaults replace those of the model's configuration."""

        class Theirs:
            def __init__(self, **values: Any) -> None:
                self.values = values

            def to_diff_dict(self) -> dict[str, Any]:
                return {"transformers_version": "5.0.0", **self.values}

        ids = ids_of(model, "x")
        config = Theirs(max_new_tokens=4, eos_token_id=[], num_beams=1, _from_model_config=True)
        assert model.generate(ids, config).shape == (1, ids.shape[1] + 4)
        assert model.generate(ids, config, max_new_tokens=2).shape == (1, ids.shape[1] + 2)
        with pytest.raises(
            santacoder.InvalidRequestError, match=r"^num_beams is 3, but generate\(\) lacks this feature"
        ):
            model.generate(ids, Theirs(num_beams=3))

    def test_sampling_values_without_sampling(self, model: CausalLM) -> None:
        with pytest.warns(UserWarning, match="^temperature has no effect without do_sample=True$"):
            model.generate(ids_of(model, "x"), temperature=0.5, max_new_tokens=1)
        model.generate(ids_of(model, "x"), temperature=None, top_k=None, top_p=None, max_new_tokens=1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_beams": 4}, "num_beams is 4, but generate() lacks this feature: num_beams may only be 1"),
            ({"streamer": object()}, "streamer is <object object"),
            ({"max_time": -1}, "max_time is -1, but it must be a number of 0 or more"),
            ({"foo": 1, "bar": 2}, "generate() does not know bar, foo; it takes max_new_tokens, max_length, "),
            ({"num_return_sequences": 2}, "num_return_sequences is 2, but without do_sample all would be equal"),
            ({"num_return_sequences": 0}, "num_return_sequences is 0, but it must be an integer of 1 or more"),
            ({"do_sample": True, "temperature": 0.0}, "temperature is 0, but sampling needs one above 0"),
            ({"do_sample": True, "temperature": -1.0}, "temperature is -1.0, but it must be a finite number"),
            ({"do_sample": True, "seed": -1}, "seed is -1, but it must be an integer in 0..18446744073709551615"),
            ({"max_new_tokens": 0}, "max_new_tokens is 0, but it must be an integer of 1 or more"),
            ({"max_length": "9"}, "max_length is '9', but it must be an integer of 1 or more"),
            ({"eos_token_id": 512}, "eos_token_id is 512, but it must be an integer in 0..511"),
            ({"eos_token_id": 7.0}, "eos_token_id is 7.0, but it must be an integer in 0..511"),
            ({"eos_token_id": "x"}, "eos_token_id is 'x', but it must be an integer in 0..511"),
            ({"pad_token_id": -1}, "pad_token_id is -1, but it must be an integer in 0..511"),
        ],
    )
    def test_bad_options(self, model: CausalLM, options: dict[str, Any], message: str) -> None:
        with pytest.raises(santacoder.InvalidRequestError) as error:
            model.generate(ids_of(model, "x"), **options)
        assert isinstance(error.value, ValueError)
        assert str(error.value).startswith(message)

    def test_what_changes_nothing_is_accepted(self, model: CausalLM) -> None:
        model.generate(ids_of(model, "x"), max_new_tokens=1, num_beams=1, use_cache=True, return_dict_in_generate=False)

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            ([[1, 2]], "input_ids is a list, but it must be a tensor or an array"),
            (np.array([1, 2]), "input_ids is int64 of the shape (2,), but it must be (B, T) integers"),
            (np.array([[1.0]]), "input_ids is float64 of the shape (1, 1), but it must be (B, T) integers"),
            (np.array([[512]]), "input_ids[0, 0] is 512, but it must be an integer in 0..511"),
            (np.array([[5, 6], [7, -1]]), "input_ids[1, 1] is -1, but it must be an integer in 0..511"),
        ],
    )
    def test_bad_ids(self, model: CausalLM, ids: Any, message: str) -> None:
        for call in (model, model.generate):
            with pytest.raises(santacoder.InvalidRequestError) as error:
                call(ids)
            assert str(error.value).startswith(message)

    def test_bad_mask(self, model: CausalLM) -> None:
        message = r"^attention_mask has the shape \(2,\), but input_ids has \(1, 2\)$"
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            model.generate(np.array([[1, 2]]), attention_mask=np.array([1, 1]))


def test_logits(model: CausalLM, tokenizer: CodeTokenizer) -> None:
    batch = tokenizer(PROMPTS, padding=True, return_tensors="np")
    output = model(**batch)
    assert output.logits is output[0]
    assert output.logits.shape == (*batch.input_ids.shape, 512)
    assert output.logits.dtype == np.float32
    for prompt, rows, mask in zip(PROMPTS, output.logits, batch.attention_mask == 1, strict=True):
        np.testing.assert_array_equal(rows[mask], model.engine.logits(prompt))
        assert not rows[~mask].any()


class TestForward:
    def test_what_changes_nothing_is_accepted(self, model: CausalLM) -> None:
        ids = np.array([[5, 6, 7]])
        plain = model(ids).logits
        off = {"past_key_values": None, "position_ids": None, "output_attentions": False, "output_hidden_states": None}
        output = model(input_ids=ids, use_cache=True, return_dict=True, **off)
        np.testing.assert_array_equal(output["logits"], plain)
        assert list(output) == ["logits"]
        assert output.loss is None
        as_tuple: Any = model(ids, return_dict=False)
        assert type(as_tuple) is tuple
        np.testing.assert_array_equal(as_tuple[0], plain)
        for kept in (1, 2, 5):
            np.testing.assert_array_equal(model(ids, logits_to_keep=kept).logits, plain[:, -kept:])

    def test_loss(self, model: CausalLM) -> None:
        ids = np.array([[5, 6, 7, 8], [9, 10, 11, 12]])
        labels = np.array([[5, 6, -100, 8], [-100, -100, 11, 12]])
        output = model(ids, labels=labels)
        assert list(output) == ["loss", "logits"]
        assert (output.loss.shape, output.loss.dtype) == ((), np.float32)
        first, second = (np.array(model.engine.score(row.tolist()).logprobs, dtype=np.float64) for row in ids)
        assert output.loss == pytest.approx(-np.mean([first[1], first[3], second[2], second[3]]), abs=1e-6)
        assert np.isnan(model(ids, labels=np.full((2, 4), -100)).loss)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"labels": np.array([[1]])},
                "labels is int64 of the shape (1, 1), but it must be integers of the shape (1,",
            ),
            ({"labels": [[1, 512]]}, "labels[0, 1] is 512, but it must be an integer in 0..511 or -100"),
            (
                {"past_key_values": ()},
                "past_key_values is (), but model() lacks this feature",
            ),
            ({"output_attentions": True}, "output_attentions is True, but model() lacks this feature"),
            ({"logits_to_keep": -1}, "logits_to_keep is -1, but it must be an integer of 0 or more"),
        ],
    )
    def test_bad_options(self, model: CausalLM, options: dict[str, Any], message: str) -> None:
        with pytest.raises(santacoder.InvalidRequestError) as error:
            model(np.array([[1, 2]]), **options)
        assert str(error.value).startswith(message)


class TestTorch:
    def test_model_card(self) -> None:
        """As `TestLoading.test_model_card`, with the card's own words."""
        torch = pytest.importorskip("torch")
        checkpoint = str(FILE)
        device = "cpu"
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True).to(device)
        inputs = tokenizer.encode("def print_hello_world():", return_tensors="pt").to(device)
        outputs = model.generate(inputs)
        assert isinstance(outputs, torch.Tensor)
        assert outputs.dtype == torch.long
        assert outputs.numpy().tolist() == model.generate(inputs.numpy()).tolist()
        assert tokenizer.decode(outputs[0]).startswith("def print_hello_world():")
        input_text = "<fim-prefix>def print_hello_world():\n    <fim-suffix>\n    print('Hello world!')<fim-middle>"
        inputs = tokenizer.encode(input_text, return_tensors="pt").to(torch.device(device))
        outputs = model.generate(inputs)
        assert tokenizer.decode(outputs[0]).startswith(input_text)

    def test_infilling_demo(self) -> None:
        """The way that BigCode's demonstrations infill a batch."""
        torch = pytest.importorskip("torch")
        special = ["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"]
        tokenizer = AutoTokenizer.from_pretrained(str(FILE), padding_side="left")
        tokenizer.add_special_tokens({"additional_special_tokens": special, "pad_token": special[0]})
        model = AutoModelForCausalLM.from_pretrained(str(FILE), torch_dtype=torch.float16).to("cpu").eval()
        prompts = [f"<fim-prefix>{a}<fim-suffix>{b}<fim-middle>" for a, b in (("a = ", "\n"), ("def f():\n", "return"))]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to("cpu")
        max_length = inputs.input_ids[0].size(0) + 12
        options: dict[str, Any] = {"do_sample": True, "temperature": 0.8, "max_length": max_length}
        torch.manual_seed(0)
        with torch.no_grad():
            outputs = model.generate(**inputs, **options, pad_token_id=tokenizer.pad_token_id)
        torch.manual_seed(0)
        assert torch.equal(outputs, model.generate(**inputs, **options))
        texts = [tokenizer.decode(tensor, skip_special_tokens=False) for tensor in outputs]
        assert prompts[1] in texts[1]

    def test_logits_and_devices(self, model: CausalLM) -> None:
        torch = pytest.importorskip("torch")
        ids = torch.tensor([[5, 6, 7]])
        logits = model(ids, attention_mask=torch.ones_like(ids)).logits
        np.testing.assert_array_equal(logits.numpy(), model(ids.numpy()).logits)
        assert model.to(torch.device("cpu")) is model
        assert ids.to(model.device) is ids
        assert model.device == torch.device("cpu")
        assert torch.device("cpu") == model.device
        assert model.device != torch.device("meta")
        assert model.dtype is next(model.parameters()).dtype is torch.float32
        assert model.to(torch.float16) is model.to(device=model.device, dtype=model.dtype) is model
        loss = model(ids, labels=ids).loss
        assert loss.item() == pytest.approx(float(model(ids.numpy(), labels=ids.numpy()).loss))
        with pytest.raises(santacoder.InvalidRequestError, match=r"^the device is 'meta', but"):
            model(ids.to("meta"))
        set_seed(1)
        first = model.generate(ids, do_sample=True)
        set_seed(1)
        assert torch.equal(first, model.generate(ids, do_sample=True))


def test_without_torch(tokenizer: CodeTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ImportError, match=r"needs the package torch: install it .* or use return_tensors='np'$"
    ) as error:
        tokenizer("x", return_tensors="pt")
    assert isinstance(error.value, santacoder.MissingPackageError)
    set_seed(1)
