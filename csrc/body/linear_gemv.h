/* Quantized linear layers for up to GEMV_TOKENS tokens: a pair is unpacked in registers and read once. */
#ifndef SC_BODY_LINEAR_GEMV_H
#define SC_BODY_LINEAR_GEMV_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear.h"

/* Adds one panel's part of span u, for few tokens. */
INLINE void gemv_span(int format, int tokens, const char *superblock, int panel, int u, const six_bits *six,
                      const sc_act *x, superblock_sum sum[GEMV_TOKENS])
{
    i32x16 dot[2][2][TILE_TOKENS], scale;
    f32x16 d;
    if (format == SC_Q8_0) d = load_d(format, superblock, panel, u);
    else scale = span_scale(format, superblock, panel, u, six);
    dot_span(format, 1, tokens, NULL, superblock, panel, x, u, dot);
    UNROLL(GEMV_TOKENS)
    for (int t = 0; t < tokens; t++)
        add_span(format, &sum[t], dot[0][0][t], dot[sums_per_span(format) - 1][0][t], &scale, &d, x + t, u);
}

/* out += one panel's superblock, for few tokens. */
INLINE void gemv_end(int format, int tokens, const char *superblock, int panel, const six_bits *six, const sc_act *x,
                     const superblock_sum sum[GEMV_TOKENS], float *out)
{
    i32x16 scale[SC_GROUPS / 2], min[SC_GROUPS / 2];
    f32x16 d = f32_set1(0), dmin = d;
    if (format != SC_Q8_0) d = load_d(format, superblock, panel, 0);
    if (is_affine(format)) {
        dmin = load_dmin(superblock, panel);
        UNROLL(4)
        for (int u = 0; u < SC_GROUPS / 2; u++) {
            min[u] = span_min(u, six);
            scale[u] = span_scale(format, superblock, panel, u, six);
        }
    }
    UNROLL(GEMV_TOKENS)
    for (int t = 0; t < tokens; t++) {
        float *to = out + SC_PAIR * t + SC_LANES * panel;
        f32_store(to, superblock_end(format, f32_load(to), sum[t], scale, min, d, dmin, x + t));
    }
}

/* Few tokens: the pair is unpacked in registers and read once. */
INLINE void linear_gemv(int format, int tokens, const char *superblocks, size_t columns, const sc_act *x, size_t stride,
                        const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(format, SC_SUPERBLOCK);
    const size_t part = superblock_bytes / (size_t)spans_per_superblock(format);
    const char *end = superblocks + sc_pair_bytes(format, columns);
    memset(out, 0, (size_t)tokens * SC_PAIR * sizeof *out);
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK, superblocks += superblock_bytes, x += stride) {
        const int spans = spans_left(format, columns, k);
        const char *next = prefetch_target(superblocks, end, ahead, superblock_bytes);
        six_bits six[2];
        superblock_sum sum[2][GEMV_TOKENS];
        UNROLL(2)
        for (int p = 0; p < 2; p++) {
            unpack_six(format, superblocks, p, &six[p]);
            UNROLL(GEMV_TOKENS)
            for (int t = 0; t < tokens; t++)
                sum[p][t] = superblock_start(format, f32_load(out + SC_PAIR * t + SC_LANES * p));
        }
        const six_bits *factors = six; /* in memory, since few registers can hold them */
        OPAQUE(factors);
        UNROLL(UNROLLED_SPANS)
        for (int u = 0; u < spans_per_superblock(format); u++) {
            if (format == SC_Q8_0 && u >= spans) break;
            if (PREFETCH_SUPERBLOCKS) prefetch(next + (size_t)u * part, part);
            if (PREFETCH_NEAR) prefetch_near(superblocks + superblock_bytes / 2 + (size_t)u * part, part);
            UNROLL(2)
            for (int p = 0; p < 2; p++) {
                NO_LOADS_AHEAD();
                gemv_span(format, tokens, superblocks, p, u, factors + p, x, sum[p]);
            }
        }
        UNROLL(2)
        for (int p = 0; p < 2; p++) gemv_end(format, tokens, superblocks, p, factors + p, x, sum[p], out);
    }
}

#endif
