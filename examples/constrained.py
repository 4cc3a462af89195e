"""Write only valid JSON, and only Python that parses: `pip install llguidance`.

python examples/constrained.py [MODEL.gguf]
"""

from __future__ import annotations

import ast
import json
import keyword
import sys
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

import santacoder

RECORD = '# The settings of our web server as JSON\n{"host": "example.org", "port": 80, "tags": ["public"]}\n'
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "host": {"type": "string", "pattern": "^[a-z]{1,12}$"},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "tags": {"type": "array", "items": {"enum": ["public", "private", "test"]}, "maxItems": 3},
    },
    "required": ["host", "port", "tags"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},  # else there may be blanks without end
}

FUNCTION = "def area(width, height):\n"
#: Bodies of functions. All repeats are bounded, so each text ends before `max_tokens` can cut it.
BODY = r"""
start: line{1,4}
line: "    " (NAME " = ")? sum "\n" | "    return " sum "\n"
sum: value ((" + " | " - " | " * " | " // ") value){0,2}
value: NAME | NUMBER | NAME "(" NAME (", " NAME)? ")"
NUMBER: /0|[1-9][0-9]{0,3}/
NAME: /[a-z_][a-z0-9_]{0,9}/ & ~/KEYWORDS/
""".replace("KEYWORDS", "|".join(keyword.kwlist))


class Vocabulary:
    """A model's tokenizer as llguidance wants it."""

    bos_token_id = None

    def __init__(self, tokenizer: santacoder.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eot_id
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.n_tokens)]
        self.special_token_ids = sorted({*tokenizer.special_ids, *tokenizer.never_sampled})

    def __call__(self, text: str) -> list[int]:
        """Tokenize a text."""
        return self._tokenizer.encode(text, special=False)


class Constraint:
    """A `logits_processor` that allows what a grammar allows. It follows one text: make one for each request."""

    def __init__(self, tokenizer: LLTokenizer, grammar: str) -> None:
        """Start at the beginning of a grammar.

        Raises:
            ValueError: it is wrong.
        """
        self._matcher = LLMatcher(tokenizer, grammar)
        self._check()
        self._known: int | None = None  # tokens at the last call

    def __call__(self, token_ids: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]) -> None:
        """Follow the tokens that are new, and ban all that may not come next."""
        if self._known is not None:
            self._matcher.consume_tokens(token_ids[self._known :].tolist())
        self._known = token_ids.size
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        logits[np.unpackbits(bits, count=logits.size, bitorder="little") == 0] = -np.inf

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())


def constrained(prompt: str, tokenizer: LLTokenizer, grammar: str, seed: int) -> santacoder.Request:
    """Ask for a text that a grammar allows. It begins where the grammar does, so the prompt's last word has to stay."""
    processor = Constraint(tokenizer, grammar)
    return santacoder.Request(
        prompt,
        {"max_tokens": 512, "seed": seed, "temperature": 0.8, "token_healing": False, "logits_processor": processor},
    )


def main(path: str | None = None) -> None:
    """Write a record and the body of a function, and read them."""
    with santacoder.load(path) as model:
        tokenizer = LLTokenizer(TokenizerWrapper(Vocabulary(model.tokenizer)), n_vocab=model.config.vocab_size)
        grammars = [LLMatcher.grammar_from_json_schema(SCHEMA), LLMatcher.grammar_from_lark(BODY)]
        requests = [
            constrained(prompt, tokenizer, grammar, seed=1)
            for prompt, grammar in zip((RECORD, FUNCTION), grammars, strict=True)
        ]
        results = dict(model.complete_each(requests))
        print(json.loads(results[0].text))
        ast.parse(FUNCTION + results[1].text)
        print(FUNCTION + results[1].text, end="")


if __name__ == "__main__":
    main(*sys.argv[1:2])
