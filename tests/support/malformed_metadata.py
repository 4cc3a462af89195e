"""The malformed GGUF files whose metadata is wrong: keys and values, the model's sizes, the tokenizer."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.gguf_builder import ARRAY, BOOL, F32, F64, I32, STRING, U8, U32, U64, array, scalar, string
from tests.support.malformed_case import LAYER, MERGES, SYMBOLS, TOKENS, Case, built, file, keys, model


def metadata() -> Iterator[Case]:
    """Keys, values and arrays."""
    out = model().set("KEY", 1)
    data = out.build()
    at = out.offsets["key:KEY"]
    n = len(out.metadata) - 1
    rest = data[at + len(string("KEY")) :]
    for name, raw, problem in (
        ("length 0", struct.pack("<Q", 0), f"the length of the key of metadata entry {n} is 0 at byte {at}, not in"),
        ("length 2^64-1", struct.pack("<Q", 2**64 - 1), f"is {2**64 - 1} at byte {at}, not in 1..65535"),
        ("length 2^63", struct.pack("<Q", 2**63), f"is {2**63} at byte {at}, not in 1..65535"),
        (
            "one byte longer than the file",
            struct.pack("<Q", len(rest) + 1),
            f"needs {len(rest) + 1} bytes at byte {at + 8}, but only {len(rest)} remain",
        ),
        ("100 KB", string(b"k" * 100_000), f"is 100000 at byte {at}, not in 1..65535"),
        ("not UTF-8", string(b"a\xffb"), f"the key of metadata entry {n} is not UTF-8 at byte {at + 9}"),
        ("NUL", string(b"a\0b"), f"'a\\x00b' at byte {at} holds a NUL character"),
    ):
        yield file(f"key: {name}", data[:at] + raw + rest, problem)
    twice = model()
    twice.metadata.append(("starcoder.block_count", U32, struct.pack("<I", 1)))
    yield built("key: twice", twice, "the key starcoder.block_count at byte @key:starcoder.block_count@ is duplicated")
    for kind in (13, 0xFFFFFFFF):
        yield built(
            f"value type {kind}", model().set("x", (kind, bytes(8))), f"the type of x is {kind} at byte @type:x@"
        )
    nested = struct.pack("<IQ", ARRAY, 1)
    for name, value, problem in (
        ("array of arrays", (ARRAY, nested), "the element type of x is 9 at byte @value:x@: arrays"),
        ("arrays 1e5 deep", (ARRAY, nested * 100_000), "the element type of x is 9 at byte @value:x@: arrays"),
        ("array of type 77", (ARRAY, struct.pack("<IQ", 77, 1)), "is 77 at byte @value:x@: an unknown type"),
        ("array of 2^61 u64", (ARRAY, array(U64, [], 2**61)), f"the length of x is {2**61} at byte"),
        ("array longer than the file", (ARRAY, array(U8, [], 1 << 20)), f"the length of x is {1 << 20} at byte"),
        ("2^20 strings in no bytes", (ARRAY, array(STRING, [], 2**20)), f"the length of x is {2**20} at byte"),
        ("string length wraps", (STRING, struct.pack("<Q", 2**64 - 8)), f"is {2**64 - 8} at byte @value:x@, not in"),
        (
            "string in an array wraps",
            (ARRAY, array(STRING, [], 1) + struct.pack("<Q", 2**64 - 8)),
            "the length of x[0]",
        ),
        ("bool 2", (BOOL, b"\2"), "x is the bool 2 at byte @value:x@, not 0 or 1"),
        ("bool 2 in an array", (ARRAY, array(BOOL, [1, 2])), "x is the bool 2 at byte"),
        ("string not UTF-8", (STRING, string(b"ok\x80")), "x is not UTF-8 at byte"),
    ):
        yield built(f"value: {name}", model().set("x", value), problem)
    yield from long_arrays()
    for alignment in (0, 1, 3, 24, 2**31, "32", True):
        yield keys("general.alignment", alignment, "general.alignment")


def long_arrays() -> Iterator[Case]:
    """Arrays of one item more than could be there if each took as few bytes as it can."""
    for what, kind, item_bytes in (("u8", U8, 1), ("u64", U64, 8), ("strings", STRING, 8)):
        out = model().set("x", (ARRAY, array(kind, [], 0)))
        size = len(out.build())
        at = out.offsets["value:x"] + 4
        room = (size - at - 8) // item_bytes
        problem = f"the length of x is {room + 1} at byte {at}, but at most {room} can follow"
        yield built(
            f"one more {what} than the file has room for", out.set("x", (ARRAY, array(kind, [], room + 1))), problem
        )


def hyperparameters() -> Iterator[Case]:
    """The model's dimensions: missing, of a wrong type, out of range, contradicting each other."""
    yield keys("general.architecture", "llama", "general.architecture at byte @value:general.architecture@ is 'llama'")
    yield keys("general.architecture", None, "general.architecture is missing")
    yield keys("general.architecture", 7, "general.architecture at byte @value:general.architecture@ is an integer")
    sizes = ["context_length", "embedding_length", "block_count", "attention.head_count"]
    for name in [*sizes, "attention.layer_norm_epsilon"]:
        yield keys(f"{LAYER}.{name}", None, f"{LAYER}.{name} is missing from the metadata")
    wrong: Sequence[Any] = (
        0, 10**9, 2**31, scalar(I32, -1), scalar(U64, 2**40), "8", True, scalar(F64, 8.0), scalar(F32, math.nan),
    )  # fmt: skip
    for name in [*sizes, "attention.head_count_kv", "feed_forward_length"]:
        for value in wrong:
            yield keys(f"{LAYER}.{name}", value, f"{LAYER}.{name} at byte @value:{LAYER}.{name}@ is ")
    heads = f"{LAYER}.attention.head_count"
    yield keys(heads, 3, f"{heads} at byte @value:{heads}@ is 3, which does not divide the width 8")
    yield keys(f"{LAYER}.block_count", 1 << 12, "is missing: 4096 layers need it")  # as many as there may be
    yield keys(f"{heads}_kv", 3, "is 3, which does not divide the 4 query heads", heads=4)
    yield keys(f"{heads}_kv", 8, "is 8, but it must be in 1..4", heads=4)
    epsilon = f"{LAYER}.attention.layer_norm_epsilon"
    for value in (0.0, -1e-5, 1.0, math.nan, math.inf, -math.inf, 1, "1e-5", True):
        yield keys(epsilon, value, f"{epsilon} at byte @value:{epsilon}@ is ")


def vocabularies() -> Iterator[Case]:
    """Tokens, their types and merges, special tokens."""
    tokens = list(SYMBOLS)
    n = 8 + 6 + 5  # symbols, results of merges, special tokens
    for key in ("tokenizer.ggml.model", TOKENS, MERGES):
        yield keys(key, None, f"{key} is missing: the file has no tokenizer")
    yield keys(TOKENS, (ARRAY, array(U8, [1] * n)), f"{TOKENS} at byte @value:{TOKENS}@ is an array of uint8")
    yield keys(TOKENS, tokens, f"{TOKENS} at byte @value:{TOKENS}@ holds 8 tokens, but token_embd.weight has {n} rows")
    yield keys(TOKENS, (ARRAY, array(STRING, [b"ok", b"a\xff"])), f"{TOKENS}[1] is not UTF-8 at byte")
    types = "tokenizer.ggml.token_type"
    yield keys(types, [1] * (n - 1), f"{types} at byte @value:{types}@ holds {n - 1} types for {n} tokens")
    yield keys("tokenizer.ggml.scores", [0.5] * (n + 1), f"holds {n + 1} scores for {n} tokens")
    for merge in ("nospace", "a b c", " a", "a ", "", "zz a", "a b", "ab a", "<|endoftext|> def"):
        yield keys(MERGES, [merge], f"{MERGES} at byte @value:{MERGES}@ has the entry [0] {merge!r}")
    # A million, which few bytes each make many; and one that leads back to its own half.
    merges = model(metadata={MERGES: (ARRAY, array(STRING, ["d e"] * 10**6))})
    yield built("1e6 merges", merges, f"the length of {MERGES} is {10**6} at byte")
    circle = model(metadata={TOKENS: [*tokens, "", *(f"<{i}>" for i in range(n - 9))], MERGES: [" a"]})
    yield built("a merge with an empty token", circle, f"{MERGES} at byte @value:{MERGES}@ has the entry [0] ' a'")
    for key in ("santacoder.end_token_ids", "santacoder.swapped_token_ids"):
        for value in ([n], [0, -1], [0.5], ["a"], 1, True):
            yield keys(key, value, f"{key} at byte @value:{key}@ ")
    for name in ("bos", "eos", "eot", "eom", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "prefix", "suffix", "middle"):
        for token in (n, 2**32 - 1, scalar(I32, -1), "1"):
            key = f"tokenizer.ggml.{name}_token_id"
            yield keys(key, token, f"{key} at byte @value:{key}@ is ")
    long = [*tokens, *(f"<{i}>" for i in range(n - len(tokens) - 1)), "x" * (1 << 20)]
    yield keys(TOKENS, long, "bytes of special tokens, but at most 262144 are read")
    yield keys("tokenizer.ggml.model", "llama", "is 'llama', but only 'gpt2' runs here")
    yield keys("tokenizer.ggml.pre", "llama-bpe", "is 'llama-bpe', not one of [")
