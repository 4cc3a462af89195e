"""The tokenizer against llama.cpp's own test texts, round trips, streams, and broken vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.gguf.config_reader import check_tensors, read_config
from santacoder.gguf.metadata import Metadata
from santacoder.gguf.reader import GGUFFile
from santacoder.text.stream import StreamDecoder
from santacoder.text.tokenizer import PART, Tokenizer, _encode_part
from tests.support.gguf_builder import (
    ARRAY,
    I32,
    MERGES,
    SPECIALS,
    STRING,
    U8,
    GGUFBuilder,
    array,
    byte_symbols,
    scalar,
    tiny_builder,
    vocabulary,
)
from tests.support.paths import DATA
from tests.support.tokenizers import EOT, SMALL, fixture_tokenizer, tiny

TOKENS, TYPES, MERGES_KEY = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
N_TOKENS = 269


@pytest.fixture(scope="module")
def starcoder() -> Tokenizer:
    """The full StarCoder vocabulary."""
    return fixture_tokenizer("ggml-vocab-starcoder.gguf", 49152)


def swap(old: str, new: str) -> list[str]:
    """The tiny vocabulary with one token replaced."""
    tokens, _ = vocabulary(byte_symbols())
    tokens[tokens.index(old)] = new
    return tokens


FIXTURE = fixture_tokenizer("mqa-q4_k_m.gguf", 512)

# Agreement with llama.cpp.

TEXTS = (DATA / "ggml-vocab-starcoder.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
IDS = [list(map(int, line.split())) for line in (DATA / "ggml-vocab-starcoder.gguf.out").read_text().split("\n")]


@pytest.mark.parametrize(("text", "ids"), list(zip(TEXTS, IDS, strict=True)))
def test_llama_cpp_texts(starcoder: Tokenizer, text: str, ids: list[int]) -> None:
    assert starcoder.encode(text) == ids
    assert starcoder.encode(text, special=False) == ids
    assert starcoder.decode(ids) == text


def test_starcoder_special_tokens(starcoder: Tokenizer) -> None:
    assert (starcoder.eot_id, starcoder.fim_prefix_id, starcoder.fim_middle_id) == (0, 1, 2)
    assert (starcoder.fim_suffix_id, starcoder.fim_pad_id) == (3, 4)
    assert starcoder.end_ids == {0, 4}
    assert starcoder.never_sampled == (1, 2, 3)  # the markers of an infilling prompt
    assert starcoder.encode("<fim_prefix>x<fim_suffix><gh>") == [1, 125, 3, *starcoder.encode("<gh>")]


@pytest.mark.parametrize("pre", [None, "default", "starcoder", "refact"])
def test_digits_stand_alone_whatever_the_file_calls_it(pre: str | None) -> None:
    tokens = [*vocabulary(byte_symbols())[0], "12"]
    got = tiny(pre=pre, tokens=tokens, token_type=None, merges=[*MERGES, "1 2"])
    assert got.decode(got.encode("12")) == "12"
    assert len(got.encode("12")) == 2


# Round trips.

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(
    st.sampled_from([*SPECIALS, "\0", "\r\n", "\x1b", "def ", "  ", "é", "旧", "👩‍💻", "\U0010ffff", "12", "[PAD267]"])
).map("".join)


@settings(max_examples=300)
@given(text=ANY_TEXT, special=st.booleans())
def test_decode_undoes_encode(text: str, special: bool) -> None:
    for tokenizer in (SMALL, FIXTURE):
        ids = tokenizer.encode(text, special=special)
        assert tokenizer.decode(ids) == text
        assert not set(ids) & (set(tokenizer.never_sampled) - tokenizer.special_ids)


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, N_TOKENS - 1), max_size=20))
def test_stream_gives_the_same_text(ids: list[int]) -> None:
    stream = StreamDecoder(SMALL)
    pieces = [stream.feed(token) for token in ids]
    assert "".join(pieces) + stream.flush() == SMALL.decode(ids)
    assert b"".join(map(SMALL.token_bytes, ids)).decode(errors="replace") == SMALL.decode(ids)


def test_stream_holds_back_unfinished_characters() -> None:
    stream = StreamDecoder(SMALL)
    assert [stream.feed(byte) for byte in "a旧b".encode()] == ["a", "", "", "旧", "b"]
    assert [stream.feed(0xF0), stream.feed(0x9F), stream.flush()] == ["", "", "\ufffd"]
    assert [stream.feed(0xE6), stream.feed(ord("x")), stream.flush()] == ["", "\ufffdx", ""]


def test_partial_characters_of_the_full_vocabulary(starcoder: Tokenizer) -> None:
    ids = starcoder.encode("ab👩‍💻")
    stream = StreamDecoder(starcoder)
    assert "".join(map(stream.feed, ids)) == "ab👩‍💻"
    assert starcoder.decode(ids[:-1]).endswith("\ufffd")


def test_special_tokens_are_plain_text_on_request() -> None:
    text = "a<fim-prefix>b<|endoftext|>"
    assert SMALL.encode(text) == [ord("a"), EOT + 1, ord("b"), EOT]
    assert SMALL.encode(text, special=False) == list(text.encode())
    assert SMALL.token_bytes(EOT) == b"<|endoftext|>"


def test_token_bytes() -> None:
    assert [SMALL.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert SMALL.token_bytes(np.int64(261)) == b" ret"
    assert SMALL.token_bytes(N_TOKENS - 1) == b"[PAD268]"
    odd = tiny(tokens=swap("def", "a b€"), merges=[])
    assert odd.token_bytes(258) == "a b€".encode()


@pytest.mark.parametrize("token", [-1, N_TOKENS, 2**70])
def test_ids_outside_the_vocabulary(token: int) -> None:
    for use in (SMALL.token_bytes, StreamDecoder(SMALL).feed, lambda i: SMALL.decode([0, i])):
        with pytest.raises(InvalidRequestError, match=rf"^token id {token} is not in 0\.\.268$"):
            use(token)


@pytest.mark.parametrize("token", [1.0, "1", None])
def test_ids_that_are_no_integers(token: Any) -> None:
    with pytest.raises(InvalidRequestError, match="but it must be an integer"):
        SMALL.decode([token])


def test_text_that_cannot_be_encoded(starcoder: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match=r"character 1 of the text is the lone surrogate U\+D800"):
        SMALL.encode("a\ud800")
    with pytest.raises(InvalidRequestError, match="the text is a bytes"):
        SMALL.encode(b"a")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"U\+40000, which the vocabulary cannot spell"):
        starcoder.encode("a\U00040000")  # its vocabulary has no token for the byte 0xF1
    assert starcoder.decode(starcoder.encode("\U0003ffff\U00100000")) == "\U0003ffff\U00100000"


def test_tiny_special_ids() -> None:
    assert (SMALL.eot_id, SMALL.fim_prefix_id, SMALL.fim_middle_id) == (EOT, EOT + 1, EOT + 2)
    assert (SMALL.fim_suffix_id, SMALL.fim_pad_id) == (EOT + 3, EOT + 4)
    assert SMALL.end_ids == {EOT, EOT + 4}
    assert SMALL.never_sampled == (EOT + 1, EOT + 2, EOT + 3, 267, 268)
    assert (SMALL.vocab_size, SMALL.n_tokens) == (N_TOKENS, N_TOKENS)


@pytest.mark.parametrize("prefix_key", ["fim_pre_token_id", "prefix_token_id"])
def test_ids_from_metadata_come_before_names(prefix_key: str) -> None:
    got = tiny(**{prefix_key: 5}, fim_pad_token_id=6, eos_token_id=7)
    assert (got.fim_prefix_id, got.fim_suffix_id, got.fim_pad_id, got.eot_id) == (5, EOT + 3, 6, 7)
    assert got.end_ids == {6, 7, EOT}


def test_newer_keys_come_before_older() -> None:
    got = tiny(fim_suf_token_id=8, suffix_token_id=9, middle_token_id=10, fim_mid_token_id=11)
    assert (got.fim_suffix_id, got.fim_middle_id) == (8, 11)


def test_names_without_metadata() -> None:
    underscored = [token.replace("<fim-", "<fim_") for token in vocabulary(byte_symbols())[0]]
    got = tiny(tokens=underscored, token_type=None, eos_token_id=None)
    assert (got.eot_id, got.fim_prefix_id, got.fim_pad_id) == (EOT, EOT + 1, EOT + 4)
    assert got.encode("<fim_suffix>") == [EOT + 3]
    assert got.never_sampled == (EOT + 1, EOT + 2, EOT + 3, 267, 268)


@pytest.mark.parametrize("mode", ["psm", "spm"])
def test_the_file_names_its_order_of_infilling(mode: str) -> None:
    assert tiny(fim_mode=mode).fim_mode == mode
    assert SMALL.fim_mode == "psm"


def test_no_special_tokens_at_all() -> None:
    got = tiny(tokens=byte_symbols(), token_type=None, eos_token_id=None, merges=[])
    assert (got.eot_id, got.fim_prefix_id, got.fim_suffix_id, got.fim_middle_id, got.fim_pad_id) == (None,) * 5
    assert got.end_ids == frozenset()


@pytest.mark.parametrize(
    ("name", "kind", "is_a_token"),
    [("[PAD]", 3, True), ("[PAD]", 4, True), ("[PAD7]", 4, True), ("[PAD269]", 3, True), ("[PAD269]", 4, False)],
)
def test_added_tokens_named_like_padding(name: str, kind: int, is_a_token: bool) -> None:
    """Control tokens are not padding; user-defined ones are only with their own id, as early converters wrote it."""
    tokens, types = vocabulary(byte_symbols())
    got = tiny(tokens=[*tokens, name], token_type=np.array([*types, kind]))
    assert (got.encode(f"x{name}") == [ord("x"), N_TOKENS]) == is_a_token
    assert (N_TOKENS in got.never_sampled) != is_a_token
    assert (N_TOKENS in got.special_ids) == (kind == 3)


def test_special_tokens_are_found_before_added_ones() -> None:
    tokens, types = vocabulary(byte_symbols())
    got = tiny(tokens=[*tokens, "a<|end"], token_type=np.array([*types, 4]))
    assert got.encode("a<|endoftext|>") == [ord("a"), EOT]
    assert got.encode("a<|end") == [N_TOKENS]


def test_user_defined_tokens_are_always_found() -> None:
    tokens, types = vocabulary(byte_symbols())
    got = tiny(tokens=[*tokens, "<tab>"], token_type=np.array([*types, 4]))
    assert got.encode("a<tab>", special=False) == got.encode("a<tab>") == [ord("a"), N_TOKENS]
    assert got.decode([N_TOKENS]) == "<tab>"


@pytest.mark.parametrize("name", ["bos", "eos", "fim_pre", "fim_pad", "prefix", "middle"])
@pytest.mark.parametrize("value", [N_TOKENS, 2**32 - 1, -1])
def test_special_ids_outside_the_vocabulary(name: str, value: int) -> None:
    with pytest.raises(ModelFormatError, match=rf"^tokenizer.ggml.{name}_token_id is {value}, but it must be"):
        tiny(**{f"{name}_token_id": value})


def test_repeated_tokens_load_and_the_first_id_wins() -> None:
    got = tiny(tokens=swap("Ġret", "a"), merges=MERGES[:-1])
    assert got.encode("a") == [ord("a")]
    assert got.decode([261]) == "a"


def test_empty_and_nul_tokens_load() -> None:
    got = tiny(tokens=swap("Ġret", ""), merges=MERGES[:-1])
    assert got.decode([261, ord("x")]) == "x"
    got = tiny(tokens=swap("<fim-pad>", ""))  # an empty special token
    assert (got.fim_pad_id, got.decode(got.encode("ab"))) == (None, "ab")
    got = tiny(tokens=swap("Ġret", "a\0b"), merges=MERGES[:-1])
    assert got.token_bytes(261) == b"a\0b"


def test_no_merges() -> None:
    assert tiny(merges=[]).encode("def ret") == list(b"def ret")
    assert tiny(merges=np.array([], dtype=np.int32)).encode("def") == list(b"def")


def test_repeated_merges_keep_their_first_rank() -> None:
    assert tiny(merges=[*MERGES, *MERGES]).encode("def ret") == SMALL.encode("def ret") == [258, 261]


@pytest.mark.parametrize(
    ("merge", "problem"),
    [
        ("nospace", "has the entry [6] 'nospace', not two tokens"),
        ("a b c", "has the entry [6] 'a b c', not two tokens"),
        (" a", "has the entry [6] ' a', but '' is not a token"),
        ("a ", "has the entry [6] 'a ', but '' is not a token"),
        ("", "has the entry [6] '', not two tokens"),
        ("zz a", "has the entry [6] 'zz a', but 'zz' is not a token"),
        ("a b", "has the entry [6] 'a b', but 'ab' is not a token"),
    ],
)
@pytest.mark.parametrize("with_empty_token", [False, True])
def test_bad_merges(merge: str, problem: str, with_empty_token: bool) -> None:
    tokens = swap("[PAD267]", "") if with_empty_token else None
    changed = {"tokens": tokens} if tokens else {}
    with pytest.raises(ModelFormatError) as caught:
        tiny(merges=[*MERGES, merge], **changed)
    assert str(caught.value) == f"{MERGES_KEY} {problem}"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"model": "llama"}, "tokenizer.ggml.model is 'llama', but only 'gpt2' runs here"),
        ({"model": None}, "tokenizer.ggml.model is missing: the file has no tokenizer"),
        ({"model": 3}, "tokenizer.ggml.model is a"),
        ({"pre": "llama-bpe"}, "tokenizer.ggml.pre is 'llama-bpe', not one of ["),
        ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"merges": None}, "tokenizer.ggml.merges is missing"),
        ({"merges": "a b"}, "tokenizer.ggml.merges is a string, but it must be an array of strings"),
        ({"merges": np.ones(3)}, "but it must be an array of strings"),
        ({"token_type": np.ones(268, dtype=np.int32)}, "holds 268 types for 269 tokens"),
        ({"token_type": np.ones(269)}, "but it must be an array of integers"),
        ({"token_type": ["1"] * 269}, "but it must be an array of integers"),
        ({"scores": np.ones(270)}, "holds 270 scores for 269 tokens"),
        ({"eos_token_id": "0"}, "tokenizer.ggml.eos_token_id is a string, but it must be an integer"),
        ({"eos_token_id": True}, "tokenizer.ggml.eos_token_id is a bool"),
        ({"fim_mode": "PSM"}, "santacoder.fim_mode is 'PSM', but it must be 'psm' or 'spm'"),
        ({"fim_mode": "x" * 99}, f"santacoder.fim_mode is '{'x' * 76}..., but"),
        ({"fim_mode": 1}, "santacoder.fim_mode is an integer, but it must be a string"),
    ],
)
def test_broken_metadata(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        tiny(**changed)
    assert problem in str(caught.value)


@pytest.mark.parametrize("vocab_size", [N_TOKENS - 1, N_TOKENS + 1])
def test_vocabulary_and_embedding_must_agree(tmp_path: Path, vocab_size: int) -> None:
    out = tiny_builder()
    path = tmp_path / "t.gguf"
    path.write_bytes(out.build())
    with GGUFFile.open(path) as file, pytest.raises(ModelFormatError) as caught:
        Tokenizer.from_gguf(file, vocab_size)
    at = out.offsets[f"value:{TOKENS}"]
    assert str(caught.value) == (
        f"{path}: {TOKENS} at byte {at} holds 269 tokens, but token_embd.weight has {vocab_size} rows"
    )


def test_tokens_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.gguf"
    path.write_bytes(tiny_builder(metadata={TOKENS: (ARRAY, array(U8, [1] * 269))}).build())
    with (
        GGUFFile.open(path) as file,
        pytest.raises(ModelFormatError, match="is an array of uint8, but it must be an array of strings"),
    ):
        Tokenizer.from_gguf(file, N_TOKENS)


def test_tokens_that_are_not_utf8(tmp_path: Path) -> None:
    out = tiny_builder()
    out.set(TOKENS, (ARRAY, array(STRING, [b"ok", b"a\xff"])))
    path = tmp_path / "t.gguf"
    path.write_bytes(out.build())
    with pytest.raises(
        ModelFormatError, match=rf"tokens\[1\] is not UTF-8 at byte {out.offsets[f'value:{TOKENS}'] + 31}"
    ):
        GGUFFile.open(path)


def test_negative_special_id_names_its_byte(tmp_path: Path) -> None:
    out = tiny_builder(metadata={"tokenizer.ggml.eos_token_id": scalar(I32, -1)})
    path = tmp_path / "t.gguf"
    path.write_bytes(out.build())
    at = out.offsets["value:tokenizer.ggml.eos_token_id"]
    with GGUFFile.open(path) as file, pytest.raises(ModelFormatError, match=f"at byte {at} is -1"):
        Tokenizer.from_gguf(file, N_TOKENS)


def test_metadata_may_be_a_plain_mapping() -> None:
    with GGUFFile.open(DATA / "mqa-q4_k_m.gguf") as file:
        plain: dict[str, Any] = dict(file.metadata)
    assert Tokenizer.from_gguf(plain, 512).encode("def f") == FIXTURE.encode("def f")
    assert Tokenizer.from_gguf(Metadata(plain), 512).eot_id == 0


# The whole header: damage anywhere is survived.


def open_model(path: Path) -> None:
    """Everything that is read from a file before its weights are."""
    with GGUFFile.open(path) as file:
        config = read_config(file)
        check_tensors(file, config)
        tokenizer = Tokenizer.from_gguf(file, config.vocab_size)
        tokenizer.decode(tokenizer.encode("def"))


def header_only() -> GGUFBuilder:
    """A model of few tokens, so that its header is short."""
    return tiny_builder(width=8, heads=1, context=2, hidden=8, symbols="abcdefrtĠ", weight_type="F32")


@pytest.mark.parametrize("flip", [lambda _: 0, lambda _: 0xFF, lambda b: b ^ 1, lambda b: b ^ 0x80])
def test_flipped_header_bytes_load_or_are_rejected(tmp_path: Path, flip: Callable[[int], int]) -> None:
    out = header_only()
    data = out.build()
    path = tmp_path / "t.gguf"
    path.write_bytes(data)
    open_model(path)
    outcomes = set()
    with path.open("r+b", buffering=0) as handle:
        for at in range(out.offsets["data"]):
            overwrite(handle, at, flip(data[at]))
            try:
                open_model(path)
                outcomes.add("loaded")
            except (ModelFormatError, InvalidRequestError) as error:
                outcomes.add(type(error).__name__)
            overwrite(handle, at, data[at])
    assert {"loaded", "ModelFormatError"} <= outcomes


def overwrite(handle: Any, at: int, byte: int) -> None:
    """Overwrite one byte of an open file."""
    handle.seek(at)
    handle.write(bytes([byte]))


PIECES = [
    "a",
    "Z",
    "5",
    "12",
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "'s",
    "'",
    "é",
    "字",
    "\u00a0",
    "\u3000",
    "<fim-prefix>",
    "<|endoftext|>",
    "<q",
    "q>",
    "_",
    ".",
    "\x1c",
    "\x85",
]


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=60), st.booleans(), st.integers(1, 9)
)
def test_a_long_text_has_the_tokens_of_its_parts(starcoder: Tokenizer, text: str, special: bool, part: int) -> None:
    encoder = starcoder._encoder if special else starcoder._plain_encoder
    text = text.translate(dict.fromkeys(range(0x40000, 0x80000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("santacoder.text.tokenizer.PART", part)
        assert starcoder.encode(text, special) == encoder.encode(text, add_special_tokens=False).ids


def test_a_token_with_a_blank_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, types = vocabulary(byte_symbols())
    found = {}
    for name in ("a b", " ab"):
        tokenizer = tiny(tokens=[*tokens[:-1], name], token_type=np.array([*types[:-1], 4]))
        monkeypatch.setattr("santacoder.text.tokenizer.PART", 1)
        found[name] = tokenizer.encode("x" + name + name + " y")
    assert found["a b"].count(N_TOKENS - 1) == found[" ab"].count(N_TOKENS - 1) == 2


def test_the_longest_token(starcoder: Tokenizer) -> None:
    assert starcoder.longest == max(len(starcoder.token_bytes(i)) for i in range(starcoder.n_tokens))


def test_other_threads_run_while_a_long_text_is_tokenised(starcoder: Tokenizer) -> None:
    """Each part is a call of its own, between two of which the interpreter may switch."""
    text = "def f(x):\n    return x + 1\n" * 22_000
    parts = list(starcoder._parts(text))
    assert "".join(parts) == text
    assert max(map(len, parts)) < PART + 30


@pytest.mark.parametrize("text", ["abcdefgh" * 3000, "日本é" * 3000, "x1y2" * 3000, "a b 12 \n\n" * 3000])
def test_a_long_word_is_tokenised_without_the_lock(
    starcoder: Tokenizer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    expected = [starcoder.encode_to_cut(text, special) for special in (True, False)]
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert [starcoder.encode_to_cut(text, special) for special in (True, False)] == expected


@pytest.mark.parametrize(("size", "allowed", "way"), [(9000, "false", "batch"), (9000, "", "one"), (8000, "0", "one")])
def test_what_starts_no_threads(monkeypatch: pytest.MonkeyPatch, size: int, allowed: str, way: str) -> None:
    """Only a long part is worth it, and only where tokenizers may not start threads."""

    class Encoder:
        def encode(self, text: str, add_special_tokens: bool) -> str:
            return "one"

        def encode_batch(self, texts: list[str], add_special_tokens: bool) -> list[str]:
            return ["batch"]

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", allowed)
    assert _encode_part(Encoder(), "x" * size) == way  # type: ignore[arg-type, comparison-overlap]
