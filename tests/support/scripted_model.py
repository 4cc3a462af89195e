"""A model whose answers are a script, with its tokenizer and a way to run it."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from santacoder.batching.calls import Call
from santacoder.batching.scheduler import Scheduler
from santacoder.decoding.checked_request import CheckedRequest
from santacoder.decoding.options import SamplingParams
from santacoder.decoding.sequence import Sequence
from santacoder.text.filters import MakeFilters
from santacoder.text.infill_filters import infill_filters
from santacoder.text.stream import stop_filters
from santacoder.text.tokenizer import Tokenizer
from tests.support.gguf_builder import byte_symbols

WORDS = ["ab", "bc", "cd", "\n\n", "class", "é"]  # beside all single bytes
END, PAD = "<|endoftext|>", "<fim-pad>"


def make_tokenizer() -> Tokenizer:
    """Token i < 256 is byte i; then WORDS, then the special tokens."""
    symbols = byte_symbols()
    tokens = [symbols[byte] for byte in range(256)]
    tokens += ["".join(symbols[byte] for byte in word.encode()) for word in WORDS]
    tokens += [END, PAD]
    types = np.array([1] * (len(tokens) - 2) + [3, 3])
    keys: dict[str, Any] = {"model": "gpt2", "tokens": tokens, "token_type": types, "merges": []}
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    return Tokenizer.from_gguf(metadata, len(tokens))


TOKENIZER = make_tokenizer()
EOT, PAD_ID = 256 + len(WORDS), 257 + len(WORDS)


class Cache:
    """Counts positions."""

    blocks = 0

    def __init__(self, length: int = 0) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def truncate(self, length: int) -> None:
        self.length = length

    def fork(self, length: int) -> Cache:
        return Cache(length)


class Script:
    """An engine whose greedy answer is the next token of a script, whatever it is given; then its last, for drafts."""

    chunk, block_bytes = 64, 1

    def __init__(self, script: abc.Sequence[int], context: int = 256) -> None:
        self.script = script
        self.context = context
        self.runs: list[list[int]] = []

    def new_cache(self) -> Any:  # as much of a KVCache as is used here
        return Cache()

    def forward_batch(
        self, parts: Any, outputs: Any = "last", abandon: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        rows = []
        for (tokens, cache), wanted in zip(parts, outputs, strict=True):
            self.runs.append(list(tokens))
            cache.length += len(tokens)
            begin = cache.length - wanted - len(self.runs[0]) + 1  # the first run is the prompt
            rows += [self.answer(self.script[min(at, len(self.script) - 1)]) for at in range(begin, begin + wanted)]
        return np.array(rows)

    def iter_logits_batch(self, parts: Any, piece_rows: int, *arguments: Any) -> Iterator[NDArray[np.float32]]:
        rows = self.forward_batch(parts, *arguments)
        yield from (rows[start : start + piece_rows] for start in range(0, len(rows), piece_rows))

    def answer(self, token: int) -> NDArray[np.float32]:
        logits = np.zeros(TOKENIZER.vocab_size, dtype=np.float32)
        logits[token] = 1.0
        return logits


def tokens_of(*parts: str | int | bytes) -> list[int]:
    """Tokens: of a word, of bytes, or an id itself; any other text byte by byte."""
    ids: list[int] = []
    for part in parts:
        if isinstance(part, int):
            ids.append(part)
        elif part in WORDS:
            ids.append(256 + WORDS.index(str(part)))
        else:
            ids.extend(part if isinstance(part, bytes) else part.encode())
    return ids


def scripted_sequence(filters: MakeFilters = stop_filters, **params: Any) -> Sequence:
    """A sequence for a script, with a prompt of one token."""
    return Sequence(
        CheckedRequest(TOKENIZER, np.array([1], dtype=np.int32), SamplingParams(**params), filters=filters), 0
    )


def infilled(prefix: str, suffix: str, text: str, restore: bool = False, **params: Any) -> Sequence:
    """The sequence of a model that writes this text byte by byte, perhaps with an interruption at each."""
    filters = partial(infill_filters, prefix, suffix, False)
    sequence = scripted_sequence(filters, **{"temperature": 0, "lookup": False, **params})
    scheduler = Scheduler(Script([*tokens_of(text), EOT]))
    scheduler.submit(Call(), [sequence])
    while not sequence.ended:
        scheduler.step()
        if restore and not sequence.ended:
            sequence.restore()
    return sequence
