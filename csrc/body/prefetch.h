/* Prefetching; never faults. */
#ifndef SC_BODY_PREFETCH_H
#define SC_BODY_PREFETCH_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

/* Prefetches `bytes` bytes that will be read soon. */
INLINE void prefetch(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, PREFETCH_CACHE);
}

/* The same for bytes that come from L2 or L3. */
INLINE void prefetch_near(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

/* Prefetches a line to L2, which is needed later than the contents of L1. */
INLINE void prefetch_far(const char *p) { __builtin_prefetch(p, 0, 2); }

#endif
