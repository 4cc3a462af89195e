/* Linear layers of float weights. */
#ifndef SC_BODY_LINEAR_FLOAT_H
#define SC_BODY_LINEAR_FLOAT_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "fma_tile.h"

/* Chunks of 256 columns stay in L1 while all tokens pass. */
INLINE void linear_float(int format, const char *pair, size_t columns, const float *x, size_t stride, size_t tokens,
                         float *out)
{
    const size_t size = format == SC_F32 ? sizeof(float) : sizeof(uint16_t);
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK) {
        const size_t n = columns - k < SC_SUPERBLOCK ? columns - k : SC_SUPERBLOCK;
        for (size_t p = 0; p < 2; p += TILE_PANELS)
            fma_tokens(format, tokens, pair + (k * SC_PAIR + 16 * p) * size, SC_PAIR, n, x + k, stride, NULL, 0,
                       out + 16 * p, SC_PAIR, k == 0);
    }
}

#endif
