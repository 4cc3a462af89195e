/* exp over 16 lanes. */
#ifndef SC_BODY_EXP_H
#define SC_BODY_EXP_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

/* exp(x), relative error below 2e-7; x <= 88. Exactly 1 at 0 and exactly 0 below -80, so that no product of a softmax
 * weight (>= 1.8e-35) with an f16 value (>= 6e-8) underflows. Cody-Waite reduction, Taylor to degree 7 on
 * [-ln2/2, ln2/2]. */
INLINE f32x16 f32_exp(f32x16 x)
{
    const f32x16 magic = f32_set1(12582912.0f); /* 1.5 * 2^23: the sum's low bits are the rounded integer */
    const f32x16 clamped = f32_max(f32_set1(-87.0f), x); /* this order lets NaN through */
    const f32x16 shifted = f32_fma(clamped, f32_set1(1.44269504f), magic);
    const f32x16 n = f32_sub(shifted, magic);
    f32x16 r = f32_fma(n, f32_set1(-0.693145752f), clamped);
    r = f32_fma(n, f32_set1(-1.42860677e-6f), r);
    f32x16 p = f32_set1(1.98412698e-4f);
    p = f32_fma(p, r, f32_set1(1.38888889e-3f));
    p = f32_fma(p, r, f32_set1(8.33333333e-3f));
    p = f32_fma(p, r, f32_set1(4.16666667e-2f));
    p = f32_fma(p, r, f32_set1(1.66666667e-1f));
    p = f32_fma(p, r, f32_set1(0.5f));
    p = f32_fma(p, r, f32_set1(1.0f));
    p = f32_fma(p, r, f32_set1(1.0f));
    const f32x16 scaled = f32_from_bits(i32_add(i32_from_bits(p), i32_shl(i32_from_bits(shifted), 23)));
    return f32_select_lt(x, f32_set1(-80.0f), f32_set1(0.0f), scaled);
}

#endif
