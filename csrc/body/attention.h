/* Float linear layers and attention: both are tiles of fused multiply-adds, one output per lane, walked in the same
 * order of k whatever the tile. */
#ifndef SC_BODY_ATTENTION_H
#define SC_BODY_ATTENTION_H

INLINE f32x16 load_float(int format, const void *w, size_t i)
{
    if (format == SC_F32) return f32_load((const float *)w + i);
    return format == SC_F16 ? f32_load_f16((const uint16_t *)w + i) : f32_load_bf16((const uint16_t *)w + i);
}

/* acc[p][t] += sum over k < n of w[k*w_stride + 16*p + lane] * x[t*x_stride + k]. Meanwhile `part` bytes per k are
 * prefetched, unless `ahead` is NULL. */
INLINE void fma_tile(int format, int panels, int tokens, const void *w, size_t w_stride, size_t n, const float *x,
                     size_t x_stride, const char *ahead, size_t part, f32x16 acc[2][FLOAT_TOKENS])
{
    for (size_t k = 0; k < n; k++) {
        f32x16 row[2];
        if (ahead) prefetch_far(ahead + k * part);
        UNROLL(2)
        for (int p = 0; p < panels; p++) row[p] = load_float(format, w, k * w_stride + 16 * (size_t)p);
        UNROLL(FLOAT_TOKENS)
        for (int t = 0; t < tokens; t++) {
            const f32x16 value = f32_set1(x[(size_t)t * x_stride + k]);
            UNROLL(2)
            for (int p = 0; p < panels; p++) acc[p][t] = f32_fma(row[p], value, acc[p][t]);
        }
    }
}

/* A tile with its accumulators in memory: out[t*out_stride + 16*p + lane]. `fresh` starts them at zero. */
INLINE void fma_tile_out(int format, int tokens, const void *w, size_t w_stride, size_t n, const float *x,
                         size_t x_stride, const char *ahead, size_t part, float *out, size_t out_stride, int fresh)
{
    f32x16 acc[2][FLOAT_TOKENS];
    UNROLL(FLOAT_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++)
            acc[p][t] = fresh ? f32_set1(0) : f32_load(out + (size_t)t * out_stride + 16 * (size_t)p);
    fma_tile(format, TILE_PANELS, tokens, w, w_stride, n, x, x_stride, ahead, part, acc);
    UNROLL(FLOAT_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) f32_store(out + (size_t)t * out_stride + 16 * (size_t)p, acc[p][t]);
}

/* All tokens against TILE_PANELS panels. Meanwhile `bytes` bytes from `ahead` are prefetched, unless it is NULL: evenly, for
 * the requests of a burst hold up other loads. */
INLINE void fma_tokens(int format, size_t tokens, const void *w, size_t w_stride, size_t n, const float *x,
                       size_t x_stride, const char *ahead, size_t bytes, float *out, size_t out_stride, int fresh)
{
    for (size_t t = 0, c; t < tokens; t += c, x += c * x_stride, out += c * out_stride) {
        c = next_tile(tokens - t, FLOAT_TOKENS);
        const size_t part = ahead && n ? bytes * c / tokens / n : 0;
        if (c == FLOAT_TOKENS)
            fma_tile_out(format, FLOAT_TOKENS, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else if (c == 4) fma_tile_out(format, 4, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else if (c == 2) fma_tile_out(format, 2, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else fma_tile_out(format, 1, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        if (ahead) ahead += n * part;
    }
}

/* Chunks of 256 columns stay in L1 while the tokens pass. */
INLINE void linear_float(int format, const char *pair, size_t columns, const float *x, size_t stride, size_t tokens,
                         float *out)
{
    const size_t size = format == SC_F32 ? sizeof(float) : sizeof(uint16_t);
    for (size_t k = 0; k < columns; k += SC_BLOCK) {
        const size_t n = columns - k < SC_BLOCK ? columns - k : SC_BLOCK;
        for (size_t p = 0; p < 2; p += TILE_PANELS)
            fma_tokens(format, tokens, pair + (k * SC_PAIR + 16 * p) * size, SC_PAIR, n, x + k, stride, NULL, 0,
                       out + 16 * p, SC_PAIR, k == 0);
    }
}

#define LINEAR_FLOAT(name, format)                                                                                  \
    static void name(const void *pair, size_t columns, const void *x, size_t stride, size_t tokens,                 \
                     const void *ahead, float *out)                                                                 \
    {                                                                                                               \
        (void)ahead;                                                                                                \
        linear_float(format, pair, columns, x, stride, tokens, out);                                                \
    }
LINEAR_FLOAT(linear_f32, SC_F32)
LINEAR_FLOAT(linear_f16, SC_F16)
LINEAR_FLOAT(linear_bf16, SC_BF16)

static void widen(const uint16_t *x, size_t n, const void *ahead, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        if (ahead && i % 32 == 0) prefetch_far((const char *)ahead + i * sizeof *x);
        f32_store(out + i, f32_load_f16(x + i));
    }
}

/* Scores of one query become weights exp(score - max) with those of hidden keys zero; returns the sum of weights. */
INLINE float softmax_block(float *score, int visible, float *max)
{
    f32x16 s[SC_KV_BLOCK / 16], top, sum;
    if (visible <= 0) { /* all of the block is in this query's future: merging it changes nothing but a -0 */
        memset(score, 0, SC_KV_BLOCK * sizeof *score);
        *max = -INFINITY;
        return 0;
    }
    for (int j = visible; j < SC_KV_BLOCK; j++) score[j] = -INFINITY;
    UNROLL(4)
    for (int i = 0; i < SC_KV_BLOCK / 16; i++) s[i] = f32_load(score + 16 * i);
    top = f32_max(f32_max(s[0], s[1]), f32_max(s[2], s[3]));
    *max = f32_max16(top) + 0.0f; /* one zero for all instruction sets */
    UNROLL(4)
    for (int i = 0; i < SC_KV_BLOCK / 16; i++) {
        s[i] = f32_exp(f32_sub(s[i], f32_set1(*max)));
        f32_store(score + 16 * i, s[i]);
    }
    sum = f32_add(f32_add(s[0], s[1]), f32_add(s[2], s[3]));
    return f32_sum16(sum);
}

INLINE void attend_format(int format, const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                          const int32_t *visible, const void *ahead, sc_partial *out)
{
    const size_t size = format == SC_F32 ? sizeof(float) : sizeof(uint16_t);
    float score[SC_QUERIES * SC_KV_BLOCK];
    const char *next = ahead ? ahead : keys; /* what is asked for lies as what is read, one block on */
    const size_t key_bytes = TILE_PANELS * 16 * dim * size, value_bytes = TILE_PANELS * 16 * SC_KV_BLOCK * size;
    size_t seen = 0; /* keys that any query sees; the weights of others would be 0 and change nothing but a -0 */
    for (size_t t = 0; t < n; t++)
        if (visible[t] > (int32_t)seen) seen = (size_t)visible[t];
    for (size_t p = 0; 16 * p < seen; p += TILE_PANELS, next += key_bytes)
        fma_tokens(format, n, (const char *)keys + 16 * p * size, SC_KV_BLOCK, dim, queries, dim, next, key_bytes,
                   score + 16 * p, SC_KV_BLOCK, 1);
    for (size_t t = n; t < SC_QUERIES; t++) out->state.sum[t] = out->state.max[t] = 0;
    for (size_t t = 0; t < n; t++)
        out->state.sum[t] = softmax_block(score + t * SC_KV_BLOCK, visible[t], &out->state.max[t]);
    for (size_t p = 0; p < dim / 16; p += TILE_PANELS, next += value_bytes)
        fma_tokens(format, n, (const char *)values + 16 * p * size, dim, seen, score, SC_KV_BLOCK, next, value_bytes,
                   out->out + 16 * p, dim, 1);
}

static void attend_f16(const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                       const int32_t *visible, const void *ahead, sc_partial *out)
{
    attend_format(SC_F16, queries, n, dim, keys, values, visible, ahead, out);
}

static void attend_f32(const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                       const int32_t *visible, const void *ahead, sc_partial *out)
{
    attend_format(SC_F32, queries, n, dim, keys, values, visible, ahead, out);
}

static void attend_merge(sc_softmax *state, float *out, const sc_partial *next, size_t first, size_t last, size_t dim)
{
    float keep[16], add[16];
    const f32x16 max0 = f32_load(state->max), max1 = f32_load(next->state.max), max = f32_max(max0, max1);
    const f32x16 a = f32_exp(f32_sub(max0, max)), b = f32_exp(f32_sub(max1, max));
    f32_store(state->max, max);
    f32_store(state->sum, f32_fma(f32_load(next->state.sum), b, f32_mul(f32_load(state->sum), a)));
    f32_store(keep, a);
    f32_store(add, b);
    for (size_t t = first; t < last; t++) {
        const f32x16 keep_t = f32_set1(keep[t]), add_t = f32_set1(add[t]);
        for (size_t i = t * dim; i < (t + 1) * dim; i += 16)
            f32_store(out + i, f32_fma(f32_load(next->out + i), add_t, f32_mul(f32_load(out + i), keep_t)));
    }
}

#endif
