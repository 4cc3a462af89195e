/* Between the linear layers: LayerNorm, GELU, the residual stream, and quantisation of activations to int8.
 * One scale per 32 columns keeps an outlier local; docs/numerics.md measures it against one per 256. */
#ifndef SC_BODY_ACTIVATION_H
#define SC_BODY_ACTIVATION_H

/* 32 columns of one token into group g of its block. An infinity or NaN among them makes the scale NaN. */
static void quantize_group(const float *x, sc_act *out, int g)
{
    const f32x16 x0 = f32_load(x), x1 = f32_load(x + 16);
    const i32x16 magnitude = i32_set1(0x7FFFFFFF); /* absolute values order as integers, infinity and NaN last */
    const int32_t bits = i32_max16(i32_max(i32_and(i32_from_bits(x0), magnitude), i32_and(i32_from_bits(x1), magnitude)));
    const int finite = bits < 0x7F800000;
    float amax;
    memcpy(&amax, &bits, sizeof amax);
    /* 127/amax must be finite. Also, scales of weights are multiples of 2^-24, so that with these all sums of a linear layer
     * are multiples of 2^-121: none underflows to -0, to which a term of -0 or of 0 would make a difference. */
    if (!(amax >= 1e-20f) || !finite) amax = 0;
    const f32x16 inverse = f32_set1(amax > 0 ? 127.0f / amax : 0.0f);
    const f32x16 low = f32_set1(-127.0f), high = f32_set1(127.0f); /* NaN becomes -127: conversion must be defined */
    const i32x16 q0 = i32_from_f32(f32_min(f32_max(f32_mul(x0, inverse), low), high));
    const i32x16 q1 = i32_from_f32(f32_min(f32_max(f32_mul(x1, inverse), low), high));
    const int32_t sum0 = i32_sum16(q0), sum1 = i32_sum16(q1);
    i32_store_i8(out->q + 32 * g, q0);
    i32_store_i8(out->q + 32 * g + 16, q1);
    out->scale[g] = finite ? amax / 127.0f : NAN;
    out->sum[g] = out->scale[g] * (float)(sum0 + sum1);
    out->zero16[2 * g] = -32 * sum0;
    out->zero16[2 * g + 1] = -32 * sum1;
}

static void quantize(const float *x, size_t n, sc_act *out, size_t stride)
{
    for (size_t k = 0; k < n; k += SC_GROUP)
        quantize_group(x + k, out + k / SC_BLOCK * stride, (int)(k % SC_BLOCK / SC_GROUP));
}

static void layer_norm(const float *x, const float *weight, const float *bias, float epsilon, size_t n, size_t padded,
                       float *out)
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

/* 0.5*x*(1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) * (x + 0.044715*x^3). */
INLINE f32x16 f32_gelu(f32x16 x)
{
    const f32x16 cubic = f32_fma(f32_mul(f32_mul(x, x), f32_set1(0.044715f)), x, x);
    const f32x16 u2 = f32_mul(cubic, f32_set1(-1.59576912f));
    const f32x16 e = f32_exp(f32_min(f32_set1(80.0f), u2));
    return f32_div(x, f32_add(f32_set1(1.0f), e));
}

/* The end of a pair of the ffn_up layer: bias and GELU in place over (tokens, 32). */
static void gelu(float *x, const float *bias, size_t tokens)
{
    for (size_t t = 0; t < tokens; t++, x += SC_PAIR) {
        f32_store(x, f32_gelu(f32_add(f32_load(x), f32_load(bias))));
        f32_store(x + 16, f32_gelu(f32_add(f32_load(x + 16), f32_load(bias + 16))));
    }
}

/* The end of a pair of the layers whose outputs are added to the residual stream. */
static void add_residual(float *x, size_t stride, const float *out, const float *bias, size_t tokens)
{
    const f32x16 bias0 = f32_load(bias), bias1 = f32_load(bias + 16);
    for (size_t t = 0; t < tokens; t++, x += stride, out += SC_PAIR) {
        f32_store(x, f32_add(f32_load(x), f32_add(f32_load(out), bias0)));
        f32_store(x + 16, f32_add(f32_load(x + 16), f32_add(f32_load(out + 16), bias1)));
    }
}

/* To f16, clamped to its range: an overflow must not become infinite in the cache. NaN stays. */
static void f16_clamped(const float *x, size_t n, uint16_t *out)
{
    const f32x16 low = f32_set1(-65504.0f), high = f32_set1(65504.0f);
    for (size_t i = 0; i < n; i += 16) f32_store_f16(out + i, f32_min(high, f32_max(low, f32_load(x + i))));
}

static void multiply(const float *x, size_t n, float factor, float *out)
{
    const f32x16 factors = f32_set1(factor), zero = f32_set1(0);
    for (size_t i = 0; i < n; i += 16) f32_store(out + i, f32_add(f32_mul(f32_load(x + i), factors), zero));
}

#endif
