/* LayerNorm (Ba et al., 2016) of a row. */
#ifndef SC_BODY_NORM_H
#define SC_BODY_NORM_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

void FN(layer_norm)(const float *x, const float *weight, const float *bias, float epsilon, size_t n,
                    size_t padded, float *out)
{
    f32x16 sum = f32_set1(0), square = f32_set1(0);
    for (size_t i = 0; i < padded; i += 16) sum = f32_add(sum, f32_load(x + i));
    const float mean = f32_sum16(sum) / (float)n;
    const f32x16 means = f32_set1(mean);
    for (size_t i = 0; i < n; i += 16) {
        f32x16 d = f32_sub(f32_load(x + i), means);
        if (n - i < 16) { /* padding is not part of the variance */
            float tail[16];
            f32_store(tail, d);
            for (size_t j = n - i; j < 16; j++) tail[j] = 0;
            d = f32_load(tail);
        }
        square = f32_fma(d, d, square);
    }
    const f32x16 inverse = f32_set1(1.0f / sqrtf(f32_sum16(square) / (float)n + epsilon));
    for (size_t i = 0; i < padded; i += 16) {
        const f32x16 unit = f32_mul(f32_sub(f32_load(x + i), means), inverse);
        f32_store(out + i, f32_fma(unit, f32_load(weight + i), f32_load(bias + i)));
    }
}

#endif
