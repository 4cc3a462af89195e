/* Many tokens in register tiles: a superblock of a pair is unpacked to L1 once, and all tokens stream past it. */
#ifndef SC_BODY_LINEAR_GEMM_H
#define SC_BODY_LINEAR_GEMM_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear_carried.h"

/* A tile of the many-token path: one superblock, TILE_PANELS panels from `p0`, `tokens` tokens. `w` holds the bytes of
 * `superblock`, unless UNPACK_IN_TILE. Meanwhile prefetches `part` bytes at `ahead`, unless it is NULL, and the tokens
 * of the next tile. */
INLINE void gemm_tile(int format, int tokens, const unpacked *w, const void *superblock, int p0, int spans,
                      const sc_act *x, const char *ahead, size_t part, float *out)
{
    superblock_sum sum[2][TILE_TOKENS];
    UNROLL(TILE_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++)
            sum[p][t] = superblock_start(format, f32_load(out + 32 * t + 16 * (p0 + p)));
    const void *packed = UNPACK_IN_TILE(format) ? superblock : NULL;
    const size_t all = (size_t)spans_per_superblock(format), own = (size_t)tokens * sizeof *x / all;
    for (int u = 0; u < spans; u++) {
        if (ahead) prefetch(ahead + (size_t)u * (part / all), part / all);
        prefetch_near((const char *)(x + tokens) + (size_t)u * own, own);
        i32x16 dot[2][2][TILE_TOKENS];
        dot_span(format, TILE_PANELS, tokens, w, packed, p0, x, u, dot);
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) {
            const i32x16 *scale = &w->scale[p0 + p][u];
            const f32x16 *d = &w->d[p0 + p][u];
            UNROLL(TILE_TOKENS)
            for (int t = 0; t < tokens; t++)
                add_span(format, &sum[p][t], dot[0][p][t], dot[sums_per_span(format) - 1][p][t], scale, d, x + t, u);
        }
    }
    UNROLL(TILE_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) {
            NO_LOADS_AHEAD();
            float *to = out + 32 * t + 16 * (p0 + p);
            f32_store(to, superblock_end(format, f32_load(to), sum[p][t], w->scale[p0 + p], w->min[p0 + p],
                                         w->d[p0 + p][0], w->dmin[p0 + p], x + t));
        }
}

/* `stored` is `format`, or a type that is unpacked to its form. */
INLINE void linear_gemm(int format, int stored, const char *superblocks, size_t columns, const sc_act *x,
                        size_t stride, size_t tokens, const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(stored, SC_SUPERBLOCK);
    const char *end = superblocks + sc_pair_bytes(stored, columns);
    /* Prefetching is spread over the tiles of the first tokens: a burst of requests would hold up other loads. */
    const size_t tiles = tokens < 4 * TILE_TOKENS ? (tokens + TILE_TOKENS - 1) / TILE_TOKENS : 4;
    const size_t spread = tiles * TILE_TOKENS, part = superblock_bytes / tiles;
    unpacked w;
    memset(out, 0, tokens * SC_PAIR * sizeof *out);
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK, superblocks += superblock_bytes, x += stride) {
        const int spans = spans_left(format, columns, k);
        const char *next = prefetch_target(superblocks, end, ahead, superblock_bytes);
        if (stored == format) unpack_superblock(format, superblocks, spans, !UNPACK_IN_TILE(format), 0, &w);
        else FN(linear_unpack)(stored, superblocks, spans, 0, &w);
        for (int p = 0; p < 2; p += TILE_PANELS)
            for (size_t t = 0, n; t < tokens; t += n) {
                n = next_tile(tokens - t, TILE_TOKENS);
                const char *asked = PREFETCH_SUPERBLOCKS && p == 0 && t < spread ? next + t / TILE_TOKENS * part : NULL;
                const sc_act *from = x + t;
                float *to = out + SC_PAIR * t;
                if (n == TILE_TOKENS) gemm_tile(format, TILE_TOKENS, &w, superblocks, p, spans, from, asked, part, to);
                else if (TILE_TOKENS > 4 && n == 4)
                    gemm_tile(format, 4, &w, superblocks, p, spans, from, asked, part, to);
                else if (TILE_TOKENS > 2 && n == 2)
                    gemm_tile(format, 2, &w, superblocks, p, spans, from, asked, part, to);
                else gemm_tile(format, 1, &w, superblocks, p, spans, from, asked, part, to);
            }
        if (sc_has_min(stored)) FN(linear_minima)(stored, superblocks, spans, x, tokens, out);
    }
}

#endif
