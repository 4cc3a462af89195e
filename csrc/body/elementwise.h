/* Element-wise kernels: the residual stream, conversions to and from f16, scaling. */
#ifndef SC_BODY_ELEMENTWISE_H
#define SC_BODY_ELEMENTWISE_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "prefetch.h"

/* Finishes a pair of a layer whose outputs are added to the residual stream. */
void FN(add_residual)(float *x, size_t stride, const float *out, const float *bias, size_t tokens)
{
    const f32x16 bias0 = f32_load(bias), bias1 = f32_load(bias + 16);
    for (size_t t = 0; t < tokens; t++, x += stride, out += SC_PAIR) {
        f32_store(x, f32_add(f32_load(x), f32_add(f32_load(out), bias0)));
        f32_store(x + 16, f32_add(f32_load(x + 16), f32_add(f32_load(out + 16), bias1)));
    }
}

/* Converts to f16, clamped to its range: an overflow must not become infinite in the cache. NaN stays. */
void FN(f16_clamped)(const float *x, size_t n, uint16_t *out)
{
    const f32x16 low = f32_set1(-65504.0f), high = f32_set1(65504.0f);
    for (size_t i = 0; i < n; i += 16) f32_store_f16(out + i, f32_min(high, f32_max(low, f32_load(x + i))));
}

void FN(scale)(const float *x, size_t n, float factor, float *out)
{
    const f32x16 factors = f32_set1(factor), zero = f32_set1(0);
    for (size_t i = 0; i < n; i += 16) f32_store(out + i, f32_add(f32_mul(f32_load(x + i), factors), zero));
}

void FN(widen)(const uint16_t *x, size_t n, const void *ahead, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        if (ahead && i % 32 == 0) prefetch_far((const char *)ahead + i * sizeof *x);
        f32_store(out + i, f32_load_f16(x + i));
    }
}

#endif
