/* The instances of the kernels, and which of them the running CPU can use. */
#include <assert.h>
#include <stdatomic.h>

#include "../kernels.h"
#include "../os/cpu.h"
#include "../santacoder.h"

/* Asked once per level: in a virtual machine cpuid traps to the hypervisor and takes tens of microseconds. */
int sc_isa_available(int level)
{
    static atomic_int answers[SC_ISA_LEVELS]; /* 0 unknown, 1 no, 2 yes */
    if (level < 0 || level >= SC_ISA_LEVELS) return 0;
    if (!answers[level]) answers[level] = 1 + sc_cpu_supports(level);
    return answers[level] == 2;
}

int sc_isa_best(void)
{
    int best = SC_ISA_SCALAR;
    for (int level = SC_ISA_SCALAR; level < SC_ISA_LEVELS; level++)
        if (sc_isa_available(level)) best = level;
    return best;
}

const sc_kernels *sc_kernels_get(int level)
{
    assert(sc_isa_available(level));
    switch (level) {
    case SC_ISA_SCALAR: return &sc_kernels_scalar;
#if defined __x86_64__
    case SC_ISA_SSE41: return &sc_kernels_sse41;
    case SC_ISA_AVX2: return &sc_kernels_avx2;
    case SC_ISA_AVXVNNI: return &sc_kernels_avxvnni;
    case SC_ISA_AVX512: return &sc_kernels_avx512;
    case SC_ISA_AMX: return &sc_kernels_amx;
#elif defined __aarch64__
    case SC_ISA_NEON: return &sc_kernels_neon;
    case SC_ISA_NEON_DOTPROD: return &sc_kernels_neon_dotprod;
#endif
    default: return NULL; /* a level that has no line here fails at once, instead of running plain C */
    }
}
