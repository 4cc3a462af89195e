"""Fixtures of the tests of `santacoder.hf`: the fixture file with this interface."""

from __future__ import annotations

import pytest

from santacoder.hf import AutoModelForCausalLM, AutoTokenizer, CausalLM, CodeTokenizer
from tests.support.paths import FILE


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return AutoModelForCausalLM.from_pretrained(FILE, threads=2)


@pytest.fixture(scope="module")
def tokenizer() -> CodeTokenizer:
    return AutoTokenizer.from_pretrained(FILE)
