/* What an instance of the bodies chooses: it affects speed, never bits. isa/isa_*.c set what differs from plain C. */
#ifndef SC_BODY_KNOBS_H
#define SC_BODY_KNOBS_H

/* The name of the instruction set, in kernel names and in SANTACODER_ISA. */
#ifndef ISA
#define ISA scalar
#endif

/* Most tokens per call of `linear`: longer prompts run in chunks of this size. */
#ifndef CHUNK
#define CHUNK 4
#endif

/* A register tile is panels x tokens. TILE_*: int8, with two sums per token and panel and their total; FLOAT_TOKENS:
 * floats. */
#ifndef TILE_PANELS
#define TILE_PANELS 1
#endif
#ifndef TILE_TOKENS
#define TILE_TOKENS 4
#endif
#ifndef FLOAT_TOKENS
#define FLOAT_TOKENS 4
#endif

/* Up to GEMV_TOKENS tokens, weights are unpacked in registers. With more, they are unpacked to L1 once per superblock;
 * or again for each tile, if UNPACK_IN_TILE(format). */
#ifndef GEMV_TOKENS
#define GEMV_TOKENS 1
#endif
#ifndef UNPACK_IN_TILE
#define UNPACK_IN_TILE(format) 0
#endif

/* Spans of a superblock that a loop takes at once: 8 make their numbers constants; 1 makes less code, which is faster
 * where a span takes many instructions. */
#ifndef UNROLLED_SPANS
#define UNROLLED_SPANS 8
#endif

/* Whether more than GEMV_TOKENS tokens go through tile registers (vec/tiles.h). */
#ifndef GEMM_ON_TILES
#define GEMM_ON_TILES 0
#endif

/* Weights are prefetched PREFETCH_SUPERBLOCKS of a pair ahead (0: not at all) into L2 (PREFETCH_CACHE 2) or L1 (3). On
 * x86 L1 keeps too few requests in flight. PREFETCH_NEAR: with few tokens, also prefetch the next half superblock from
 * L2. */
#ifndef PREFETCH_SUPERBLOCKS
#define PREFETCH_SUPERBLOCKS 0
#endif
#ifndef PREFETCH_CACHE
#define PREFETCH_CACHE 3
#endif
#ifndef PREFETCH_NEAR
#define PREFETCH_NEAR 0
#endif

/* For the peak of dot products: sums in flight, enough never to wait for one; adds per sum between dot_start and
 * dot_end; quads unrolled, as registers allow. */
#ifndef PEAK_SUMS
#define PEAK_SUMS 1
#endif
#ifndef PEAK_RUN
#define PEAK_RUN 8
#endif
#ifndef PEAK_UNROLL
#define PEAK_UNROLL 1
#endif

/* The instance whose kernels of floats and of fitting this one has too, for they would be the same code; and whether
 * those of few tokens are also the same, for the types that are unpacked to another's form. */
#ifdef SHARED
#define FROM(name) FN_(name, SHARED)
#else
#define FROM(name) FN(name)
#endif
#ifndef FEW_SHARED
#define FEW_SHARED 0
#endif

/* The name of a kernel in this instance, as debuggers and profilers show it: linear_q4_k_avx2. */
#define FN__(name, isa) name##_##isa
#define FN_(name, isa) FN__(name, isa)
#define FN(name) FN_(name, ISA)
#define TEXT__(name) #name
#define TEXT_(name) TEXT__(name)
#define ISA_NAME TEXT_(ISA)

#endif
