/* The kernels on NEON with the dot-product extension. */
#include "isa.h"

#if defined __aarch64__
TARGET_BEGIN("arch=armv8.2-a+dotprod")
#define ISA neon_dotprod
#define CHUNK 256
#define TILE_PANELS 1
#define TILE_TOKENS 4
#define FLOAT_TOKENS 6
#define GEMV_TOKENS 1
#define PREFETCH_SUPERBLOCKS 1
#define PREFETCH_CACHE 3
#define PREFETCH_NEAR 0
#define PEAK_SUMS 4
#define PEAK_RUN 320
#define PEAK_UNROLL 8
#include "../vec/neon.h"
#include "../vec/dot_neon_dotprod.h"
#include "../body/table.h"
TARGET_END
#endif
