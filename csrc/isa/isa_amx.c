/* The kernels on AVX-512 with VNNI, and AMX for many tokens. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")
#define ISA amx
#define SHARED avx512
#define FEW_SHARED 1
#define CHUNK 512
#define TILE_PANELS 2
#define TILE_TOKENS 4
#define FLOAT_TOKENS 8
#define GEMV_TOKENS 4
#define GEMM_ON_TILES 1
#define PREFETCH_SUPERBLOCKS 4
#define PREFETCH_CACHE 2
#define PREFETCH_NEAR 0
#define PEAK_SUMS 12
#define PEAK_RUN 320
#define PEAK_UNROLL 8
#include "../vec/avx512.h"
#include "../vec/amx.h"
#include "../body/table.h"
TARGET_END
#endif
