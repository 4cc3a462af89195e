/* The floating-point environment of a thread. */
#include "../santacoder.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

unsigned long long sc_fpenv_default(void)
{
#if defined __x86_64__
    const unsigned old = _mm_getcsr();
    _mm_setcsr(0x1F80);
    return old;
#elif defined __aarch64__
    unsigned long long old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"(0ULL));
    return old;
#else
    return 0;
#endif
}

void sc_fpenv_restore(unsigned long long old)
{
#if defined __x86_64__
    _mm_setcsr((unsigned)old);
#elif defined __aarch64__
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
    (void)old;
#endif
}
