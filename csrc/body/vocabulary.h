/* Passes over a whole vocabulary. They return maxima and masses per bucket of `length` tokens, a multiple of 64, so
 * that later passes can skip buckets that hold nothing. */
#ifndef SC_BODY_VOCABULARY_H
#define SC_BODY_VOCABULARY_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "exp.h"

/* Loads 64 of x from i on; beyond n, `filler`. */
INLINE void load_64(const float *x, size_t i, size_t n, float filler, f32x16 v[4])
{
    float tail[64];
    const float *from = x + i;
    if (n - i < 64) {
        for (int k = 0; k < 64; k++) tail[k] = filler;
        memcpy(tail, from, (n - i) * sizeof *tail);
        from = tail;
    }
    UNROLL(4)
    for (int k = 0; k < 4; k++) v[k] = f32_load(from + 16 * k);
}

int FN(logit_maxima)(const float *x, size_t n, size_t length, float *out)
{
    const f32x16 infinity = f32_set1(INFINITY), zero = f32_set1(0), one = f32_set1(1);
    f32x16 wrong = zero;
    for (size_t start = 0; start < n; start += length, out++) {
        const size_t end = n - start < length ? n : start + length;
        f32x16 best = f32_set1(-INFINITY), v[4];
        for (size_t i = start; i < end; i += 64) {
            load_64(x, i, end, -INFINITY, v);
            UNROLL(4)
            for (int k = 0; k < 4; k++) wrong = f32_max(wrong, f32_select_lt(v[k], infinity, zero, one));
            best = f32_max(best, f32_max(f32_max(v[0], v[1]), f32_max(v[2], v[3])));
        }
        *out = f32_max16(best) + 0.0f; /* the same zero on all instruction sets */
    }
    return f32_max16(wrong) == 0;
}

void FN(softmax_weights)(const float *x, size_t n, float max, float inverse_temperature, float *out)
{
    const f32x16 maxima = f32_set1(max), factor = f32_set1(inverse_temperature);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) f32_store(out + i, f32_exp(f32_mul(f32_sub(f32_load(x + i), maxima), factor)));
    if (i < n) {
        float tail[16] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *tail);
        f32_store(tail, f32_exp(f32_mul(f32_sub(f32_load(tail), maxima), factor)));
        memcpy(out + i, tail, (n - i) * sizeof *tail);
    }
}

/* x rounded down; 0 <= x < 2^23. */
INLINE f32x16 f32_floor(f32x16 x)
{
    const f32x16 nearest = f32_from_i32(i32_from_f32(x));
    return f32_sub(nearest, f32_select_lt(x, nearest, f32_set1(1), f32_set1(0)));
}

void FN(weight_masses)(const float *weights, size_t n, size_t length, float least, uint64_t *out)
{
    /* A mass has up to 40 bits: a multiple of 2^19, and the rest. Every step is exact. */
    const f32x16 high = f32_set1(0x1p20f), low = f32_set1(0x1p19f), kept = f32_set1(least), zero = f32_set1(0);
    for (size_t start = 0; start < n; start += length, out++) {
        const size_t end = n - start < length ? n : start + length;
        *out = 0;
        for (size_t i = start; i < end; i += 64) {
            f32x16 upper = zero, rest = zero, v[4];
            load_64(weights, i, end, 0, v);
            UNROLL(4)
            for (int k = 0; k < 4; k++) {
                const f32x16 x = f32_mul(f32_select_lt(v[k], kept, zero, v[k]), high), whole = f32_floor(x);
                upper = f32_add(upper, whole);
                rest = f32_add(rest, f32_floor(f32_mul(f32_sub(x, whole), low)));
            }
            *out += ((uint64_t)i32_sum16(i32_from_f32(upper)) << 19) + (uint64_t)i32_sum16(i32_from_f32(rest));
        }
    }
}

#endif
