"""Tokenizers of checkpoints: only the kind that we run is taken, special tokens get their ids, padding is marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as HFTokenizer

from santacoder.conversion.end_tokens import NamedEnd, read_ends
from santacoder.conversion.metadata import as_read, tokenizer_fields
from santacoder.conversion.tokenizer_json import AddedToken, TokenizerFiles, read_tokenizer
from santacoder.conversion.vocabulary import Vocabulary, build_vocabulary
from santacoder.errors import InvalidRequestError, ModelFormatError
from santacoder.text.tokenizer import Tokenizer
from tests.support import checkpoint_builder as builder
from tests.support.gguf_builder import MERGES, SPECIALS

BPE, ROWS = builder.BPE_TOKENS, builder.VOCABULARY
TEXTS = [
    "",
    "def f(x):\n    return x12 + 345",
    " 1  2   34\t\n5",
    "é日本 ١٢ ²x½",
    "<|endoftext|>a<fim-prefix>",
    "a's 'll\r\n",
]


def read(folder: Path, values: dict[str, Any]) -> TokenizerFiles:
    builder.write_json(folder / "tokenizer.json", values)
    return read_tokenizer(folder, "here")


def files(*added: AddedToken, more: dict[str, int] | None = None) -> TokenizerFiles:
    """The builder's BPE model with other added tokens."""
    model = builder.tokenizer()["model"]
    return TokenizerFiles(model["vocab"] | (more or {}), model["merges"], list(added), None)


def ends(*tokens: object) -> list[NamedEnd]:
    return [NamedEnd("config.json: eos_token_id", token) for token in tokens]


def santacoder_tokens(first: int = BPE) -> list[AddedToken]:
    return [AddedToken(first + i, token, True) for i, token in enumerate(SPECIALS)]


def encoder(found: TokenizerFiles, vocabulary: Vocabulary) -> Tokenizer:
    return Tokenizer.from_gguf(as_read(tokenizer_fields(found, vocabulary)), len(vocabulary.tokens))


def test_ids_are_those_of_the_original(tmp_path: Path) -> None:
    found = read(tmp_path, builder.tokenizer())
    ours = encoder(found, build_vocabulary(found, ROWS, ends(50256), None))
    theirs = HFTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
    assert ours.eot_id == BPE
    assert ours.never_sampled == (263, 264, 265, 267, 268, 269, 270)


def test_older_spellings_of_the_same(tmp_path: Path) -> None:
    """Merges as lists (tokenizers 0.20), no `use_regex` (before 0.13), no decoder."""
    values = builder.tokenizer()
    expected = read(tmp_path, values)
    values["model"]["merges"] = [merge.split(" ") for merge in values["model"]["merges"]]
    del values["pre_tokenizer"]["pretokenizers"][1]["use_regex"]
    values["decoder"] = values["post_processor"] = None
    found = read(tmp_path, values)
    assert (found.vocabulary, found.merges, found.added) == (expected.vocabulary, expected.merges, expected.added)


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


PARTS = ("pre_tokenizer", "pretokenizers")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


EOT = SPECIALS[0]


def template(*single: str, pair: tuple[str, ...] = ("A", "B")) -> dict[str, Any]:
    """A post-processor of texts (one letter) and tokens, as `tokenizers` writes it."""

    def pieces(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"Sequence" if len(name) == 1 else "SpecialToken": {"id": name, "type_id": 0}} for name in names]

    tokens = {EOT: {"id": EOT, "ids": [BPE], "tokens": [EOT]}} if EOT in (*single, *pair) else {}
    return {
        "type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair), "special_tokens": tokens
    }  # fmt: skip


def in_row(*processors: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "processors": list(processors)}


@pytest.mark.parametrize(
    "processor",
    [
        template("A"),  # what transformers 5 saves for a tokenizer without one
        template("A", pair=("B", "A")),
        in_row(),
        in_row(BYTE_LEVEL, in_row(template("A"), BYTE_LEVEL)),
    ],
)
def test_post_processors_that_add_nothing(tmp_path: Path, processor: dict[str, Any]) -> None:
    values = builder.tokenizer() | {"post_processor": processor}
    found = read(tmp_path, values)
    ours = encoder(found, build_vocabulary(found, ROWS, [], None))
    theirs = HFTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=True).ids


@pytest.mark.filterwarnings("ignore")  # of what transformers imports
@pytest.mark.parametrize("processor", [None, BYTE_LEVEL])
def test_what_transformers_saves(tmp_path: Path, processor: object) -> None:
    transformers = pytest.importorskip("transformers")
    builder.write_json(tmp_path / "tokenizer.json", builder.tokenizer() | {"post_processor": processor})
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    theirs.save_pretrained(tmp_path / "saved")
    found = read_tokenizer(tmp_path / "saved", "here")
    ours = encoder(found, build_vocabulary(found, ROWS, [], None))
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"]


def test_post_processors_in_deep_sequences(tmp_path: Path) -> None:
    processor = BYTE_LEVEL
    for _ in range(400):
        processor = in_row(processor)
    assert read(tmp_path, builder.tokenizer() | {"post_processor": processor}).merges == MERGES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model", "type", value="Unigram"), "model.type is 'Unigram', but only 'BPE' runs here"),
        (put("model", "dropout", value=0.1), "model.dropout is 0.1, but only 0.0 runs here"),
        (put("model", "byte_fallback", value=True), "model.byte_fallback is True, but only False runs here"),
        (put("model", "ignore_merges", value=True), "model.ignore_merges is True, but only False runs here"),
        (put("model", "end_of_word_suffix", value="</w>"), "model.end_of_word_suffix is '</w>', but only '' runs here"),
        (put("model", "merges", value=None), "model.merges is missing, or not a list"),
        (put("model", "merges", 1, value="a b c"), "model.merges has the entry 'a b c', not two tokens"),
        (put("model", "merges", 1, value=["a", 1]), "model.merges has the entry ['a', 1], not two tokens"),
        (put("model", "vocab", value=[]), "model.vocab is missing, or not an object"),
        (put("model", "vocab", "a", value=-1), "model.vocab has the id -1 for 'a', but ids count from 0"),
        (put("model", value="BPE"), "model is missing, or not an object"),
        (put("normalizer", value={"type": "NFC"}), "normalizer is there, but text must be taken as it is"),
        (put("pre_tokenizer", value=None), "pre_tokenizer is None, but it must be Sequence of Digits"),
        (put("pre_tokenizer", value=BYTE_LEVEL), "pre_tokenizer is ByteLevel(add_prefix_space=False, "),
        (
            put(*PARTS, 0, "individual_digits", value=False),
            "pre_tokenizer is Sequence of Digits(individual_digits=False)",
        ),
        (put(*PARTS, 0, "type", value="Whitespace"), "pre_tokenizer is Sequence of Whitespace("),
        (put(*PARTS, 1, "add_prefix_space", value=True), "ByteLevel(add_prefix_space=True, "),
        (put(*PARTS, 1, "use_regex", value=False), "use_regex=False), but it must be"),
        (put(*PARTS, value=[BYTE_LEVEL]), "pre_tokenizer is Sequence of ByteLevel("),
        (put(*PARTS, value=[BYTE_LEVEL, {"type": "Digits", "individual_digits": True}]), "Sequence of ByteLevel("),
        (put("post_processor", value=7), "post_processor is 7, but only one that adds no tokens runs here"),
        (put("post_processor", value={"type": "RobertaProcessing"}), "post_processor is RobertaProcessing(), but only"),
        (put("post_processor", value={"type": "Sequence"}), "post_processor is Sequence(), but only one that adds no"),
        (put("post_processor", value=template()), "post_processor is TemplateProcessing(single=[], "),
        (put("post_processor", value=template("A", "A")), "template for a single text must be only that text"),
        (put("post_processor", value=template("B")), "template for a single text must be only that text"),
        (put("post_processor", value=template("A", EOT)), f"is TemplateProcessing with '{EOT}', but no token may be"),
        (put("post_processor", value=template("A", pair=("A", EOT, "B"))), f"TemplateProcessing with '{EOT}', but no"),
        (put("post_processor", value=in_row(BYTE_LEVEL, template(EOT, "A"))), f"TemplateProcessing with '{EOT}'"),
        (put("decoder", value={"type": "BPEDecoder", "suffix": "</w>"}), "decoder is BPEDecoder(suffix='</w>')"),
        (put("added_tokens", value={}), None),
        (put("added_tokens", value={"a": 1}), "added_tokens is not a list"),
        (put("added_tokens", 0, value=7), "added_tokens has the entry 7, not an object"),
        (put("added_tokens", 0, "id", value="x"), "without an id and a content"),
        (put("added_tokens", 0, "lstrip", value=True), "added_tokens has '<|endoftext|>' with lstrip"),
    ],
)
def test_other_tokenizers(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str | None) -> None:
    values = builder.tokenizer()
    change(values)
    if message is None:
        assert read(tmp_path, values).added == []
        return
    with pytest.raises(ModelFormatError) as caught:
        read(tmp_path, values)
    assert str(caught.value).startswith("tokenizer.json: ")
    assert message in str(caught.value)


def test_tokens_that_are_no_text(tmp_path: Path) -> None:
    values = builder.tokenizer()
    values["added_tokens"][1]["content"] = "\udcff"
    with pytest.raises(ModelFormatError, match=r"^the tokenizer's '\\udcff' holds a lone surrogate"):
        read(tmp_path, values)
    (tmp_path / "tokenizer.json").write_bytes("{}".encode("utf-16"))
    with pytest.raises(ModelFormatError, match=r"^tokenizer\.json is UTF-16, but it must be UTF-8$"):
        read_tokenizer(tmp_path, "here")


# Without tokenizer.json.


def write_older(folder: Path, vocabulary: dict[str, int] | None = None, added: dict[str, int] | None = None) -> None:
    model = builder.tokenizer()["model"]
    builder.write_json(folder / "vocab.json", model["vocab"] if vocabulary is None else vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(model["merges"]) + "\n", "utf-8")
    if added is not None:
        builder.write_json(folder / "added_tokens.json", added)


@pytest.mark.parametrize("added", [None, {token: BPE + i for i, token in enumerate(SPECIALS)}])
def test_vocab_and_merges(tmp_path: Path, added: dict[str, int] | None) -> None:
    write_older(tmp_path, added=added)
    found = read_tokenizer(tmp_path, "here")
    expected = read(tmp_path, builder.tokenizer())
    assert (found.vocabulary, found.merges) == (expected.vocabulary, expected.merges)
    assert build_vocabulary(found, ROWS, [], None) == build_vocabulary(expected, ROWS, [], None)
    assert found.json is None


@pytest.mark.parametrize("token", ["12", "Ġ1", "a1"])
def test_vocab_of_another_pre_tokenizer(tmp_path: Path, token: str) -> None:
    write_older(tmp_path, builder.tokenizer()["model"]["vocab"] | {token: BPE})
    with pytest.raises(ModelFormatError, match=f"^vocab.json has the token '{token}', so digits are not split"):
        read_tokenizer(tmp_path, "here")


def test_merges_that_are_no_text(tmp_path: Path) -> None:
    write_older(tmp_path)
    (tmp_path / "merges.txt").write_bytes(b"a \xff\n")
    with pytest.raises(ModelFormatError, match=r"^merges\.txt is not UTF-8 at byte 2$"):
        read_tokenizer(tmp_path, "here")


# The vocabulary.


@pytest.mark.parametrize("fim", [None, True])
@pytest.mark.parametrize("added", [[], santacoder_tokens()[:1], santacoder_tokens()])
def test_special_tokens_are_forced(added: list[AddedToken], fim: bool | None) -> None:
    """Early revisions lack them all, or all but the end of text; the middle is second."""
    vocabulary = build_vocabulary(files(*added), ROWS, ends(50256), fim)
    assert vocabulary.tokens[BPE:] == [*SPECIALS, "[PAD267]", "[PAD268]", "[PAD269]", "[PAD270]"]
    assert vocabulary.types == [1] * BPE + [3] * 5 + [5] * 4
    assert vocabulary.fim == {"prefix": BPE + 1, "middle": BPE + 2, "suffix": BPE + 3, "pad": BPE + 4}
    assert vocabulary.ends == [BPE]


def test_santacoder_itself() -> None:
    """49152 tokens and 49280 rows: 123 rows of padding."""
    found = TokenizerFiles({f"t{i}": i for i in range(49152)}, ["a b"], [], None)
    vocabulary = build_vocabulary(found, 49280, ends(50256), None)
    assert vocabulary.ends == [49152]
    assert vocabulary.fim == {"prefix": 49153, "middle": 49154, "suffix": 49155, "pad": 49156}
    assert vocabulary.types.count(5) == 123


@pytest.mark.parametrize("added", [[], santacoder_tokens()])
def test_without_fim(added: list[AddedToken]) -> None:
    """The rows of the markers become padding, which no program takes for markers."""
    found = files(*added)
    vocabulary = build_vocabulary(found, ROWS, [], False)
    assert vocabulary.fim == {}
    assert vocabulary.tokens[BPE:] == ["<|endoftext|>", *(f"[PAD{i}]" for i in range(BPE + 1, ROWS))]
    assert vocabulary.types[BPE:] == [3] + [5] * 8
    assert not any("fim" in key for key in as_read(tokenizer_fields(found, vocabulary)))
    ours = encoder(found, vocabulary)
    assert (ours.fim_prefix_id, ours.fim_suffix_id, ours.fim_middle_id, ours.fim_pad_id) == (None,) * 4
    assert max(ours.encode("<fim-prefix>")) < BPE


@pytest.mark.parametrize("rows", [BPE + 1, BPE + 4])
def test_no_room_for_fim(rows: int) -> None:
    """A fine-tune without these rows."""
    assert build_vocabulary(files(), rows, [], None).fim == {}
    message = f"there is no room for fill-in-the-middle tokens: ids {BPE}..{BPE + 4} are needed"
    with pytest.raises(InvalidRequestError, match=f"^{message}"):
        build_vocabulary(files(), rows, [], True)


def test_spellings_of_starcoder() -> None:
    """Its special tokens come first, and more than SantaCoder's."""
    names = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    vocabulary |= {token: i + len(names) for token, i in files().vocabulary.items()}
    found = TokenizerFiles(vocabulary, MERGES, [AddedToken(i, n, True) for i, n in enumerate(names)], None)
    built = build_vocabulary(found, len(vocabulary), ends(0), None)
    assert built.fim == {"prefix": 1, "middle": 2, "suffix": 3, "pad": 4}
    assert built.ends == [0]
    assert built.types == [3] * 6 + [1] * BPE


def fine_tune(special: bool = True) -> TokenizerFiles:
    """Rows beyond SantaCoder's: one that ends a turn, and one that is not special."""
    more = [AddedToken(BPE + 5, "<|turn|>", special, not special), AddedToken(BPE + 6, "<code>", False, True)]
    return files(*santacoder_tokens(), *more)


END, CODE, NEWLINE = BPE + 5, BPE + 6, builder.tokenizer()["model"]["vocab"]["Ċ"]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ([END], [END]),
        ([BPE, END], [BPE, END]),
        ([END, BPE, END], [END, BPE]),
        (["<|turn|>", BPE], [END, BPE]),
        ([NEWLINE, END], [END, NEWLINE]),
        ([NEWLINE], [BPE, NEWLINE]),  # the token that begins a text is never one of the BPE model's
        ([CODE, BPE + 1, NEWLINE], [CODE, BPE + 1, NEWLINE]),
        ([50256], [BPE]),
        ([], [BPE]),
    ],
)
@pytest.mark.parametrize("special", [True, False])
def test_ends_of_a_fine_tune(named: list[object], expected: list[int], special: bool) -> None:
    found = fine_tune(special)
    vocabulary = build_vocabulary(found, BPE + 7, ends(*named), None)
    assert (vocabulary.ends, vocabulary.unknown, vocabulary.start) == (expected, [], BPE)
    assert vocabulary.types[BPE:] == [3] * 5 + [3 if special else 4, 4]
    fields = as_read(tokenizer_fields(found, vocabulary))
    keys: dict[str, Any] = {key.rpartition(".")[2]: value for key, value in fields.items()}
    assert [keys["bos_token_id"], keys["eos_token_id"]] == [BPE, expected[0]]
    assert keys.get("eot_token_id") == (expected[1] if len(expected) > 1 else None)
    assert list(keys.get("end_token_ids", [])) == expected[2:]
    assert encoder(found, vocabulary).end_ids == {*expected, BPE, BPE + 4}


@pytest.mark.parametrize("eos", [-1, True, 1.5, "<x>", ROWS - 1, ROWS, 2**70, {"content": 1}, [BPE]])
def test_ends_that_are_none(eos: object) -> None:
    vocabulary = build_vocabulary(files(*santacoder_tokens()), ROWS, ends(eos), None)
    assert (vocabulary.ends, vocabulary.unknown) == ([BPE], ends(eos))


def test_where_ends_are_named(tmp_path: Path) -> None:
    assert read_ends(tmp_path, {}) == read_ends(tmp_path, {"eos_token_id": None}) == []
    builder.write_json(tmp_path / "generation_config.json", {"eos_token_id": [3, 4]})
    builder.write_json(tmp_path / "tokenizer_config.json", {"eos_token": "<e>"})
    assert [(end.place, end.token) for end in read_ends(tmp_path, {"eos_token_id": 7})] == [
        ("config.json: eos_token_id", 7),
        ("generation_config.json: eos_token_id", 3),
        ("generation_config.json: eos_token_id", 4),
        ("tokenizer_config.json: eos_token", "<e>"),
    ]
    builder.write_json(tmp_path / "tokenizer_config.json", {"eos_token": {"content": "<f>", "lstrip": False}})
    assert read_ends(tmp_path, {})[-1].token == "<f>"
    for name in ("generation_config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("[]")
        with pytest.raises(ModelFormatError, match=f"{name} holds a JSON list, not an object"):
            read_ends(tmp_path, {})
        builder.write_json(tmp_path / name, {})


@pytest.mark.parametrize(
    ("found", "rows", "message"),
    [
        (files(), BPE, f"the tokenizer lacks <|endoftext|>, which has the id {BPE}, but wte.weight has {BPE} rows"),
        (files(), 200, "the tokenizer's 'È' has the id 200, but wte.weight has 200 rows"),
        (files(*santacoder_tokens()), BPE + 4, f"the tokenizer's '<fim-pad>' has the id {BPE + 4}, but wte.weight has"),
        (files(*santacoder_tokens(BPE - 1)), ROWS, "and '<|endoftext|>' share the id 261"),
        (files(AddedToken(BPE + 3, "a", True)), ROWS, "the tokenizer's 'a' has two ids, 97 and 265"),
        (files(AddedToken(BPE + 2, "<x>", True)), ROWS, "which has the id 264, but that id belongs to '<x>'"),
        (files(*santacoder_tokens()[:3]), ROWS, "has fill-in-the-middle tokens, but lacks that for the suffix"),
        (files(more={"zz": BPE + 2}), ROWS, f"has no token with the id {BPE}, but one with the id {BPE + 2}"),
        (files(*santacoder_tokens()), BPE + 5 + 1025, "more than 1024 rows without a token cannot be padding"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_fit(found: TokenizerFiles, rows: int, message: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        build_vocabulary(found, rows, [], None)
    assert message in str(caught.value)


def test_merges_that_do_not_fit() -> None:
    found = TokenizerFiles(files().vocabulary, ["Ġ Ġ", "x yz"], santacoder_tokens(), None)
    with pytest.raises(
        ModelFormatError, match=r"tokenizer\.ggml\.merges has the entry \[1\] 'x yz', but 'yz' is not a token"
    ):
        encoder(found, build_vocabulary(found, ROWS, [], None))
    found = TokenizerFiles(files().vocabulary, [], santacoder_tokens(), None)
    with pytest.raises(ModelFormatError, match=r"^the tokenizer has no merges"):
        tokenizer_fields(found, build_vocabulary(found, ROWS, [], None))
