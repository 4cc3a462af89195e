/* What an instance of the bodies chooses, which never changes a bit: isa/isa_*.c set what differs from plain C. */
#ifndef SC_BODY_KNOBS_H
#define SC_BODY_KNOBS_H

/* The name of the instruction set: kernels carry it, and SANTACODER_ISA. */
#ifndef ISA
#define ISA scalar
#endif

/* Most tokens of a call of `linear`: a prompt is run in chunks of so many. */
#ifndef CHUNK
#define CHUNK 4
#endif

/* A register tile is panels x tokens: of int8, with two sums per token and panel and what they add up to; of floats. */
#ifndef TILE_PANELS
#define TILE_PANELS 1
#endif
#ifndef TILE_TOKENS
#define TILE_TOKENS 4
#endif
#ifndef FLOAT_TOKENS
#define FLOAT_TOKENS 4
#endif

/* Up to so many tokens, weights are unpacked in registers. With more, they are unpacked once per superblock, to L1; or,
 * of formats of which UNPACK_IN_TILE is true, again for each tile. */
#ifndef GEMV_TOKENS
#define GEMV_TOKENS 1
#endif
#ifndef UNPACK_IN_TILE
#define UNPACK_IN_TILE(format) 0
#endif

/* Whether more tokens go through tile registers (vec/tiles.h). */
#ifndef GEMM_ON_TILES
#define GEMM_ON_TILES 0
#endif

/* Weights are prefetched so many superblocks of a pair ahead, none if 0, into L2 (2), or L1 (3). On x86 L1 keeps too
 * few requests in flight. Few tokens may ask L2 for the next half superblock, too. */
#ifndef PREFETCH_SUPERBLOCKS
#define PREFETCH_SUPERBLOCKS 0
#endif
#ifndef PREFETCH_CACHE
#define PREFETCH_CACHE 3
#endif
#ifndef PREFETCH_NEAR
#define PREFETCH_NEAR 0
#endif

/* The peak of dot products: so many in flight, enough to wait for none; adds between their sums; quads at a time, as
 * registers allow. */
#ifndef PEAK_SUMS
#define PEAK_SUMS 1
#endif
#ifndef PEAK_RUN
#define PEAK_RUN 8
#endif
#ifndef PEAK_UNROLL
#define PEAK_UNROLL 1
#endif

/* The name of a kernel in this instance, as debuggers and profilers show it: linear_q4_k_avx2. */
#define FN__(name, isa) name##_##isa
#define FN_(name, isa) FN__(name, isa)
#define FN(name) FN_(name, ISA)
#define TEXT__(name) #name
#define TEXT_(name) TEXT__(name)
#define ISA_NAME TEXT_(ISA)

#endif
