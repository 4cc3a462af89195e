/* The kernels on AVX2, FMA and F16C. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c")
#define ISA avx2
#define CHUNK 256
#define TILE_PANELS 1
#define TILE_TOKENS 4
#define FLOAT_TOKENS 6
#define GEMV_TOKENS 1
#define PREFETCH_SUPERBLOCKS 4
#define PREFETCH_CACHE 2
#define PREFETCH_NEAR 1
#define PEAK_SUMS 3
#define PEAK_RUN 8
#define PEAK_UNROLL 2
#include "../vec/avx2.h"
#include "../vec/dot_avx2.h"
#include "../body/table.h"
TARGET_END
#endif
