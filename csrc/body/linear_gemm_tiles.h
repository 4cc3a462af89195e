/* Many tokens on tile registers: a superblock of a pair is unpacked to L1 once, and all tokens pass it tile by tile,
 * each tile against both panels. */
#ifndef SC_BODY_LINEAR_GEMM_TILES_H
#define SC_BODY_LINEAR_GEMM_TILES_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear_carried.h"
#include "linear_one_tile.h"

/* Adds the last tokens, fewer than a tile holds. Their tile overlaps the one before, if there is one: the products of
 * the overlap are made twice and added once. */
INLINE void add_rest(int format, int spans, const sc_act *x, size_t tokens, tile_memory *m, float *out)
{
    const size_t rest = tokens % TILE_ROWS, rows = tokens < TILE_ROWS ? tokens : TILE_ROWS, first = rows - rest;
    const tile_work none = {.x = NULL};
    tile_work now = {NULL, x + tokens - rows, 0, spans};
    for (; now.panel < 2; now.panel++) {
        for (int u = 0; u < spans; u++) {
            make_products(format, now, u, m);
            store_products(format, now, RING_ALL, u, m);
        }
        add_subtiles(format, now, none, first, rows, 0, (tile_ahead){NULL, 0, NULL}, m,
                     out + SC_PAIR * (tokens - rest) + SC_LANES * now.panel);
    }
}

/* Above this many bytes, tokens do not stay in L2, and are prefetched. Where they stay in L2, prefetching costs more
 * than it gains. */
enum { FAR_TOKENS = 1 << 20 };

/* Adds all tokens against an unpacked superblock. Meanwhile prefetches a superblock of weights, twice `half` bytes,
 * from `ahead`. */
INLINE void add_superblock(int format, int spans, const sc_act *x, size_t tokens, int far, const char *ahead,
                           size_t half, tile_memory *m, float *out)
{
    const sc_act *end = x + tokens / TILE_ROWS * TILE_ROWS;
    tile_work now = {NULL, x < end ? x : NULL, 0, spans}, next;
    if (now.x) start_products(format, now, RING, m);
    for (; now.x; now = next) {
        float *to = out + SC_PAIR * (now.x - x) + SC_LANES * now.panel;
        const tile_ahead later = {now.x == x ? ahead + (now.panel ? half : 0) : NULL, half / SC_GROUPS,
                                  far ? now.x + 2 * TILE_ROWS + SC_GROUPS * now.panel : NULL};
        next = now;
        next.panel ^= 1;
        if (now.panel) next.x = now.x + TILE_ROWS < end ? now.x + TILE_ROWS : NULL;
        add_panel(format, TILE_ROWS, now, next, 0, RING, 1, 0, later, m, to);
    }
    if (tokens % TILE_ROWS) add_rest(format, spans, x, tokens, m, out);
}

INLINE void gemm_many_tiles(int format, int stored, const char *superblocks, size_t columns, const sc_act *x,
                            size_t stride, size_t tokens, const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(stored, SC_SUPERBLOCK);
    const char *end = superblocks + sc_pair_bytes(stored, columns);
    const int far = columns / SC_SUPERBLOCK * tokens * sizeof *x > FAR_TOKENS;
    tile_memory m;
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK, superblocks += superblock_bytes, x += stride) {
        const int spans = spans_left(format, columns, k);
        if (stored == format) unpack_superblock(format, superblocks, spans, 1, zero_point(format), &m.w);
        else FN(linear_unpack)(stored, superblocks, spans, zero_point(format), &m.w);
        add_superblock(format, spans, x, tokens, far, prefetch_target(superblocks, end, ahead, superblock_bytes),
                       superblock_bytes / 2, &m, out);
        if (sc_has_min(stored)) FN(linear_minima)(stored, superblocks, spans, x, tokens, out);
    }
}

INLINE void linear_gemm_tiles(int format, int stored, const char *superblocks, size_t columns, const sc_act *x,
                              size_t stride, size_t tokens, const char *ahead, float *out)
{
    tile_shapes before;
    memset(out, 0, tokens * SC_PAIR * sizeof *out);
    tiles_open(tokens < TILE_ROWS ? (int)tokens : TILE_ROWS, &before);
    if (tokens <= TILE_ROWS && stored == format)
        gemm_one_tile(format, superblocks, columns, x, stride, tokens, ahead, out);
    else gemm_many_tiles(format, stored, superblocks, columns, x, stride, tokens, ahead, out);
    tiles_close(&before);
}

#endif
