/* Which instruction sets the running CPU and operating system support. */
#include "cpu.h"

#include <stdint.h>

#include "../santacoder.h"
#include "platform.h"

#if defined __x86_64__
#include <cpuid.h>

/* Registers that the operating system saves: bits 1 and 2 for ymm, also 5, 6 and 7 for zmm, 17 and 18 for tiles. */
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

int sc_cpu_supports(int level)
{
    enum { SSSE3 = 1 << 9, SSE41 = 1 << 19 };                                   /* leaf 1, ecx */
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29 };                  /* leaf 1, ecx */
    enum { AVX2 = 1 << 5, F = 1 << 16, BW = 1 << 30, VNNI512 = 1 << 11 };       /* leaf 7.0: ebx, VNNI512 in ecx */
    const uint32_t vl = 1u << 31;
    enum { AVXVNNI = 1 << 4 };                                                  /* leaf 7.1, eax */
    enum { AMX = 3 << 24 };                                                     /* leaf 7.0, edx: tiles, int8 */
    uint32_t a, b, c, d, b7, c7, d7;
    if (level == SC_ISA_SCALAR) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (level == SC_ISA_SSE41) return (c & (SSSE3 | SSE41)) == (SSSE3 | SSE41);
    if ((c & (FMA | OSXSAVE | F16C)) != (FMA | OSXSAVE | F16C)) return 0;
    const uint64_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || !(b7 & AVX2) || (saved & 0x06) != 0x06) return 0;
    switch (level) {
    case SC_ISA_AVX2: return 1;
    case SC_ISA_AVXVNNI: return a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVXVNNI) != 0;
    case SC_ISA_AMX:
        return sc_cpu_supports(SC_ISA_AVX512) && (d7 & AMX) == AMX && (saved >> 17 & 3) == 3 && sc_grant_tiles();
    case SC_ISA_AVX512: return (b7 & F) && (b7 & BW) && (b7 & vl) && (c7 & VNNI512) && (saved & 0xE6) == 0xE6;
    default: return 0;
    }
}
#elif defined __aarch64__
int sc_cpu_supports(int level)
{
    return level == SC_ISA_SCALAR || level == SC_ISA_NEON || (level == SC_ISA_NEON_DOTPROD && sc_has_dotprod());
}
#else
int sc_cpu_supports(int level) { return level == SC_ISA_SCALAR; }
#endif
