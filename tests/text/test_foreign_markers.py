"""Markers of an infilling prompt that are spelt as another model has them: plain text, and a warning says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.cli import main
from santacoder.hf import AutoTokenizer
from santacoder.text.tokenizer import Tokenizer
from tests.support.gguf_builder import byte_symbols, vocabulary
from tests.support.paths import FILE
from tests.support.tokenizers import SMALL, fixture_tokenizer, tiny

PARTS = ("prefix", "suffix", "middle")
FORMS = ("<fim-{}>", "<fim_{}>", "<|fim_{}|>")
SANTACODER, STARCODER, OTHER = ([form.format(part) for part in PARTS] for form in FORMS)
NAMES = "'<fim-prefix>', '<fim-suffix>' and '<fim-middle>'"
MESSAGE = f"{NAMES.replace('-', '_')} are plain text to this model: it spells them {NAMES}"
TEXT = "<fim_prefix>def f():\n    <fim_suffix>\n    return a<fim_middle>"


def warned(call: Callable[[], object]) -> list[str]:
    """All warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


@pytest.fixture(scope="module")
def starcoder() -> Tokenizer:
    """The full StarCoder vocabulary."""
    return fixture_tokenizer("ggml-vocab-starcoder.gguf", 49152)


class TestTokenizer:
    def test_the_right_spelling_is_named(self, starcoder: Tokenizer) -> None:
        assert warned(lambda: SMALL.encode(TEXT)) == [MESSAGE]
        assert warned(lambda: starcoder.encode(TEXT.replace("fim_", "fim-"))) == [
            f"{NAMES} are plain text to this model: it spells them {NAMES.replace('-', '_')}"
        ]
        others = "'<|fim_prefix|>', '<|fim_suffix|>' and '<|fim_middle|>'"
        assert warned(lambda: SMALL.encode("\n".join(OTHER))) == [MESSAGE.replace(NAMES.replace("-", "_"), others)]
        with pytest.warns(UserWarning, match="plain text to this model"):
            assert SMALL.encode(TEXT) == SMALL.encode(TEXT, special=False)

    def test_a_model_without_markers(self) -> None:
        plain = tiny(tokens=byte_symbols(), token_type=None, eos_token_id=None, merges=[])
        for spelling, names in ((SANTACODER, NAMES), (STARCODER, NAMES.replace("-", "_"))):
            expected = f"{names} are plain text to this model: it cannot infill"
            assert warned(partial(plain.encode, "".join(spelling))) == [expected]

    def test_no_warning(self, starcoder: Tokenizer) -> None:
        """Of a model's own markers, of less than three, and of text that is plain anyway."""
        texts = ["".join(spelling) for spelling in (SANTACODER, *(combinations([*STARCODER[:2], *OTHER[1:]], 2)))]
        texts += ["".join([*STARCODER[:2], SANTACODER[2]]), "", "<fim_pad>"]
        assert warned(lambda: [SMALL.encode(text) for text in texts]) == []
        assert warned(lambda: SMALL.encode(TEXT, special=False)) == []
        assert warned(lambda: starcoder.encode(TEXT)) == []

    def test_a_vocabulary_with_both(self) -> None:
        """As a fine-tune may have them."""
        tokens, types = vocabulary(byte_symbols())
        for kind in (3, 4):
            both = tiny(tokens=[*tokens, *STARCODER], token_type=np.array([*types, *[kind] * 3]))
            assert warned(partial(both.encode, TEXT)) == []
        normal = tiny(tokens=[*tokens, *STARCODER], token_type=np.array([*types, *[1] * 3]))
        assert warned(lambda: normal.encode(TEXT)) == [MESSAGE]


class TestDoors:
    @pytest.mark.parametrize("door", [
        lambda model: model.complete(TEXT, max_tokens=1),
        lambda model: list(model.stream(TEXT, max_tokens=1)),
        lambda model: model.complete_many([TEXT], max_tokens=1),
        lambda model: list(model.complete_each([santacoder.Request(TEXT, {"max_tokens": 1})])),
        lambda model: model.session().complete(TEXT, max_tokens=1),
        lambda model: model.score(TEXT),
        lambda _: AutoTokenizer.from_pretrained(FILE)(TEXT),
        lambda _: AutoTokenizer.from_pretrained(FILE)([TEXT, "a"]),
        lambda _: AutoTokenizer.from_pretrained(FILE).tokenize(TEXT),
    ])  # fmt: skip
    def test_one_warning(self, model: santacoder.SantaCoder, door: Callable[[Any], object]) -> None:
        assert warned(lambda: door(model)) == [MESSAGE]

    def test_infilling_warns_of_nothing(self, model: santacoder.SantaCoder) -> None:
        """Its texts are plain in any case."""
        assert warned(lambda: model.infill(TEXT, TEXT, max_tokens=1)) == []

    def test_split_special_tokens(self) -> None:
        assert warned(lambda: AutoTokenizer.from_pretrained(FILE)(TEXT, split_special_tokens=True)) == []

    def test_many_prompts_warn_once(self, model: santacoder.SantaCoder) -> None:
        """As Python shows warnings where nobody changed that."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            model.complete_many([TEXT, TEXT + "a"], n=3, max_tokens=1)
            model.complete(TEXT, max_tokens=1)
        assert [str(warning.message) for warning in caught] == [MESSAGE]

    def test_command_line(self, capfd: pytest.CaptureFixture[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert main(["complete", TEXT, "-m", str(FILE), "-n", "1"]) == 0
            assert capfd.readouterr().err == f"santacoder: warning: {MESSAGE}\n"
            assert main(["tokenize", TEXT, "-m", str(FILE), "--plain"]) == 0
            assert capfd.readouterr().err == ""
