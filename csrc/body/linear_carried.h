/* Types that, with many tokens, are unpacked to the form of another type, whose body then multiplies them: each needs
 * only its own unpacking, and minima if it has them. */
#ifndef SC_BODY_LINEAR_CARRIED_H
#define SC_BODY_LINEAR_CARRIED_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear.h"

/* Unpacks groups of 32 columns of a pair as Q8_0: bytes are weights + 128, less `zero`. */
INLINE void unpack_small(int format, const char *blocks, int groups, uint8_t zero, unpacked *w)
{
    const int offset = format == SC_IQ4_NL ? 0 : format == SC_Q4_0 ? 128 - 8 : format == SC_Q5_0 ? 128 - 16 : 128;
    for (int p = 0; p < 2; p++)
        for (int g = 0; g < groups; g++) {
            UNROLL(8)
            for (int s = 0; s < 8; s++)
                w->q[p][g][s] = u8_sub(quad_bytes(format, blocks, p, g, s), (uint8_t)(zero - offset));
            w->d[p][g] = load_d(format, blocks, p, g);
        }
}

static NOINLINE void FN(linear_unpack)(int format, const char *blocks, int groups, uint8_t zero, unpacked *w)
{
    switch (format) {
    case SC_Q4_0: unpack_small(SC_Q4_0, blocks, groups, zero, w); break;
    case SC_Q4_1: unpack_small(SC_Q4_1, blocks, groups, zero, w); break;
    case SC_Q5_0: unpack_small(SC_Q5_0, blocks, groups, zero, w); break;
    case SC_Q5_1: unpack_small(SC_Q5_1, blocks, groups, zero, w); break;
    default: unpack_small(SC_IQ4_NL, blocks, groups, zero, w); break;
    }
}

/* Adds the minima of a superblock of a pair. */
static NOINLINE void FN(linear_minima)(int format, const char *blocks, int groups, const sc_act *x, size_t tokens,
                                       float *out)
{
    const size_t bytes = sc_pair_bytes(format, SC_GROUP);
    for (size_t p = 0; p < 2; p++) {
        f32x16 min[SC_GROUPS]; /* times -1/16, since zero32 is -16 times the sum */
        for (int g = 0; g < groups; g++) {
            const void *m = blocks + (size_t)g * bytes + SC_MIN_AT;
            min[g] = f32_mul(f32_load_f16((const uint16_t *)m + 16 * p), f32_set1(-1.0f / 16));
        }
        for (size_t t = 0; t < tokens; t++) {
            float *to = out + SC_PAIR * t + SC_LANES * p;
            f32x16 acc = f32_load(to);
            for (int g = 0; g < groups; g++)
                acc = f32_fma(min[g], f32_set1(x[t].group_scale[g] * (float)x[t].zero32[g]), acc);
            f32_store(to, acc);
        }
    }
}

#endif
