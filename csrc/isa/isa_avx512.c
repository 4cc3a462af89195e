/* The kernels on AVX-512 with VNNI. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")
#define ISA avx512
#define CHUNK 512
#define TILE_PANELS 2
#define TILE_TOKENS 4
#define FLOAT_TOKENS 8
#define GEMV_TOKENS 4
#define UNPACK_IN_TILE(format) (format == SC_Q4_K)
#define PREFETCH_SUPERBLOCKS 4
#define PREFETCH_CACHE 2
#define PREFETCH_NEAR 1
#define PEAK_SUMS 12
#define PEAK_RUN 320
#define PEAK_UNROLL 8
#include "../vec/avx512.h"
#include "../body/table.h"
TARGET_END
#endif
