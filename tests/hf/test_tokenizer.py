"""The tokenizer with the interface of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.gguf.reader import GGUFFile
from santacoder.hf import AutoTokenizer, BatchEncoding, CodeTokenizer
from santacoder.text.tokenizer import Tokenizer
from tests.support.paths import DATA, FILE, distributed

TEXTS = ["def f():", "x", ""]


@pytest.fixture
def tokenizer() -> CodeTokenizer:
    return AutoTokenizer.from_pretrained(FILE)


@pytest.fixture(scope="module")
def starcoder() -> CodeTokenizer:
    with GGUFFile.open(distributed(DATA / "ggml-vocab-starcoder.gguf")) as file:
        return CodeTokenizer(Tokenizer.from_gguf(file, 49152), 8192)


def test_lists(tokenizer: CodeTokenizer) -> None:
    inner = tokenizer._tokenizer
    one = tokenizer("def f():")
    assert one == {"input_ids": inner.encode("def f():"), "attention_mask": [1] * len(one.input_ids)}
    assert tokenizer.encode("def f():") == one.input_ids
    many = tokenizer(TEXTS)
    assert many.input_ids == [inner.encode(text) for text in TEXTS]
    assert many.attention_mask == [[1] * len(row) for row in many.input_ids]
    assert list(tokenizer("x", return_attention_mask=False)) == ["input_ids"]
    assert tokenizer([]) == {"input_ids": [], "attention_mask": []}
    assert tokenizer("<fim-middle>").input_ids == [2]
    assert tokenizer("<fim-middle>", split_special_tokens=True).input_ids == inner.encode("<fim-middle>", special=False)


def test_arrays(tokenizer: CodeTokenizer) -> None:
    batch = tokenizer("def f():", return_tensors="np")
    assert batch.input_ids.shape == (1, len(tokenizer.encode("def f():")))
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int64
    assert type(tokenizer.encode("x", return_tensors="np")) is np.ndarray
    assert tokenizer("", return_tensors="np").input_ids.shape == (1, 0)
    with pytest.raises(santacoder.InvalidRequestError, match=r"^the texts have 0 to \d tokens, which makes no tensor"):
        tokenizer(TEXTS, return_tensors="np")
    with pytest.raises(santacoder.InvalidRequestError, match=r"^return_tensors is 'tf', but it must be 'pt', 'np' or"):
        tokenizer("x", return_tensors="tf")


def test_padding(tokenizer: CodeTokenizer) -> None:
    rows = tokenizer(TEXTS).input_ids
    longest = max(map(len, rows))
    for padding in (True, "longest"):
        batch = tokenizer(TEXTS, padding=padding)
        assert batch.input_ids == [[0] * (longest - len(row)) + row for row in rows]
        assert batch.attention_mask == [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    assert [len(row) for row in tokenizer(TEXTS, padding="max_length").input_ids] == [256] * 3
    assert [len(row) for row in tokenizer(TEXTS, padding="max_length", max_length=9).input_ids] == [9] * 3
    tokenizer.padding_side = "right"
    tokenizer.pad_token = "<fim-pad>"
    assert tokenizer(TEXTS, padding=True).input_ids == [row + [4] * (longest - len(row)) for row in rows]
    assert tokenizer(TEXTS, padding=True, return_tensors="np").input_ids.shape == (3, longest)
    assert tokenizer(TEXTS, padding=False) == tokenizer(TEXTS, padding="do_not_pad") == tokenizer(TEXTS)


def test_pad(tokenizer: CodeTokenizer) -> None:
    expected = tokenizer(TEXTS, padding=True)
    each = [tokenizer(text) for text in TEXTS]
    assert tokenizer.pad(each) == tokenizer.pad(tokenizer(TEXTS)) == expected
    assert tokenizer.pad({"input_ids": tokenizer(TEXTS).input_ids}) == expected
    assert tokenizer.pad([{"input_ids": row.input_ids} for row in each], return_attention_mask=False) == {
        "input_ids": expected.input_ids
    }
    arrays = tokenizer.pad([{"input_ids": np.array(row.input_ids, dtype=np.int64)} for row in each])
    assert isinstance(arrays.input_ids, np.ndarray)
    assert arrays.input_ids.tolist() == expected.input_ids
    with pytest.raises(santacoder.InvalidRequestError, match=r"^input_ids is \[\[\[.*, but it must be one row, or a"):
        tokenizer.pad([tokenizer("x", return_tensors="np")])
    assert tokenizer.pad(each, return_tensors="np").input_ids.tolist() == expected.input_ids
    one = tokenizer.pad(tokenizer("x"), padding="max_length", max_length=4, padding_side="right")
    assert one == {"input_ids": [*tokenizer.encode("x"), 0, 0, 0], "attention_mask": [1, 0, 0, 0]}
    assert [len(row) for row in tokenizer.pad(each, pad_to_multiple_of=8).input_ids] == [8] * 3
    assert [len(row) for row in tokenizer(TEXTS, padding=True, pad_to_multiple_of=6).input_ids] == [6] * 3
    assert tokenizer(TEXTS, pad_to_multiple_of=6) == tokenizer(TEXTS)
    for wrong in ({"attention_mask": [1]}, [], 5, [5]):
        with pytest.raises(santacoder.InvalidRequestError, match=r"^encoded_inputs is .*, but it must be results of"):
            tokenizer.pad(wrong)  # type: ignore[arg-type]


def test_offsets(tokenizer: CodeTokenizer) -> None:
    text = "def f(é):\n    return '旧𝒳'<|endoftext|> x"
    one = tokenizer(text, return_offsets_mapping=True)
    pairs = one.offset_mapping
    assert len(pairs) == len(one.input_ids)
    assert pairs[0][0] == 0
    assert pairs[-1][1] == len(text)
    for token, (start, stop) in zip(one.input_ids, pairs, strict=True):
        data = tokenizer._tokenizer.token_bytes(token)
        assert data in text[start:stop].encode()
        assert data.decode(errors="ignore") in ("", text[start:stop])
    many = tokenizer([text, "x"], return_offsets_mapping=True, padding=True, return_tensors="np")
    assert many.offset_mapping.shape == (*many.input_ids.shape, 2)
    assert many.offset_mapping[0].tolist() == [list(pair) for pair in pairs]
    assert many.offset_mapping[1, :-1].tolist() == [[0, 0]] * (len(pairs) - 1)
    assert tokenizer(text, return_offsets_mapping=True, max_length=3).offset_mapping == pairs[:3]
    assert tokenizer([], return_offsets_mapping=True, return_tensors="np").offset_mapping.shape == (0, 0, 2)
    assert tokenizer.is_fast


def test_what_changes_nothing_is_accepted(tokenizer: CodeTokenizer) -> None:
    off: dict[str, Any] = {
        "text_pair": None,
        "stride": 0,
        "is_split_into_words": False,
        "return_overflowing_tokens": False,
    }
    plain = tokenizer("def f():")
    assert tokenizer("def f():", add_special_tokens=False, verbose=False, padding_side=None, **off) == plain
    assert tokenizer("def f():", return_token_type_ids=None, return_attention_mask=None) == plain
    assert tokenizer.decode(plain.input_ids, spaces_between_special_tokens=False) == "def f():"
    AutoTokenizer.from_pretrained(FILE, config=None, subfolder="", tokenizer_type=None, use_fast=True, proxies=None)


def test_chat_template(tokenizer: CodeTokenizer) -> None:
    assert tokenizer.chat_template is None
    with pytest.raises(
        santacoder.InvalidRequestError, match=r"^apply_chat_template\(\) needs a chat template, and Santa"
    ):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)


def test_truncation(tokenizer: CodeTokenizer) -> None:
    ids = tokenizer.encode("def f():")
    assert tokenizer.encode("def f():", truncation=True, max_length=2) == ids[:2]
    assert tokenizer.encode("def f():", max_length=2) == ids[:2]
    assert tokenizer.encode("def f():", max_length=2, truncation=False) == ids
    assert tokenizer.encode("def f():", max_length=2, padding=True) == ids
    assert len(tokenizer.encode("x " * 500, truncation=True)) == tokenizer.model_max_length == 256
    tokenizer.truncation_side = "left"
    assert tokenizer.encode("def f():", truncation="longest_first", max_length=2) == ids[-2:]
    short = AutoTokenizer.from_pretrained(FILE, model_max_length=3, truncation_side="left", pad_token="<fim-pad>")
    assert (short.encode("def f():", truncation=True), short.pad_token_id) == (ids[-3:], 4)


def test_decode(tokenizer: CodeTokenizer) -> None:
    text = "<fim-prefix>a = 1<|endoftext|>"
    ids = tokenizer.encode(text)
    for form in (ids, tuple(ids), np.array(ids), np.array(ids, dtype=np.uint16)):
        assert tokenizer.decode(form) == "<fim-prefix>a = 1<|endoftext|>"
        assert tokenizer.decode(form, skip_special_tokens=True) == "a = 1"
    for one in (2, np.int64(2), np.array(2)):
        assert tokenizer.decode(one) == "<fim-middle>"
    batch = tokenizer(["a = 1", "x"], padding=True, return_tensors="np").input_ids
    assert tokenizer.batch_decode(batch, skip_special_tokens=True) == ["a = 1", "x"]
    assert tokenizer.batch_decode([ids, [2]], skip_special_tokens=True) == ["a = 1", ""]
    both: Any = tokenizer.decode(batch, skip_special_tokens=True)
    assert both == ["a = 1", "x"]
    for form in ([ids, [2]], (np.array(ids), np.array([2]))):
        both = tokenizer.decode(form)
        assert both == [text, "<fim-middle>"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == tokenizer.decode(ids)


def test_tokens(tokenizer: CodeTokenizer) -> None:
    tokens = tokenizer.tokenize("é = f()")
    ids = tokenizer.encode("é = f()")
    assert tokenizer.convert_tokens_to_ids(tokens) == ids
    assert tokenizer.convert_ids_to_tokens(ids) == tokenizer.convert_ids_to_tokens(np.array(ids)) == tokens
    assert tokenizer.convert_tokens_to_string(tokens) == "é = f()"
    assert (tokenizer.convert_tokens_to_ids("<fim-suffix>"), tokenizer.convert_ids_to_tokens(3)) == (3, "<fim-suffix>")
    assert tokenizer.convert_tokens_to_ids("no such token") == tokenizer.unk_token_id
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer) == tokenizer.vocab_size == 512
    assert [vocabulary[token] for token in tokens] == ids


def test_special_tokens(tokenizer: CodeTokenizer) -> None:
    end = "<|endoftext|>"
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token, tokenizer.pad_token) == (end,) * 4
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id) == (0, 0, 0)
    assert tokenizer.all_special_ids == [0, 1, 2, 3, 4]
    assert tokenizer.all_special_tokens == [end, "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"]
    names = ["bos_token", "eos_token", "unk_token", "pad_token"]
    assert tokenizer.special_tokens_map == dict.fromkeys(names, end)
    assert tokenizer.add_special_tokens({"additional_special_tokens": [end], "pad_token": "<fim-pad>"}) == 0
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<fim-pad>", 4)
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == 0
    tokenizer.pad_token = None
    with pytest.raises(santacoder.InvalidRequestError, match=r"^padding needs a pad_token"):
        tokenizer(TEXTS, padding=True)
    with pytest.raises(
        santacoder.InvalidRequestError, match=r"^pad_token has '<x>', but the vocabulary has no such token"
    ):
        tokenizer.pad_token = "<x>"
    with pytest.raises(santacoder.InvalidRequestError, match=r"^sep_token has 'a', but it is an ordinary token"):
        tokenizer.add_special_tokens({"sep_token": "a"})


def test_starcoder_vocabulary(starcoder: CodeTokenizer) -> None:
    text = "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)  # 旧"
    assert starcoder.decode(starcoder.encode(text)) == text
    assert len(starcoder) == 49152
    assert starcoder.tokenize("def f") == ["def", "Ġf"]
    prompt = "<fim_prefix>a<fim_suffix>b<fim_middle>"
    assert starcoder.decode(starcoder.encode(prompt), skip_special_tokens=True) == "ab"
    assert starcoder.special_tokens_map["eos_token"] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "most"}, "padding is 'most', but it must be one of [False, 'do_not_pad', True, 'longest', 'max"),
        ({"truncation": "none"}, "truncation is 'none', but it must be one of [False, 'do_not_truncate', True, "),
        ({"max_length": 0}, "max_length is 0, but it must be an integer of 1 or more"),
        ({"text_pair": "y"}, "text_pair is 'y', but tokenizer() lacks this feature: text_pair may only be None"),
        ({"stride": 2}, "stride is 2, but tokenizer() lacks this feature: stride may only be 0"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of is 0, but it must be an integer of 1 or more"),
        ({"return_token_type_ids": True}, "return_token_type_ids is True, but the model has no token types"),
    ],
)
def test_bad_options(tokenizer: CodeTokenizer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(santacoder.InvalidRequestError) as error:
        tokenizer("x", **options)
    assert str(error.value).startswith(message)


def test_bad_values(tokenizer: CodeTokenizer) -> None:
    tokenizer.padding_side = "up"  # type: ignore[assignment]
    with pytest.raises(
        santacoder.InvalidRequestError, match=r"^padding_side is 'up', but it must be 'left' or 'right'$"
    ):
        tokenizer(TEXTS, padding=True)
    with pytest.raises(santacoder.InvalidRequestError, match=r"^token id 512 is not in 0\.\.511$"):
        tokenizer.decode([512])
    with pytest.raises(santacoder.InvalidRequestError, match=r"^clean_up_tokenization_spaces is True"):
        tokenizer.decode([5], clean_up_tokenization_spaces=True)
    for call in (
        lambda: tokenizer(5),  # type: ignore[arg-type]
        lambda: tokenizer("x", padding=[]),  # type: ignore[arg-type]
        lambda: tokenizer("x", return_tensors=["pt"]),  # type: ignore[arg-type]
        lambda: tokenizer.decode(None),
        lambda: tokenizer.convert_ids_to_tokens("a"),
        lambda: tokenizer.convert_ids_to_tokens(1.5),
        lambda: tokenizer.convert_tokens_to_ids(None),  # type: ignore[arg-type]
        lambda: tokenizer.add_special_tokens({"pad_token": None}),  # type: ignore[dict-item]
        lambda: AutoTokenizer.from_pretrained("a\0b"),
    ):
        with pytest.raises(santacoder.InvalidRequestError):
            call()
    with pytest.raises(TypeError, match=r"^tokenizer\(\) got an unexpected keyword argument 'colour'$"):
        tokenizer("x", colour="red")
    message = r"^load_in_8bit is True, but from_pretrained\(\) lacks this feature: load_in_8bit may only be False$"
    with pytest.raises(santacoder.InvalidRequestError, match=message):
        AutoTokenizer.from_pretrained(FILE, load_in_8bit=True)
    with pytest.raises(santacoder.InvalidRequestError, match=r"^the text is a int, but it must be a str$"):
        tokenizer([5])  # type: ignore[list-item]


@pytest.mark.parametrize("length", [0, -1, 2.5, True])
def test_bad_model_max_length(length: Any) -> None:
    with pytest.raises(santacoder.InvalidRequestError, match=r"^model_max_length is .*, but it must be an integer"):
        AutoTokenizer.from_pretrained(FILE, model_max_length=length)


def test_no_model_max_length() -> None:
    """As files of transformers say it."""
    tokenizer = AutoTokenizer.from_pretrained(FILE, model_max_length=int(1e30))
    assert len(tokenizer("x" * 3000, truncation=True).input_ids) > 256


def test_encoding(tokenizer: CodeTokenizer) -> None:
    batch = tokenizer("x", return_tensors="np")
    assert isinstance(batch, BatchEncoding)
    assert batch.to("cpu") is batch
    assert batch.input_ids is batch["input_ids"]
    assert {**batch}.keys() == set(tokenizer.model_input_names)
    with pytest.raises(AttributeError, match="has no attribute 'labels'"):
        batch.labels  # noqa: B018
    with pytest.raises(santacoder.InvalidRequestError, match="runs on the CPU only"):
        batch.to("cuda:0")


def test_repr(tokenizer: CodeTokenizer) -> None:
    assert repr(tokenizer) == f"<CodeTokenizer {str(FILE)!r}: 512 tokens, padding on the left>"
