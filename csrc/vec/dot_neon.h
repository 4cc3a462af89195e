/* Dot products for plain NEON: products in int16, added in pairs to int32. */
#ifndef SC_VEC_DOT_H
#define SC_VEC_DOT_H

static inline int32x4_t dot4_register_(int32x4_t acc, int8x16_t w, int8x16_t a)
{
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)));
    int32x4_t high = vpaddlq_s16(vmull_high_s8(w, a));
    return vaddq_s32(acc, vpaddq_s32(low, high));
}
#include "dot_neon_common.h"

#endif
