/* The kernels on AVX-512 with VNNI. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")
#define ISA_NAME "avx512"
#define ISA_TABLE sc_kernels_avx512
#define ISA_CHUNK 512
#define TILE_PANELS 2 /* panels and tokens per register tile: 12 dot and 12 float accumulators of 32 zmm */
#define TILE_TOKENS 6
#define PREFETCH_BYTES 8192
#include "vec/avx512.h"
#include "body/table.h"
TARGET_END
#endif
