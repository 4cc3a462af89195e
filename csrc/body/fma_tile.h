/* Tiles of fused multiply-adds, for float linear layers and attention: one output per lane, summed in the same order of
 * k whatever the tile. */
#ifndef SC_BODY_FMA_TILE_H
#define SC_BODY_FMA_TILE_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "prefetch.h"

INLINE f32x16 load_float(int format, const void *w, size_t i)
{
    if (format == SC_F32) return f32_load((const float *)w + i);
    return format == SC_F16 ? f32_load_f16((const uint16_t *)w + i) : f32_load_bf16((const uint16_t *)w + i);
}

/* acc[p][t] += sum over k < n of w[k*w_stride + 16*p + lane] * x[t*x_stride + k]. Meanwhile prefetches `part` bytes per
 * k, unless `ahead` is NULL. */
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

/* All tokens against TILE_PANELS panels. Meanwhile prefetches `bytes` bytes from `ahead`, unless it is NULL. Spread
 * evenly, since a burst of requests would hold up other loads. */
INLINE void fma_tokens(int format, size_t tokens, const void *w, size_t w_stride, size_t n, const float *x,
                       size_t x_stride, const char *ahead, size_t bytes, float *out, size_t out_stride, int fresh)
{
    for (size_t t = 0, c; t < tokens; t += c, x += c * x_stride, out += c * out_stride) {
        c = next_tile(tokens - t, FLOAT_TOKENS);
        const size_t part = ahead && n ? bytes * c / tokens / n : 0;
        if (c == FLOAT_TOKENS)
            fma_tile_out(format, FLOAT_TOKENS, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else if (FLOAT_TOKENS > 4 && c == 4)
            fma_tile_out(format, 4, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else if (FLOAT_TOKENS > 2 && c == 2)
            fma_tile_out(format, 2, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        else fma_tile_out(format, 1, w, w_stride, n, x, x_stride, ahead, part, out, out_stride, fresh);
        if (ahead) ahead += n * part;
    }
}

#endif
