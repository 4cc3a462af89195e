/* Attention over one block of the cache, and the merge of two blocks. */
#ifndef SC_BODY_ATTENTION_H
#define SC_BODY_ATTENTION_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "exp.h"
#include "fma_tile.h"

/* Turns scores of one query into weights exp(score - max), zero for hidden keys. Returns the sum of weights. */
INLINE float softmax_block(float *score, int visible, float *max)
{
    f32x16 s[SC_KV_BLOCK / 16], top, sum;
    if (visible <= 0) { /* the whole block is in this query's future: merging it changes only the sign of a zero */
        memset(score, 0, SC_KV_BLOCK * sizeof *score);
        *max = -INFINITY;
        return 0;
    }
    for (int j = visible; j < SC_KV_BLOCK; j++) score[j] = -INFINITY;
    UNROLL(4)
    for (int i = 0; i < SC_KV_BLOCK / 16; i++) s[i] = f32_load(score + 16 * i);
    top = f32_max(f32_max(s[0], s[1]), f32_max(s[2], s[3]));
    *max = f32_max16(top) + 0.0f; /* the same zero on all instruction sets */
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
    const char *next = ahead ? ahead : keys; /* prefetched in the order of the reads, one block further on */
    const size_t key_bytes = TILE_PANELS * 16 * dim * size, value_bytes = TILE_PANELS * 16 * SC_KV_BLOCK * size;
    size_t seen = 0; /* keys that any query sees; other weights are 0 and would change only the sign of a zero */
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

void FN(attend_f16)(const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                    const int32_t *visible, const void *ahead, sc_partial *out)
{
    attend_format(SC_F16, queries, n, dim, keys, values, visible, ahead, out);
}

void FN(attend_f32)(const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                    const int32_t *visible, const void *ahead, sc_partial *out)
{
    attend_format(SC_F32, queries, n, dim, keys, values, visible, ahead, out);
}

void FN(attend_merge)(sc_softmax *state, float *out, const sc_partial *next, size_t first, size_t last,
                      size_t dim)
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
