/* The instance of the primitives' checks for each level. */
#include <stdlib.h>

#include "check.h"
#include "primitives.h"

void check_primitives(int level, const sc_kernels *kernels)
{
    (void)kernels;
    switch (level) {
#if defined __x86_64__
    case SC_ISA_SSE41: primitives_sse41(); break;
    case SC_ISA_AVX2: primitives_avx2(); break;
    case SC_ISA_AVXVNNI: primitives_avxvnni(); break;
    case SC_ISA_AVX512: primitives_avx512(); break;
    case SC_ISA_AMX: primitives_amx(); break;
#elif defined __aarch64__
    case SC_ISA_NEON: primitives_neon(); break;
    case SC_ISA_NEON_DOTPROD: primitives_neon_dotprod(); break;
#endif
    default: primitives_scalar(); break;
    }
}
