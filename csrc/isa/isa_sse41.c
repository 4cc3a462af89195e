/* The kernels on SSSE3 and SSE4.1, for CPUs and virtual machines without AVX2. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("sse4.1")
#define ISA sse41
#define CHUNK 256
#define TILE_PANELS 1
#define TILE_TOKENS 2
#define FLOAT_TOKENS 4
#define GEMV_TOKENS 1
#define UNROLLED_SPANS 1
#define PREFETCH_SUPERBLOCKS 4
#define PREFETCH_CACHE 2
#define PREFETCH_NEAR 1
#define PEAK_SUMS 2
#define PEAK_RUN 8
#define PEAK_UNROLL 2
#include "../body/knobs.h"
#include "../vec/sse41.h"
#include "../body/table.h"
TARGET_END
#endif
