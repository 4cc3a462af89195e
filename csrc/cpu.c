/* Which instruction sets the running CPU and operating system support. */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "kernels.h"
#include "santacoder.h"

#if defined __x86_64__
#include <cpuid.h>
#if defined __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Registers that the operating system saves: bits 1, 2 for ymm, further 5, 6, 7 for zmm, 17, 18 for tiles. */
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux gives tile registers to a process that asks, once for all its threads. It refuses where a signal stack is too
 * small to hold them. */
static int tiles_granted(void)
{
#if defined __linux__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA);
#else
    return 0;
#endif
}

static int supports(int level)
{
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29 };                  /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, F = 1 << 16, BW = 1 << 30, VNNI512 = 1 << 11 };       /* leaf 7.0: ebx, VNNI512 in ecx */
    const uint32_t vl = 1u << 31;
    enum { AVXVNNI = 1 << 4 };                                                  /* leaf 7.1, eax */
    enum { AMX = 3 << 24 };                                                     /* leaf 7.0, edx: tiles, int8 */
    uint32_t a, b, c, d, b7, c7, d7;
    if (level == SC_ISA_SCALAR) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (FMA | OSXSAVE | F16C)) != (FMA | OSXSAVE | F16C)) return 0;
    const uint64_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || !(b7 & AVX2) || (saved & 0x06) != 0x06) return 0;
    switch (level) {
    case SC_ISA_AVX2: return 1;
    case SC_ISA_AVXVNNI: return a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVXVNNI) != 0;
    case SC_ISA_AMX: return supports(SC_ISA_AVX512) && (d7 & AMX) == AMX && (saved >> 17 & 3) == 3 && tiles_granted();
    case SC_ISA_AVX512: return (b7 & F) && (b7 & BW) && (b7 & vl) && (c7 & VNNI512) && (saved & 0xE6) == 0xE6;
    default: return 0;
    }
}
#elif defined __aarch64__
#if defined __linux__
#include <sys/auxv.h>
#elif defined __APPLE__
#include <sys/sysctl.h>
#endif

static int has_dotprod(void)
{
#if defined __linux__
    return (int)(getauxval(AT_HWCAP) >> 20 & 1); /* HWCAP_ASIMDDP */
#elif defined __APPLE__
    int yes = 0;
    size_t size = sizeof yes;
    return !sysctlbyname("hw.optional.arm.FEAT_DotProd", &yes, &size, NULL, 0) && yes;
#else
    return 0;
#endif
}

static int supports(int level)
{
    return level == SC_ISA_SCALAR || level == SC_ISA_NEON || (level == SC_ISA_NEON_DOTPROD && has_dotprod());
}
#else
static int supports(int level) { return level == SC_ISA_SCALAR; }
#endif

/* Asked once per level: in a virtual machine cpuid leaves to the hypervisor and takes tens of microseconds. */
int sc_isa_available(int level)
{
    static atomic_int answers[SC_ISA_LEVELS]; /* 0 unknown, 1 no, 2 yes */
    if (level < 0 || level >= SC_ISA_LEVELS) return 0;
    if (!answers[level]) answers[level] = 1 + supports(level);
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
    if (!sc_isa_available(level)) return NULL;
    switch (level) {
#if defined __x86_64__
    case SC_ISA_AVX2: return &sc_kernels_avx2;
    case SC_ISA_AVXVNNI: return &sc_kernels_avxvnni;
    case SC_ISA_AVX512: return &sc_kernels_avx512;
    case SC_ISA_AMX: return &sc_kernels_amx;
#elif defined __aarch64__
    case SC_ISA_NEON: return &sc_kernels_neon;
    case SC_ISA_NEON_DOTPROD: return &sc_kernels_neon_dotprod;
#endif
    default: return &sc_kernels_scalar;
    }
}

int32_t sc_engine_chunk(int isa) { return sc_kernels_get(isa)->chunk; }
