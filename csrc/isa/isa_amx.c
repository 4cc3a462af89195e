/* The kernels on AVX-512 with VNNI, and AMX for many tokens. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")
#define ISA_NAME "amx"
#define ISA_TABLE sc_kernels_amx
#define ISA_CHUNK 512
#define TILE_PANELS 2 /* a register tile is panels x tokens */
#define TILE_TOKENS 4 /* int8: two sums per token and panel, and what they add up to */
#define FEW_TOKENS 4 /* as many are unpacked in registers */
#define FLOAT_TOKENS 8
#define BODY_MANY "linear_tiles.h"
#define LINEAR_MANY(...) linear_tiles(__VA_ARGS__)
#define PREFETCH_BLOCKS 4 /* superblocks of a pair */
#define PREFETCH_CACHE 2 /* L2: L1 keeps too few requests in flight */
#define PREFETCH_NEAR 0 /* few tokens: into L1 half a superblock ahead */
#define LIMIT_SUMS 12 /* dot products in flight: enough to wait for none */
#define LIMIT_RUN 320 /* adds between their sums */
#define LIMIT_UNROLL 8 /* steps, as registers allow */
#include "../vec/avx512.h"
#include "../vec/amx.h"
#include "../body/table.h"
TARGET_END
#endif
