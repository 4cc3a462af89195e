/* The kernels on 256-bit AVX-VNNI. */
#include "isa.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c,avxvnni")
#define ISA_NAME "avxvnni"
#define ISA_TABLE sc_kernels_avxvnni
#define ISA_CHUNK 256
#define TILE_PANELS 1 /* panels and tokens per register tile: 8 of 16 ymm accumulate */
#define TILE_TOKENS 4
#define PREFETCH_BYTES 4096
#include "vec/avx2.h"
#include "vec/dot_avxvnni.h"
#include "body/table.h"
TARGET_END
#endif
