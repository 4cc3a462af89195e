/* The kernels on AVX2, FMA and F16C. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c")
#define ISA_NAME "avx2"
#define ISA_TABLE sc_kernels_avx2
#define ISA_CHUNK 256
#define TILE_PANELS 1 /* a register tile is panels x tokens */
#define TILE_TOKENS 4 /* int8: two sums per token and panel, and what they add up to */
#define FEW_TOKENS 1 /* as many are unpacked in registers */
#define UNPACK_IN_TILE(format) 0 /* bytes are unpacked once per superblock, to L1 */
#define FLOAT_TOKENS 6
#define BODY_MANY "linear_registers.h"
#define LINEAR_MANY(...) linear_registers(__VA_ARGS__)
#define PREFETCH_BLOCKS 4 /* superblocks of a pair */
#define PREFETCH_CACHE 2 /* L2: L1 keeps too few requests in flight */
#define PREFETCH_NEAR 1 /* few tokens: into L1 half a superblock ahead */
#define LIMIT_SUMS 3 /* dot products in flight: enough to wait for none */
#define LIMIT_RUN 8 /* adds between their sums */
#define LIMIT_UNROLL 2 /* steps, as registers allow */
#include "../vec/avx2.h"
#include "../vec/dot_avx2.h"
#include "../body/table.h"
TARGET_END
#endif
