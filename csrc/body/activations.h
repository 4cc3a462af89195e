/* Quantizes activations between the linear layers to int8. A factor per 32 columns keeps an outlier local: measured in
 * docs/explanation/numerics.md. */
#ifndef SC_BODY_ACTIVATIONS_H
#define SC_BODY_ACTIVATIONS_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

/* The largest |x| of a group, as bits: absolute values order as integers, infinity and NaN last. */
INLINE int32_t magnitude_of(const float *x)
{
    const i32x16 magnitude = i32_set1(0x7FFFFFFF);
    const i32x16 low = i32_from_bits(f32_load(x)), high = i32_from_bits(f32_load(x + 16));
    return i32_max16(i32_max(i32_and(low, magnitude), i32_and(high, magnitude)));
}

/* q = x*inverse for 16 columns. Returns the sum of q in the lower half and the sum of |q| in the upper half, less what
 * the lower half borrows. */
INLINE int32_t round_half(const float *x, f32x16 inverse, int8_t *q)
{
    const f32x16 scaled = f32_mul(f32_load(x), inverse);
    const i32x16 n = i32_from_f32(f32_min(f32_max(scaled, f32_set1(-127.0f)), f32_set1(127.0f)));
    i32_store_i8(q, n);
    return i32_sum16(i32_add(n, i32_shl(i32_abs(n), 16)));
}

/* Rounds a group. Returns the larger of its halves' sums of |q|, and puts what round_half returned in `half`. */
INLINE int round_group(const float *x, float inverse, int8_t *q, int32_t half[2])
{
    half[0] = round_half(x, f32_set1(inverse), q);
    half[1] = round_half(x + 16, f32_set1(inverse), q + 16);
    const int size[2] = {(half[0] - (int16_t)half[0]) >> 16, (half[1] - (int16_t)half[1]) >> 16};
    return size[0] > size[1] ? size[0] : size[1];
}

/* What a block's groups are divided by. The scale is NaN where an x is not finite, and 0 where all are nearly 0. */
typedef struct {
    float factor[SC_LANES], inverse[SC_LANES], scale;
} block_scales;

INLINE void find_scales(const float *x, size_t stride, int groups, block_scales *out)
{
    int32_t magnitude[SC_LANES] = {0};
    for (int g = 0; g < groups; g++) magnitude[g] = magnitude_of(x + (size_t)g * stride);
    const i32x16 bits = i32_load(magnitude);
    const int32_t most = i32_max16(bits);
    float largest;
    memcpy(&largest, &most, sizeof largest);
    /* Scales of weights are multiples of 2^-24 and, with this threshold, those of activations of 2^-103. So no sum of a
     * linear layer underflows to -0, where adding -0 or 0 would make a difference. Also, 1/scale is finite. */
    out->scale = most >= 0x7F800000 ? NAN : largest < 1e-20f ? 0 : largest / (127.0f * (float)SC_FACTOR);
    /* NaN, where the scale is 0, becomes 1: conversion must be defined. */
    const f32x16 fit = f32_mul(f32_from_bits(bits), f32_set1((float)SC_FACTOR / largest));
    const f32x16 wanted = f32_min(f32_max(fit, f32_set1(1)), f32_set1(SC_FACTOR));
    const f32x16 near = f32_from_i32(i32_from_f32(wanted));
    const f32x16 factors = f32_select_lt(near, wanted, f32_add(near, f32_set1(1)), near);
    f32_store(out->factor, factors);
    f32_store(out->inverse, f32_div(f32_set1(1), f32_mul(factors, f32_set1(out->scale))));
}

/* Stores what depends on factors and sums of q. */
INLINE void put_sums(const block_scales *scales, const int32_t half[2 * SC_GROUPS], sc_act *out)
{
    int sum[2 * SC_GROUPS];
    for (int i = 0; i < 2 * SC_GROUPS; i++) sum[i] = (int16_t)half[i];
    for (int i = 0; i < 2 * SC_GROUPS; i++) out->zero16[i] = (int16_t)(-32 * sum[i]);
    for (int g = 0; g < SC_GROUPS; g++) {
        const int both = sum[2 * g] + sum[2 * g + 1];
        out->factor[g] = (int16_t)scales->factor[g];
        out->sum[g] = (int16_t)((out->factor[g] * both + (1 << SC_SUM_SHIFT >> 1)) >> SC_SUM_SHIFT);
        out->zero32[g] = (int16_t)(-16 * both);
        out->group_scale[g] = scales->factor[g] * scales->scale;
    }
    out->scale = scales->scale;
}

INLINE void round_block(const float *x, size_t stride, int groups, block_scales *scales, sc_act *out)
{
    int32_t half[2 * SC_GROUPS] = {0};
    if (groups < SC_GROUPS || !(scales->scale > 0)) memset(out, 0, sizeof *out);
    if (!(scales->scale > 0)) {
        out->scale = scales->scale;
        for (int g = 0; g < groups; g++) out->group_scale[g] = scales->scale;
        return;
    }
    for (int g = 0; g < groups; g++) {
        const float *from = x + (size_t)g * stride;
        float *factor = &scales->factor[g];
        const int size = round_group(from, scales->inverse[g], out->q + SC_GROUP * g, half + 2 * g);
        if (size <= SC_HALF_SUM) continue;
        *factor = (float)SC_RAISED((int)*factor, size);
        round_group(from, 1.0f / (*factor * scales->scale), out->q + SC_GROUP * g, half + 2 * g);
    }
    for (int g = groups; g < SC_GROUPS; g++) scales->factor[g] = 0;
    put_sums(scales, half, out);
}

/* Quantizes blocks `x_stride` floats and `out_stride` blocks apart, whose groups are `stride` floats apart. The scales
 * of each block are found while the one before it is rounded, which hides the latency of divisions. */
INLINE void quantize_blocks(const float *x, size_t x_stride, size_t stride, int groups, size_t blocks, sc_act *out,
                            size_t out_stride)
{
    block_scales scales[2];
    if (blocks) find_scales(x, stride, groups, &scales[0]);
    for (size_t i = 0; i < blocks; i++) {
        if (i + 1 < blocks) find_scales(x + (i + 1) * x_stride, stride, groups, &scales[(i + 1) % 2]);
        round_block(x + i * x_stride, stride, groups, &scales[i % 2], out + i * out_stride);
    }
}

void FN(quantize)(const float *x, size_t n, sc_act *out, size_t stride)
{
    const size_t whole = n / SC_SUPERBLOCK, rest = n % SC_SUPERBLOCK;
    quantize_blocks(x, SC_SUPERBLOCK, SC_GROUP, SC_GROUPS, whole, out, stride);
    if (rest)
        quantize_blocks(x + whole * SC_SUPERBLOCK, 0, SC_GROUP, (int)(rest / SC_GROUP), 1, out + whole * stride, 0);
}

/* Quantizes the block of each token whose groups lie in pairs' outputs. */
void FN(quantize_pairs)(const float *x, size_t stride, int groups, size_t tokens, sc_act *out)
{
    quantize_blocks(x, SC_PAIR, stride, groups, tokens, out, 1);
}

#endif
