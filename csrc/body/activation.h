/* Between the linear layers: LayerNorm, GELU, the residual stream, and quantisation of activations to int8.
 * A factor per 32 columns keeps an outlier local; docs/numerics.md measures it against others. */
#ifndef SC_BODY_ACTIVATION_H
#define SC_BODY_ACTIVATION_H

/* The largest |x| of a group, as bits: absolute values order as integers, infinity and NaN last. */
INLINE int32_t magnitude_of(const float *x)
{
    const i32x16 magnitude = i32_set1(0x7FFFFFFF);
    return i32_max16(i32_max(i32_and(i32_from_bits(f32_load(x)), magnitude), i32_and(i32_from_bits(f32_load(x + 16)), magnitude)));
}

/* q = x*inverse for 16 columns. Returns the sum of q in the lower half and, less what that borrows, of |q| in the upper. */
INLINE int32_t round_half(const float *x, f32x16 inverse, int8_t *q)
{
    const f32x16 scaled = f32_mul(f32_load(x), inverse);
    const i32x16 n = i32_from_f32(f32_min(f32_max(scaled, f32_set1(-127.0f)), f32_set1(127.0f)));
    i32_store_i8(q, n);
    return i32_sum16(i32_add(n, i32_shl(i32_abs(n), 16)));
}

/* A group with the given factor. Returns the larger of its halves' sums of |q|. */
INLINE int round_group(const float *x, int factor, sc_act *out, int g)
{
    const float scale = (float)factor * out->step;
    const f32x16 inverse = f32_set1(1.0f / scale);
    const int32_t half[2] = {round_half(x, inverse, out->q + 32 * g), round_half(x + 16, inverse, out->q + 32 * g + 16)};
    const int sum[2] = {(int16_t)half[0], (int16_t)half[1]}, both = sum[0] + sum[1];
    const int size[2] = {(half[0] - sum[0]) >> 16, (half[1] - sum[1]) >> 16};
    out->factor[g] = (int16_t)factor;
    out->sum[g] = (int16_t)((factor * both + (1 << SC_SUM_SHIFT >> 1)) >> SC_SUM_SHIFT);
    out->zero32[g] = (int16_t)(-16 * both);
    out->zero16[2 * g] = (int16_t)(-32 * sum[0]);
    out->zero16[2 * g + 1] = (int16_t)(-32 * sum[1]);
    out->scale[g] = scale;
    return size[0] > size[1] ? size[0] : size[1];
}

/* `groups` groups of 32 columns of one token, `stride` floats apart, into a block. */
static void quantize_block(const float *x, size_t stride, int groups, sc_act *out)
{
    int32_t magnitude[SC_GROUPS], most = 0;
    for (int g = 0; g < groups; g++) {
        magnitude[g] = magnitude_of(x + (size_t)g * stride);
        most = magnitude[g] > most ? magnitude[g] : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    const int finite = most < 0x7F800000;
    /* Scales of weights are multiples of 2^-24 and steps, with this, of 2^-104: no sum of a linear layer underflows to -0,
     * to which a term of -0 or of 0 would make a difference. Also, 1/scale is finite. */
    if (!finite || largest < 1e-20f || groups < SC_GROUPS) memset(out, 0, sizeof *out);
    if (!finite) out->step = NAN;
    for (int g = 0; g < groups && !finite; g++) out->scale[g] = NAN;
    if (!finite || largest < 1e-20f) return;
    out->step = largest / (127.0f * SC_FACTOR);
    for (int g = 0; g < groups; g++) {
        float amax;
        memcpy(&amax, &magnitude[g], sizeof amax);
        const float wanted = amax * (SC_FACTOR / largest);
        int factor = (int)wanted;
        factor += (float)factor < wanted;
        factor = factor < 1 ? 1 : factor > SC_FACTOR ? SC_FACTOR : factor;
        const int size = round_group(x + (size_t)g * stride, factor, out, g);
        /* |q| was up to a half less than it is to be divided by, and may come up to a half more than the quotient. */
        if (size > SC_HALF_SUM)
            round_group(x + (size_t)g * stride, (factor * (size + 8) + SC_HALF_SUM - 9) / (SC_HALF_SUM - 8), out, g);
    }
}

static void quantize(const float *x, size_t n, sc_act *out, size_t stride)
{
    for (size_t k = 0; k < n; k += SC_BLOCK, out += stride)
        quantize_block(x + k, SC_GROUP, n - k < SC_BLOCK ? (int)((n - k) / SC_GROUP) : SC_GROUPS, out);
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
