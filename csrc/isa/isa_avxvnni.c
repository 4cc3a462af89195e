/* The kernels on 256-bit AVX-VNNI. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c,avxvnni")
#define ISA avxvnni
#define SHARED avx2
#define CHUNK 256
#define TILE_PANELS 1
#define TILE_TOKENS 4
#define FLOAT_TOKENS 6
#define GEMV_TOKENS 2
#define PREFETCH_SUPERBLOCKS 4
#define PREFETCH_CACHE 2
#define PREFETCH_NEAR 1
#define PEAK_SUMS 5
#define PEAK_RUN 320
#define PEAK_UNROLL 8
#include "../vec/avx2.h"
#include "../vec/dot_avxvnni.h"
#include "../body/table.h"
TARGET_END
#endif
