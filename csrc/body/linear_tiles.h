/* Many tokens on tile registers (vec/amx.h): dot products of 16 tokens with a panel come as a tile of integers, by way of
 * L1, and only the float operations are left to vectors. While these finish one tile the next one's products are made. */
#ifndef SC_BODY_LINEAR_TILES_H
#define SC_BODY_LINEAR_TILES_H

#include "linear_registers.h"

/* Exact integer dot products of one panel's superblock with up to 16 tokens: per group, Q6_K per half group. */
typedef struct {
    _Alignas(64) int32_t dot[2 * SC_GROUPS][TILE_ROWS][SC_LANES];
} tile_dots;

INLINE void dot_group(int format, const unpacked *w, int p, int g, const sc_act *x, tile_dots *out)
{
    const int8_t *q = x->q + SC_GROUP * g;
    if (format == SC_Q6_K) {
        tile_dot16(q, sizeof *x, w->q[p][g], out->dot[2 * g]);
        tile_dot16(q + 16, sizeof *x, w->q[p][g] + 4, out->dot[2 * g + 1]);
    } else {
        tile_dot32(q, sizeof *x, w->q[p][g], out->dot[g]);
    }
}

/* A panel's superblock with the tile of tokens that begins at x; no x, no work. `ahead`, unless NULL, is prefetched
 * meanwhile, `part` bytes per group: as evenly as the arithmetic lets, since a burst would hold up other loads. */
typedef struct {
    const sc_act *x;
    int panel;
    const char *ahead;
    size_t part;
} tile_work;

INLINE void dot_panel(int format, const unpacked *w, int groups, tile_work work, tile_dots *out)
{
    for (int g = 0; g < groups; g++) dot_group(format, w, work.panel, g, work.x, out);
}

/* Adds what `dots` holds for `tokens` tokens from `first` of a tile to out; meanwhile makes the products of `next` and,
 * if there are `many` tokens, asks for those after it: few stay in L1, and asking cost 16 of them a sixth (weights in
 * L2). */
INLINE void add_tokens(int format, int many, int tokens, const unpacked *w, int groups, tile_work now, size_t first,
                       const tile_dots *dots, tile_work next, tile_dots *next_dots, float *out)
{
    const size_t tile_bytes = 2 * TILE_ROWS * sizeof(sc_act); /* from here to there: one token per panel and group */
    f32x16 acc[TILE_ROWS];
    UNROLL(TILE_ROWS)
    for (int t = 0; t < tokens; t++) acc[t] = f32_load(out + SC_PAIR * t);
    for (int g = 0; g < groups; g++) {
        if (next.x) dot_group(format, w, next.panel, g, next.x, next_dots);
        const char *later = (const char *)now.x + tile_bytes + (size_t)(SC_GROUPS * now.panel + g) * sizeof(sc_act);
        if (many) prefetch_near(later, sizeof(sc_act));
        if (now.ahead) prefetch(now.ahead + (size_t)g * now.part, now.part);
        const int at = format == SC_Q6_K ? 2 * g : g;
        const f32x16 *scale = &w->scale[now.panel][at], min = w->min[now.panel][g];
        const int32_t(*dot)[SC_LANES] = dots->dot[at] + first;
        const sc_act *x = (const sc_act *)(const void *)((const float *)(const void *)(now.x + first) + g);
        OPAQUE(dot);
        OPAQUE(x);
        UNROLL(TILE_ROWS)
        for (int t = 0; t < tokens; t++) {
            f32x16 term = min;
            if (format == SC_Q6_K) term = f32_mul(f32_from_i32(i32_load(dot[t])), scale[0]);
            const i32x16 last = i32_load(dot[t + (format == SC_Q6_K ? TILE_ROWS : 0)]);
            acc[t] = group_add(format, acc[t], last, term, scale, min, x + t, 0);
        }
    }
    UNROLL(TILE_ROWS)
    for (int t = 0; t < tokens; t++) f32_store(out + SC_PAIR * t, acc[t]);
}

/* The same for tokens first..rows-1, in pieces. */
INLINE void add_tile(int format, int many, const unpacked *w, int groups, tile_work now, size_t first, size_t rows,
                     const tile_dots *dots, tile_work next, tile_dots *next_dots, float *out)
{
    for (size_t t = first, n; t < rows; t += n, out += SC_PAIR * n, next.x = NULL, now.ahead = NULL) {
        n = next_tile(rows - t, TILE_ROWS);
        if (n == TILE_ROWS) add_tokens(format, many, TILE_ROWS, w, groups, now, t, dots, next, next_dots, out);
        else if (n == 4) add_tokens(format, many, 4, w, groups, now, t, dots, next, next_dots, out);
        else if (n == 2) add_tokens(format, many, 2, w, groups, now, t, dots, next, next_dots, out);
        else add_tokens(format, many, 1, w, groups, now, t, dots, next, next_dots, out);
    }
}

/* All tokens against an unpacked superblock, tile by tile and in each tile both panels. The last tile overlaps the one
 * before it where tokens are no multiple of its rows: its first products are made twice and added once. */
INLINE void add_block(int format, int many, const unpacked *w, int groups, const sc_act *x, size_t tokens, size_t rows,
                      const char *ahead, float *out)
{
    tile_dots dots[2];
    const size_t half = sc_pair_bytes(format, SC_BLOCK) / 2;
    tile_work now = {x, 0, ahead, half / SC_GROUPS}, next;
    dot_panel(format, w, groups, now, &dots[0]);
    for (size_t done = 0; done < tokens; now = next) {
        const size_t start = (size_t)(now.x - x), end = start + rows, left = tokens - end;
        if (now.panel == 0) next = (tile_work){now.x, 1, now.ahead ? now.ahead + half : NULL, now.part};
        else next = (tile_work){.x = left ? now.x + (left < rows ? left : rows) : NULL};
        add_tile(format, many, w, groups, now, done - start, rows, &dots[now.panel], next, &dots[next.panel],
                 out + SC_PAIR * done + SC_LANES * (size_t)now.panel);
        if (now.panel) done = end;
    }
}

INLINE void linear_tiles(int format, const char *blocks, size_t columns, const sc_act *x, size_t stride, size_t tokens,
                         const char *ahead, float *out)
{
    const size_t block_bytes = sc_pair_bytes(format, SC_BLOCK), rows = tokens < TILE_ROWS ? tokens : TILE_ROWS;
    const uint8_t zero = format == SC_Q6_K ? 32 : format == SC_Q8_0 ? 128 : 0; /* tiles take signed weights */
    const char *end = blocks + sc_pair_bytes(format, columns);
    unpacked w;
    memset(out, 0, tokens * SC_PAIR * sizeof *out);
    tile_shapes before;
    tiles_open((int)rows, &before);
    for (size_t k = 0; k < columns; k += SC_BLOCK, blocks += block_bytes, x += stride) {
        const int groups = columns - k < SC_BLOCK ? (int)((columns - k) / SC_GROUP) : SC_GROUPS;
        unpack_block(format, blocks, groups, 1, zero, NULL, &w);
        const char *next = soon(blocks, end, ahead, block_bytes);
        if (tokens > TILE_ROWS) add_block(format, 1, &w, groups, x, tokens, rows, next, out);
        else add_block(format, 0, &w, groups, x, tokens, rows, next, out);
    }
    tiles_close(&before);
}

#endif
