/* A clock that takes a few nanoseconds to read, in ticks of its own. */
#ifndef SC_TICKS_H
#define SC_TICKS_H

#include "platform.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

/* Not ordered with other instructions, and may differ between CPUs: it only steers waiting. */
static inline uint64_t sc_ticks(void)
{
#if defined __x86_64__
    return __rdtsc();
#elif defined __aarch64__
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return sc_nanoseconds();
#endif
}

static inline void sc_pause(void)
{
#if defined __x86_64__
    _mm_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
}

#endif
