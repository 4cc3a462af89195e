"""Types of the cffi extension, as csrc/santacoder.h declares it; a test compares the two.

A class stands for a C type or a pointer to it: `Team` is `sc_team *`. The classes exist for type checkers only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeVar, overload, type_check_only

import numpy as np
from numpy.typing import NDArray

_Initializer = Sequence[object] | Mapping[str, object]

@type_check_only
class CData:
    """A pointer to anything."""

    def __eq__(self, other: object, /) -> bool: ...

_Pointer = TypeVar("_Pointer", bound=CData)

@type_check_only
class Null(CData): ...

@type_check_only
class Chars(CData):
    def __add__(self, size: int, /) -> Chars: ...

@type_check_only
class Floats(CData): ...

@type_check_only
class Doubles(CData): ...

@type_check_only
class Int32s(CData):
    def __getitem__(self, index: int, /) -> int: ...
    def __iter__(self) -> Iterator[int]: ...

@type_check_only
class Uint8s(CData): ...

@type_check_only
class Uint32s(CData): ...

@type_check_only
class Uint64s(CData): ...

@type_check_only
class Sizes(CData):
    def __getitem__(self, index: int, /) -> int: ...

@type_check_only
class Pointers(CData): ...

@type_check_only
class Team(CData): ...

@type_check_only
class TeamCounts:
    phases: int
    waits: int
    yields: int
    sleeps: int

@type_check_only
class Guesses(CData): ...

@type_check_only
class Matrix(CData):
    format: int
    rows: int
    columns: int
    panels: CData

@type_check_only
class Quantization(CData):
    source: int
    target: int
    rows: int
    columns: int
    values: CData
    importance: Floats
    mean: Floats
    blocks: CData
    sums: Doubles
    shifts: Floats

@type_check_only
class Shape(CData):
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_ff: int
    cache: int
    epsilon: float

@type_check_only
class Engine(CData): ...

@type_check_only
class Op(CData):
    kind: int
    layer: int
    quantize: int
    matrix: Matrix
    positions: Matrix
    weight: Floats
    bias: Floats
    moments: Doubles

@type_check_only
class Ops(Op):
    """An array of operations, which C takes for a pointer to the first."""

    def __add__(self, count: int, /) -> Op: ...
    def __getitem__(self, index: int, /) -> Op: ...
    def __iter__(self) -> Iterator[Op]: ...

@type_check_only
class Segment(CData):
    first_row: int
    rows: int
    position: int
    kv_blocks: Pointers

@type_check_only
class Batch(CData):
    rows: int
    segments: int
    outputs: int
    tokens: Int32s
    segment: Segment
    output_rows: Int32s
    logits: Floats

@type_check_only
class Winnowing(CData):
    gram: int
    window: int
    least: int

@type_check_only
class Winnower(CData):
    lexemes: int
    rolling: int
    leaving: int
    grams: Uint64s
    window: int
    best: int
    minimum: int
    last: int
    gram: int
    least: int
    different: int
    counts: Uint8s

@type_check_only
class Follower(CData):
    winnower: Winnower
    recent: Uint64s
    start: int
    due: int
    key: int
    paused: int
    chosen: int
    is_due: int

@type_check_only
class Lib:
    SC_OK: Final[int]
    SC_NOT_FINITE: Final[int]
    SC_TOO_LARGE: Final[int]

    SC_KV_BLOCK: Final[int]

    SC_LAYOUT: Final[int]

    SC_F32: Final[int]
    SC_F16: Final[int]
    SC_BF16: Final[int]
    SC_Q4_K: Final[int]
    SC_Q5_K: Final[int]
    SC_Q6_K: Final[int]
    SC_Q8_0: Final[int]
    SC_Q4_0: Final[int]
    SC_Q4_1: Final[int]
    SC_Q5_0: Final[int]
    SC_Q5_1: Final[int]
    SC_IQ4_NL: Final[int]
    SC_Q2_K: Final[int]
    SC_Q3_K: Final[int]
    SC_IQ4_XS: Final[int]
    SC_FORMATS: Final[int]

    SC_SHORT_TEXT: Final[int]
    SC_SHORT_WINDOW: Final[int]

    SC_ISA_SCALAR: Final[int]
    SC_ISA_SSE41: Final[int]
    SC_ISA_AVX2: Final[int]
    SC_ISA_AVXVNNI: Final[int]
    SC_ISA_AVX512: Final[int]
    SC_ISA_AMX: Final[int]
    SC_ISA_NEON: Final[int]
    SC_ISA_NEON_DOTPROD: Final[int]
    SC_ISA_LEVELS: Final[int]

    SC_QUANTIZE_UNIT: Final[int]

    SC_OP_EMBED: Final[int]
    SC_OP_NORM: Final[int]
    SC_OP_NORM_LAST: Final[int]
    SC_OP_QKV: Final[int]
    SC_OP_ATTEND: Final[int]
    SC_OP_ADD_ATTN: Final[int]
    SC_OP_UP: Final[int]
    SC_OP_ADD_FFN: Final[int]
    SC_OP_LOGITS: Final[int]

    SC_GUESS_RUN: Final[int]

    SC_PEAK_MACS: Final[int]

    SC_MAX_GRAM: Final[int]
    SC_MAX_WINDOW: Final[int]

    def sc_isa_best(self) -> int: ...
    def sc_isa_available(self, level: int, /) -> int: ...
    def sc_allocate(self, size: int, /) -> CData: ...
    def sc_release(self, memory: CData, size: int, /) -> None: ...
    def sc_file_map(self, descriptor: int, size: int, /) -> CData: ...
    def sc_file_unmap(self, mapping: CData, size: int, /) -> None: ...
    def sc_file_gather(self, mapping: CData, size: int, /) -> None: ...
    def sc_team_new(self, threads: int, /) -> Team: ...
    def sc_team_free(self, team: Team, /) -> None: ...
    def sc_team_wanted(self, team: Team, /) -> int: ...
    def sc_team_counted(self, team: Team, /) -> TeamCounts: ...
    def sc_matrix_bytes(self, format: int, rows: int, columns: int, /) -> int: ...
    def sc_pack(
        self, team: Team, source: int, blocks: CData, rows: int, columns: int, format: int, panels: CData, /
    ) -> int: ...
    def sc_quantize(self, team: Team, isa: int, quantization: Quantization, /) -> int: ...
    def sc_engine_new(self, shape: Shape, isa: int, rows: int, float_hidden: int, team: Team, /) -> Engine: ...
    def sc_engine_free(self, engine: Engine, /) -> None: ...
    def sc_engine_chunk(self, isa: int, /) -> int: ...
    def sc_kv_block_bytes(self, shape: Shape, /) -> int: ...
    def sc_run(self, engine: Engine, ops: Op, n_ops: int, batch: Batch, /) -> None: ...
    def sc_sample(
        self,
        isa: int,
        logits: Floats,
        n: int,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        random: Uint64s,
        count: int,
        tokens: Int32s,
        workspace: CData,
        /,
    ) -> int: ...
    def sc_sample_bytes(self) -> int: ...
    def sc_argmax(self, isa: int, logits: Floats, n: int, /) -> int: ...
    def sc_restrict(self, logits: Floats, ranks: Int32s, n: int, first: int, last: int, /) -> None: ...
    def sc_guesses_new(self, most: int, /) -> Guesses: ...
    def sc_guesses_free(self, guesses: Guesses, /) -> None: ...
    def sc_guesses_length(self, guesses: Guesses, /) -> int: ...
    def sc_guesses_bytes(self, guesses: Guesses, /) -> int: ...
    def sc_guesses_add(self, guesses: Guesses, tokens: Int32s, count: int, /) -> int: ...
    def sc_guesses_find(self, guesses: Guesses, tokens: Int32s, count: int, matched: Int32s, /) -> int: ...
    def sc_guesses_copy(self, guesses: Guesses, place: int, tokens: Int32s, count: int, /) -> int: ...
    def sc_fpenv_default(self) -> int: ...
    def sc_fpenv_restore(self, state: int, /) -> None: ...
    def sc_peak_read(self, team: Team, isa: int, memory: CData, size: int, /) -> int: ...
    def sc_peak_dot(self, team: Team, isa: int, rounds: int, /) -> int: ...
    def sc_lexemes(self, text: Uint8s, size: int, renamed: int, starts: Uint32s, hashes: Uint64s, /) -> int: ...
    def sc_lexeme_end(self, text: Uint8s, size: int, start: int, /) -> int: ...
    def sc_winnow(self, hashes: Uint64s, count: int, how: Winnowing, keys: Uint32s, firsts: Uint32s, /) -> int: ...
    def sc_fingerprints(
        self,
        texts: bytes,
        ends: Uint32s,
        count: int,
        renamed: int,
        how: Winnowing,
        starts: Uint32s,
        hashes: Uint64s,
        lexemes: Uint32s,
        grams: Uint32s,
        keys: Uint32s,
        firsts: Uint32s,
        /,
    ) -> int: ...
    def sc_begin_following(self, f: Follower, how: Winnowing, /) -> None: ...
    def sc_follow(self, f: Follower, text: bytes, size: int, at: int, ended: int, /) -> int: ...
    def sc_shared_run(self, a: Uint64s, n: int, b: Uint64s, m: int, i: int, j: int, before: Sizes, /) -> int: ...

@type_check_only
class CType:
    fields: list[tuple[str, CField]]
    args: tuple[CType, ...]
    result: CType

@type_check_only
class CField:
    type: CType

@type_check_only
class FFI:
    NULL: Final[Null]
    error: type[Exception]

    @overload
    def new(self, cdecl: Literal["sc_matrix *"], init: _Initializer, /) -> Matrix: ...
    @overload
    def new(self, cdecl: Literal["sc_quantization *"], init: _Initializer, /) -> Quantization: ...
    @overload
    def new(self, cdecl: Literal["sc_shape *"], init: _Initializer, /) -> Shape: ...
    @overload
    def new(self, cdecl: Literal["sc_op[]"], init: Sequence[_Initializer], /) -> Ops: ...
    @overload
    def new(self, cdecl: Literal["sc_segment[]"], init: Sequence[_Initializer], /) -> Segment: ...
    @overload
    def new(self, cdecl: Literal["sc_batch *"], init: _Initializer, /) -> Batch: ...
    @overload
    def new(self, cdecl: Literal["int32_t[]"], init: int | Sequence[int], /) -> Int32s: ...
    @overload
    def new(self, cdecl: Literal["uint64_t[]"], init: Sequence[int], /) -> Uint64s: ...
    @overload
    def new(self, cdecl: Literal["sc_winnowing *"], init: _Initializer, /) -> Winnowing: ...
    @overload
    def new(self, cdecl: Literal["sc_follower *"], /) -> Follower: ...
    @overload
    def new(self, cdecl: Literal["size_t *"], /) -> Sizes: ...
    @overload
    def from_buffer(self, array: NDArray[np.generic], /) -> Chars: ...
    @overload
    def from_buffer(
        self, cdecl: Literal["float *", "float[]"], array: NDArray[np.float32], /, require_writable: bool = False
    ) -> Floats: ...
    @overload
    def from_buffer(self, cdecl: Literal["double *"], array: NDArray[np.float64], /) -> Doubles: ...
    @overload
    def from_buffer(self, cdecl: Literal["int32_t[]"], array: NDArray[np.int32], /) -> Int32s: ...
    @overload
    def from_buffer(self, cdecl: Literal["uint8_t *"], text: bytes, /) -> Uint8s: ...
    @overload
    def from_buffer(self, cdecl: Literal["uint32_t *"], array: NDArray[np.uint32], /) -> Uint32s: ...
    @overload
    def from_buffer(self, cdecl: Literal["uint64_t *"], array: NDArray[np.uint64], /) -> Uint64s: ...
    @overload
    def from_buffer(self, cdecl: Literal["void *[]"], array: NDArray[np.uintp], /) -> Pointers: ...
    def buffer(self, pointer: CData, size: int = -1, /) -> memoryview: ...  # of cffi's own kind
    @overload
    def cast(self, cdecl: Literal["char *"], pointer: CData, /) -> Chars: ...
    @overload
    def cast(self, cdecl: Literal["float *"], pointer: CData, /) -> Floats: ...
    def gc(self, pointer: _Pointer, free: Callable[[_Pointer], None], size: int = 0, /) -> _Pointer: ...
    def typeof(self, cdecl: str | Callable[..., object], /) -> CType: ...
    def sizeof(self, cdecl: str, /) -> int: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...

ffi: Final[FFI]
lib: Final[Lib]
