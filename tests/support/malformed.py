"""The malformed GGUF files that loading has to survive: one list for the tests, for `make soak` and for its peers.

Each case is a whole small model with one thing wrong (or odd, where it has to load), so that nothing but that thing
can be the reason of the refusal.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.capabilities import ANY_NAMES, LINKS, NAMED_PIPES
from tests.support.gguf_builder import ARRAY, I32, STRING, U8, U16, GGUFBuilder, Tensor, array, scalar
from tests.support.malformed_case import LAYER, MERGES, SYMBOLS, TOKENS, Case, built, file, keys, model, tensor
from tests.support.malformed_metadata import hyperparameters, metadata, vocabularies
from tests.support.malformed_split import splits

__all__ = ["Case", "cases", "flips", "model", "truncations"]

HUGE = (2**32, 2**61, 2**63, 2**64 - 1)


def cases() -> Iterator[Case]:
    """All of them, the truncations and flips of a file apart: see `truncations` and `flips`."""
    yield from foreign()
    yield from counts()
    yield from metadata()
    yield from hyperparameters()
    yield from vocabularies()
    yield from directories()
    yield from numbers()
    yield from paths()
    yield from splits()
    yield from odd_but_valid()


def foreign() -> Iterator[Case]:
    """Empty, cut inside the header, of another format, of another version."""
    header = model().build()[:24]
    yield file("empty", b"", "the file is empty: it ends at byte 0")
    for size in range(1, 24):
        problem = f"ends at byte {size}"
        yield file(f"{size} bytes of a header", header[:size], problem)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    for name, start, problem in (
        ("GGML", b"GGML" + bytes(30), "is in the old GGML format: convert it to GGUF first (byte 0)"),
        ("GGML, little endian", b"lmgg" + bytes(30), "is in the old GGML format"),
        ("GGMF", b"fmgg" + bytes(30), "is in the old GGMF format"),
        ("GGJT", b"ggjt" + bytes(30), "is in the old GGJT format"),
        ("GGJT, little endian", b"tjgg" + bytes(30), "is in the old GGJT format"),
        ("zip", b"PK\x03\x04" + bytes(30), "is a zip archive (a PyTorch checkpoint?), not GGUF"),
        ("pickle", b"\x80\x02}q\x00." + bytes(30), "is a Python pickle (a PyTorch checkpoint?), not GGUF"),
        ("safetensors", struct.pack("<Q", 2) + b"{}" + bytes(30), "is in the safetensors format (byte 0), not GGUF"),
        ("web page", b"<!DOCTYPE html><html>404</html>", "is a web page, not a model (byte 0): the download failed"),
        ("git-LFS pointer", pointer, "is a git-LFS pointer, not the model itself: fetch it with 'git lfs pull'"),
        ("another magic", b"FUGG" + bytes(30), "the file is not GGUF: it starts with b'FUGG' at byte 0"),
    ):
        yield file(name, start, problem)
    for version in (0, 1, 4, 0xFFFFFFFF, 0x03000000):
        out = model()
        out.version = version
        known = "the file is big-endian (version at byte 4), but only little-endian is read"
        problem = known if version == 0x03000000 else f"the version is {version} at byte 4, but only 2 and 3 are read"
        yield built(f"version {version:#x}", out, problem)


def counts() -> Iterator[Case]:
    """Numbers of keys and tensors that are absurd, or off by one."""
    for count in HUGE:
        out = model()
        out.n_keys = count
        yield built(f"{count} keys", out, f"the metadata count is {count} at byte 16, but at most")
        out.n_keys, out.n_tensors = None, count
        yield built(f"{count} tensors", out, f"the tensor count is {count} at byte 8, but at most")
    out = model()
    n_keys, n_tensors = len(out.metadata), len(out.tensors)
    for step, of_keys, of_tensors in (
        (
            1,
            "the length of the name of tensor 0 is",
            f"the length of the name of tensor {n_tensors} is",
        ),  # the first tensor passes for a key
        (-1, "the type of tokenizer.ggml.eos_token_id is", "trailing garbage"),  # the last key passes for a tensor
    ):
        out.n_keys, out.n_tensors = n_keys + step, None
        yield built(f"n_kv {step:+}", out, of_keys)
        out.n_keys, out.n_tensors = None, n_tensors + step
        yield built(f"n_tensors {step:+}", out, of_tensors)


def directories() -> Iterator[Case]:
    """The tensor directory and the data section."""
    up = "blk.0.ffn_up.weight"
    index = [str(entry.name) for entry in model().tensors].index(up)
    yield from renamed(index)
    for rank in (0, 5, 2**32 - 1):
        yield tensor(f"rank {rank}", f"the rank of {up} is {rank} at byte @rank:{up}@, not in 1..4", rank=rank)
    short = "from offset"
    for dims, kind, problem in (
        ((8, 0), 1, f"dimension 1 of {up} is 0 at byte"),
        ((8, 2**63), 1, short),
        ((2**63, 8), 1, short),
        ((2**32, 2**32), 1, short),  # 2^64 weights
        ((4194305, 4194305, 211106198978564), 1, short),  # 4 modulo 2^64
        ((2**62,), 0, "takes 18446744073709551616 bytes"),  # the bytes wrap, the weights do not
        ((2**64 - 4,), 24, "takes 18446744073709551612 bytes"),  # the padding wraps
        ((8, 8), 4, f"the type of {up} is 4 at byte @kind:{up}@, not a ggml type in use"),
        ((8, 8), 5, f"the type of {up} is 5 at byte @kind:{up}@, not a ggml type in use"),
        ((8, 8), 1000, f"the type of {up} is 1000 at byte @kind:{up}@, not a ggml type in use"),
        ((8, 8), 25, f"tensor {up} at byte @tensor:{up}@ has the type I16, but it must be one of"),
        ((8, 8), 12, f"a row of {up} has 8 values at byte @dims:{up}@, but Q4_K needs a multiple of 256"),
        (
            (4, 16),
            1,
            f"tensor {up} at byte @tensor:{up}@ has the shape (16, 4), but the model's dimensions ask for (8, 8)",
        ),
        ((64,), 1, f"tensor {up} at byte @tensor:{up}@ has the shape (64,), but the model's dimensions ask for (8, 8)"),
    ):
        yield tensor(f"dims {dims}, type {kind}", problem, dims=dims, kind=kind)
    last = "output_norm.bias"
    beyond = "bytes from offset {}, but the data section, from byte @data@, has"
    for offset, problem in (
        (33, f"the offset of {last} is 33 at byte @offset:{last}@, not a multiple of the alignment 32"),
        (1 << 20, beyond.format(1 << 20)),
        (2**64 - 32, beyond.format(2**64 - 32)),
        (0, "it overlaps the tensor before it"),
    ):
        yield tensor(f"offset {offset}", problem, name=last, offset=offset)
    for name in [str(entry.name) for entry in model().tensors]:
        out = model()
        out.tensors = [entry for entry in out.tensors if entry.name != name]
        yield built(f"without {name}", out, f"tensor {name} is missing")
    extra = model().add("blk.1.attn_norm.weight", (8,), bytes(32))
    yield built(
        "one tensor more", extra, "tensor blk.1.attn_norm.weight at byte @tensor:blk.1.attn_norm.weight@ does not"
    )
    hole = model()
    hole.tensor(up).data += bytes(32)
    yield built("a hole", hole, "it leaves a hole before it")
    for size in (1, 32, 1000):
        out = model()
        out.trailing = bytes(size)
        yield built(f"{size} trailing bytes", out, f"trailing garbage: {size} bytes follow the last tensor at byte")
    out = model()
    out.pad_end = False
    whole = out.build()
    yield file("last tensor one byte short", whole[:-1], "the file is truncated or damaged")
    yield file("no data section", whole[: out.offsets["data"]], f"from byte {out.offsets['data']}, has 0")
    yield file(
        "ends before the data section", whole[: out.offsets["data"] - 1], f"from byte {out.offsets['data']}, has 0"
    )


def renamed(index: int) -> Iterator[Case]:
    """Names that a tensor may not have."""
    for name, problem in (
        (b"", f"the length of the name of tensor {index} is 0 at byte"),
        ("n" * 64, f"the length of the name of tensor {index} is 64 at byte"),
        ("n\0n", f"the name of tensor {index} 'n\\x00n' at byte"),
        (b"n\xff", f"the name of tensor {index} is not UTF-8 at byte"),
        ("output_norm.bias", "the tensor name output_norm.bias at byte"),
    ):
        out = model()
        out.tensors[index] = Tensor(name, (8, 8), 1, bytes(128))
        yield built(f"tensor: named {name!r}", out, problem)


#: Where blocks of 256 values have their f16 scales.
SUPERBLOCK_SCALES = {
    "Q4_K": {"d": 0, "dmin": 2},
    "Q5_K": {"d": 0, "dmin": 2},
    "Q6_K": {"d": 208},
    "Q2_K": {"d": 80, "dmin": 82},
    "Q3_K": {"d": 108},
    "IQ4_XS": {"d": 0},
}


def numbers() -> Iterator[Case]:
    """Weights, scales, norms and biases that are infinite or not a number."""
    for value in (math.nan, math.inf, -math.inf):
        half, single = np.float16(value).tobytes(), np.float32(value).tobytes()
        for kind, places in SUPERBLOCK_SCALES.items():
            for scale, at in places.items():
                yield damaged(
                    f"{scale} of {kind} is {value}",
                    "blk.0.ffn_up.weight",
                    at,
                    half,
                    weight_type=kind,
                    width=256,
                    hidden=256,
                )
        small = [(kind, "d", 0) for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL")]
        for kind, scale, at in [*small, ("Q4_1", "m", 2), ("Q5_1", "m", 2)]:
            yield damaged(
                f"{scale} of {kind} is {value}",
                "blk.0.ffn_down.weight",
                at,
                half,
                weight_type=kind,
                width=32,
                hidden=32,
            )
        yield damaged(f"F16 weight is {value}", "blk.0.attn_qkv.weight", 2, half)
        yield damaged(f"F32 weight is {value}", "token_embd.weight", 4, single, weight_type="F32")
        yield damaged(f"BF16 weight is {value}", "token_embd.weight", 2, single[2:], weight_type="BF16")
        for name in ("position_embd.weight", "output_norm.weight", "blk.0.attn_norm.bias", "blk.0.ffn_up.bias"):
            yield damaged(f"{name} is {value}", name, 4, single)


def damaged(what: str, name: str, at: int, data: bytes, **changes: Any) -> Case:
    """Other bytes at one place of a tensor."""
    out = model(**changes)
    old = out.tensor(name).data
    out.tensor(name).data = old[:at] + data + old[at + len(data) :]
    return built(what, out, f"tensor {name} at byte @tensor:{name}@ holds a ")


def paths() -> Iterator[Case]:
    """Paths that are not regular files, and a file that claims a terabyte."""

    def fifo(folder: Path) -> Path:
        path = folder / "fifo"
        if not path.exists():
            os.mkfifo(path)
        return path

    def loop(folder: Path) -> Path:
        path = folder / "loop"
        if not path.is_symlink():
            path.symlink_to(path)
        return path

    def stray(folder: Path) -> Path:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/\xff.gguf"))
        path.write_bytes(b"nothing")
        return path

    def sparse(data: bytes) -> Callable[[Path], Path]:
        def write(folder: Path) -> Path:
            path = folder / "sparse.gguf"
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            os.truncate(path, 1 << 40)
            return path

        return write

    if NAMED_PIPES:
        yield Case("a named pipe", fifo, "the path is a named pipe, not a file")
        yield Case("/dev/zero", lambda _: Path("/dev/zero"), "the path is a device, not a file")
    if LINKS:
        yield Case("a loop of links", loop, "the file cannot be opened")
    if ANY_NAMES:
        yield Case("a path that is not UTF-8", stray, r"\udcff.gguf': the file is too short for GGUF")
    yield Case("a sparse terabyte", sparse(model().build()), "trailing garbage")
    claims = GGUFBuilder().set("x", (ARRAY, array(U8, [], 1 << 39)))
    yield Case("a sparse terabyte of one array", sparse(claims.build()), f"the length of x is {1 << 39} at byte")


def odd_but_valid() -> Iterator[Case]:
    """Files that have to load."""
    yield built("a model", model(), None)
    old = model()
    old.version = 2
    yield built("version 2", old, None)
    backwards = model()
    backwards.tensors.reverse()
    yield built("tensors in another order", backwards, None)
    aligned = model().set("general.alignment", 64)
    aligned.alignment = 64
    yield built("alignment 64", aligned, None)
    unpadded = model()
    unpadded.pad_end = False
    yield built("no padding at the end", unpadded, None)
    yield built("unknown keys", model().set("x.y", 1).set("ключ", ["значение"]), None)
    yield built("empty arrays", model().set("x", (ARRAY, array(STRING, []))).set("y", (ARRAY, array(I32, []))), None)
    yield keys(f"{LAYER}.attention.head_count_kv", [1], None)
    yield keys(f"{LAYER}.context_length", scalar(U16, 2), None)
    yield keys(MERGES, (ARRAY, array(STRING, ["d e"] * 100_000)), None)  # the same merge again and again
    tokens = [*SYMBOLS, "ab", "ba", "aba", *"uvwxyzAB"]
    merges = ["ab a", "a ba", "b a", "a b", "ab a"]  # one result by two ways, and the long before the short
    yield built("merges in a circle", model(metadata={TOKENS: tokens, MERGES: merges}), None)
    tokens = [*SYMBOLS, "ĠĠ", "de", "def", "Ġr", "et", "a", "", "a\0b", *"xyz"]  # one twice, one empty, one with NUL
    yield built("odd tokens", model(metadata={TOKENS: tokens, MERGES: ["d e"]}), None)
    largest = np.float16(65504).tobytes()  # the answer may be an error, but the weights are finite
    out = model(width=256, hidden=256, weight_type="Q4_K")
    old_data = out.tensor("blk.0.ffn_up.weight").data
    out.tensor("blk.0.ffn_up.weight").data = largest + largest + old_data[4:]
    yield built("largest scales", out, None)


def truncations(data: bytes, sizes: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """A file cut off after each of `sizes` bytes."""
    for size in sizes:
        yield f"truncated to {size} bytes", data[:size]


#: What a byte may become: nothing, all ones, one bit at either end flipped.
FLIPS: Sequence[Callable[[int], int]] = (lambda _: 0, lambda _: 0xFF, lambda byte: byte ^ 1, lambda byte: byte ^ 0x80)


def flips(data: bytes, places: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """A file with one byte changed, at each of `places` in each of four ways."""
    for place in places:
        for byte in {flip(data[place]) for flip in FLIPS} - {data[place]}:
            yield f"byte {place} is {byte:#04x}", data[:place] + bytes([byte]) + data[place + 1 :]
