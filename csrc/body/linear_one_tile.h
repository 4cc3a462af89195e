/* One tile, up to 16 tokens, on tile registers (vec/amx.h): dot products of the tokens with a panel come as a tile of
 * integers, by way of L1, and only the arithmetic after them is left to vectors. While one span's products are added
 * up, the next span's are stored, and those of the one after are made. */
#ifndef SC_BODY_LINEAR_ONE_TILE_H
#define SC_BODY_LINEAR_ONE_TILE_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "../vec/tiles.h"
#include "linear.h"

/* Weights are stored with this offset; tiles take signed bytes. */
INLINE uint8_t zero_point(int format)
{
    return format == SC_Q5_K ? 16 : format == SC_Q6_K ? 32 : format == SC_Q8_0 ? 128 : 0;
}

/* A panel's part of a superblock, and the tile of tokens that meets it. x is NULL when there is no work. */
typedef struct {
    const char *superblock;
    const sc_act *x;
    int panel, spans;
} tile_work;

/* A token's products with a panel's rows. */
typedef int32_t lanes[SC_LANES];

/* Bytes and factors of the panels at work, and a ring of their products with an entry per panel and span. */
typedef struct {
    unpacked w;
    _Alignas(64) lanes dots[2 * SC_GROUPS * 2 * TILE_ROWS];
} tile_memory;

/* What to prefetch while a panel is added up, spread evenly, since a burst would hold up other loads: weights, `part`
 * bytes per group of columns, and a token per group. NULL is nothing. */
typedef struct {
    const char *weights;
    size_t part;
    const sc_act *tokens;
} tile_ahead;

/* Entries of the ring: few, so that L1 has room for all else. Where products are read more than once, all of two panels
 * are kept. An entry must not be stored a multiple of 4 KB from one that is being read: loads would wait for it (4K
 * aliasing). */
enum { RING = 2, RING_ALL = 2 * SC_GROUPS };

INLINE lanes *dots_at(int format, tile_memory *m, int ring, int panel, int u)
{
    const size_t entry = (size_t)((spans_per_superblock(format) * panel + u) % ring);
    return m->dots + entry * (size_t)sums_per_span(format) * TILE_ROWS;
}

/* Makes the sums of a span: one or two over 32 columns, or two over 16. */
#define MAKE_SUMS_(format, first, second, q, w)                         \
    do {                                                                \
        if (format == SC_Q8_0) {                                        \
            TILE_OFFSET(first);                                         \
            TILE_DOT32(first, q, sizeof(sc_act), w);                    \
            break;                                                      \
        }                                                               \
        TILE_ZERO(first);                                               \
        TILE_ZERO(second);                                              \
        if (format == SC_Q6_K) {                                        \
            TILE_DOT16(first, q, sizeof(sc_act), w);                    \
            TILE_DOT16(second, (q) + 16, sizeof(sc_act), (w) + 4);      \
        } else {                                                        \
            TILE_DOT32(first, q, sizeof(sc_act), w);                    \
            TILE_DOT32(second, (q) + 32, sizeof(sc_act), (w) + 8);      \
        }                                                               \
    } while (0)

/* Makes exact integer dot products of span u with the tile's tokens, in registers 4 and 5 if u is even, 6 and 7 if odd.
 * Those of Q8_0 are offset by TILE_START. */
INLINE void make_products(int format, tile_work at, int u, const tile_memory *m)
{
    if (format == SC_Q8_0 && u >= at.spans) return;
    const int g = groups_per_span(format) * u;
    const int8_t *q = at.x->q + SC_GROUP * g;
    const u8x64 *w = m->w.q[at.panel][g];
    TILE_FENCE();
    if (u % 2) MAKE_SUMS_(format, 6, 7, q, w);
    else MAKE_SUMS_(format, 4, 5, q, w);
    TILE_FENCE();
}

INLINE void store_products(int format, tile_work at, int ring, int u, tile_memory *m)
{
    if (format == SC_Q8_0 && u >= at.spans) return;
    lanes *out = dots_at(format, m, ring, at.panel, u);
    TILE_FENCE();
    if (u % 2) TILE_STORE(6, out);
    else TILE_STORE(4, out);
    if (format != SC_Q8_0 && u % 2) TILE_STORE(7, out + TILE_ROWS);
    else if (format != SC_Q8_0) TILE_STORE(5, out + TILE_ROWS);
    TILE_FENCE();
}

/* Makes the products that must be on their way before a panel is added up. */
INLINE void start_products(int format, tile_work at, int ring, tile_memory *m)
{
    make_products(format, at, 0, m);
    make_products(format, at, 1, m);
    store_products(format, at, ring, 0, m);
}

/* sum[t] += span u, for `tokens` tokens of a tile from `first` on. */
INLINE void add_products(int format, int tokens, tile_work at, size_t first, int ring, int u, tile_memory *m,
                         superblock_sum sum[TILE_ROWS])
{
    const i32x16 *scale = &m->w.scale[at.panel][u];
    const f32x16 *d = &m->w.d[at.panel][u];
    /* Exact: d has 11 bits, so the FMA rounds exactly as the separate multiply would. A sum of 0 may have another sign:
     * see find_scales. */
    const f32x16 offset = format == SC_Q8_0 ? f32_mul(*d, f32_set1(-TILE_START)) : f32_set1(0);
    const lanes *dot = (const lanes *)dots_at(format, m, ring, at.panel, u) + first;
    const sc_act *x = at.x + first;
    OPAQUE(dot);
    OPAQUE(x);
    UNROLL(TILE_ROWS)
    for (int t = 0; t < tokens; t++) {
        const i32x16 one = i32_load(dot[t]);
        if (format == SC_Q8_0) add_term(&sum[t], f32_fma(f32_from_bits(one), *d, offset), x + t, u);
        else add_sums(format, &sum[t], i16_pair(one, i32_load(dot[t + TILE_ROWS])), *scale, x + t, u);
    }
}

/* Adds panel `now` to out for `tokens` tokens from `first` on. If `leads`, also starts the products of `next`, unpacks
 * that panel first if `unpack`, and prefetches what is `ahead`. */
INLINE void add_panel(int format, int tokens, tile_work now, tile_work next, size_t first, int ring, int leads,
                      int unpack, tile_ahead ahead, tile_memory *m, float *out)
{
    superblock_sum sum[TILE_ROWS];
    const int groups = groups_per_span(format), spans = spans_per_superblock(format), p = now.panel;
    const size_t part = ahead.part * (size_t)groups;
    UNROLL(TILE_ROWS)
    for (int t = 0; t < tokens; t++) sum[t] = superblock_start(format, f32_load(out + SC_PAIR * t));
    UNROLL(8)
    for (int u = 0; u < spans; u++) {
        if (leads) {
            if (ahead.weights) prefetch(ahead.weights + (size_t)u * part, part);
            for (int t = 0; ahead.tokens && t < groups; t++)
                prefetch_near((const char *)(ahead.tokens + groups * u + t),
                              is_affine(format) ? offsetof(sc_act, zero16) : sizeof(sc_act));
            if (unpack && next.x && (format != SC_Q8_0 || u < next.spans))
                unpack_span(format, next.superblock, next.panel, u, 1, zero_point(format), &m->w);
            if (u < spans - 2) make_products(format, now, u + 2, m);
            else if (next.x) make_products(format, next, u + 2 - spans, m);
            if (u < spans - 1) store_products(format, now, ring, u + 1, m);
            else if (next.x) store_products(format, next, ring, 0, m);
        }
        if (format == SC_Q8_0 && u >= now.spans) continue;
        add_products(format, tokens, now, first, ring, u, m, sum);
    }
    UNROLL(TILE_ROWS)
    for (int t = 0; t < tokens; t++) {
        float *to = out + SC_PAIR * t;
        f32_store(to, superblock_end(format, f32_load(to), sum[t], m->w.scale[p], m->w.min[p], m->w.d[p][0],
                                     m->w.dmin[p], now.x + first + t));
    }
}

/* The same for tokens first..rows-1 of a tile: fewer than it holds, in parts. Only the first of them leads, if any
 * does. */
INLINE void add_subtiles(int format, tile_work now, tile_work next, size_t first, size_t rows, int leads,
                         tile_ahead ahead, tile_memory *m, float *out)
{
    for (size_t t = first, n; t < rows; t += n, out += SC_PAIR * n, leads = 0) {
        n = next_tile(rows - t, 4);
        if (n == 4) add_panel(format, 4, now, next, t, RING_ALL, leads, 1, ahead, m, out);
        else if (n == 2) add_panel(format, 2, now, next, t, RING_ALL, leads, 1, ahead, m, out);
        else add_panel(format, 1, now, next, t, RING_ALL, leads, 1, ahead, m, out);
    }
}

/* All tokens in one tile. Every weight is used once, so unpacking costs as much as multiplying: the next panel is
 * unpacked while one is added up. */
INLINE void gemm_one_tile(int format, const char *superblocks, size_t columns, const sc_act *x, size_t stride,
                          size_t tokens, const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(format, SC_SUPERBLOCK), half = superblock_bytes / 2;
    const char *end = superblocks + sc_pair_bytes(format, columns);
    tile_memory m;
    tile_work now = {superblocks, x, 0, spans_left(format, columns, 0)}, next;
    for (int u = 0; u < now.spans; u++) unpack_span(format, superblocks, 0, u, 1, zero_point(format), &m.w);
    start_products(format, now, tokens == TILE_ROWS ? RING : RING_ALL, &m);
    for (size_t k = 0; now.x; now = next) {
        const tile_ahead later = {prefetch_target(now.superblock, end, ahead, superblock_bytes) +
                                      (now.panel ? half : 0),
                                  half / SC_GROUPS, NULL};
        float *to = out + SC_LANES * now.panel;
        next = now;
        next.panel ^= 1;
        if (now.panel) {
            k += SC_SUPERBLOCK;
            next = (tile_work){now.superblock + superblock_bytes, k < columns ? now.x + stride : NULL, 0,
                               spans_left(format, columns, k)};
        }
        if (tokens == TILE_ROWS)
            add_panel(format, TILE_ROWS, now, next, 0, RING, 1, 1, later, &m, to);
        else add_subtiles(format, now, next, 0, tokens, 1, later, &m, to);
    }
}

#endif
