/* What every instance of the kernels (isa_*.c) needs before its target pragma: the few macros of the bodies, and system
 * headers, so that none of their functions is compiled for an instruction set that the running CPU may lack. */
#ifndef SC_ISA_H
#define SC_ISA_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined __x86_64__
#include <immintrin.h>
#elif defined __aarch64__
#include <arm_neon.h>
#endif

#include "../half.h"
#include "../kernels.h"
#include "../layout.h"

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define PRAGMA_(text) _Pragma(#text)
#if defined __clang__
#define UNROLL_(n) PRAGMA_(clang loop unroll(full))
#define TARGET_BEGIN(features) PRAGMA_(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TARGET_END PRAGMA_(clang attribute pop)
#else
#define UNROLL_(n) PRAGMA_(GCC unroll n)
#define TARGET_BEGIN(features) PRAGMA_(GCC push_options) PRAGMA_(GCC target(features))
#define TARGET_END PRAGMA_(GCC pop_options)
#endif

#if !defined UNROLL /* isa_scalar.c and builds with sanitizers turn it off */
#define UNROLL(n) UNROLL_(n)
#endif

/* How many tokens the next register tile takes when `left` remain and `most` fit. */
INLINE size_t next_tile(size_t left, size_t most) { return left >= most ? most : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/* Four bytes, to be broadcast to all lanes. */
INLINE int32_t four_bytes(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}

/* Keeps the compiler from moving loads far ahead of the arithmetic, which costs more in spilled registers than it
 * gains. */
#define NO_LOADS_AHEAD() __asm__ volatile("" : : : "memory")

#if defined __x86_64__
/* Keeps the order of additions to a vector. Otherwise gcc adds up all products at the end, as a tree, and spills them
 * until then. */
#define IN_ORDER(x) __asm__("" : "+x"(x))
#endif

/* Keeps the compiler from splitting a pointer into one per constant offset. */
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))

#endif
