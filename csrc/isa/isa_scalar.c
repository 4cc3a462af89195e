/* The kernels on plain C, for any machine and as the other instances' yardstick. */
#define UNROLL(n) /* loops over arrays: unrolled, they take the compiler a minute and run no faster */
#include "isa.h"

#define ISA_NAME "scalar"
#define ISA_TABLE sc_kernels_scalar
#define ISA_CHUNK 4
#define TILE_PANELS 1 /* a register tile is panels x tokens */
#define TILE_TOKENS 4 /* int8: two sums per token and panel, and what they add up to */
#define FEW_TOKENS 1 /* as many are unpacked in registers */
#define UNPACK_IN_TILE(format) 0 /* bytes are unpacked once per superblock, to L1 */
#define FLOAT_TOKENS 4
#define BODY_MANY "linear_registers.h"
#define LINEAR_MANY(...) linear_registers(__VA_ARGS__)
#define PREFETCH_BLOCKS 0 /* superblocks of a pair */
#define PREFETCH_CACHE 3 /* L1 */
#define PREFETCH_NEAR 0 /* few tokens: into L1 half a superblock ahead */
#define LIMIT_SUMS 1 /* dot products in flight: enough to wait for none */
#define LIMIT_RUN 8 /* adds between their sums */
#define LIMIT_UNROLL 1 /* steps, as registers allow */
#include "../vec/scalar.h"
#include "../body/table.h"

