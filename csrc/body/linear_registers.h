/* Many tokens in register tiles: a superblock of a pair is unpacked to L1 once, and all tokens stream past it. */
#ifndef SC_BODY_LINEAR_REGISTERS_H
#define SC_BODY_LINEAR_REGISTERS_H

/* A tile of the many-token path: one superblock, TILE_PANELS panels from `p0`, `tokens` tokens. The bytes of `w` are those
 * of `block`, or missing: UNPACK_IN_TILE. Meanwhile `part` bytes at `ahead` are prefetched, unless it is NULL, and the tokens
 * of the next tile. */
INLINE void linear_tile(int format, int tokens, const unpacked *w, const void *block, int p0, int groups, const sc_act *x,
                        const char *ahead, size_t part, float *out)
{
    f32x16 acc[2][TILE_TOKENS];
    UNROLL(TILE_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) acc[p][t] = f32_load(out + 32 * t + 16 * (p0 + p));
    const void *packed = UNPACK_IN_TILE(format) ? block : NULL;
    const size_t own = (size_t)tokens * sizeof *x / SC_GROUPS;
    UNROLL(TILE_GROUPS)
    for (int g = 0; g < groups; g++) {
        if (ahead) prefetch(ahead + (size_t)g * (part / SC_GROUPS), part / SC_GROUPS);
        prefetch_near((const char *)(x + tokens) + (size_t)g * own, own);
        const u8x64 *const q[2] = {w->q[p0][g], w->q[TILE_PANELS - 1 + p0][g]};
        i32x16 sum[2][TILE_TOKENS];
        f32x16 term[2][TILE_TOKENS];
        dot_tile(format, TILE_PANELS, tokens, q, packed, p0, x, g, 0, format == SC_Q6_K ? 4 : 8, sum);
        if (format == SC_Q6_K) {
            UNROLL(2)
            for (int p = 0; p < TILE_PANELS; p++)
                UNROLL(TILE_TOKENS)
                for (int t = 0; t < tokens; t++)
                    term[p][t] = f32_mul(f32_from_i32(sum[p][t]), w->scale[p0 + p][2 * g]);
            dot_tile(format, TILE_PANELS, tokens, q, packed, p0, x, g, 4, 8, sum);
        }
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) {
            const f32x16 *scale = &w->scale[p0 + p][sums_per_group(format) * (size_t)g];
            UNROLL(TILE_TOKENS)
            for (int t = 0; t < tokens; t++)
                acc[p][t] = group_add(format, acc[p][t], sum[p][t], term[p][t], scale, w->min[p0 + p][g], x + t, g);
        }
    }
    UNROLL(TILE_TOKENS)
    for (int t = 0; t < tokens; t++)
        UNROLL(2)
        for (int p = 0; p < TILE_PANELS; p++) f32_store(out + 32 * t + 16 * (p0 + p), acc[p][t]);
}

INLINE void linear_registers(int format, const char *blocks, size_t columns, const sc_act *x, size_t stride,
                             size_t tokens, const char *ahead, float *out)
{
    const size_t block_bytes = sc_pair_bytes(format, SC_BLOCK);
    const char *end = blocks + sc_pair_bytes(format, columns);
    /* Prefetching is spread over the tiles of the first tokens: the requests of a burst hold up other loads. */
    const size_t tiles = tokens < 4 * TILE_TOKENS ? (tokens + TILE_TOKENS - 1) / TILE_TOKENS : 4;
    const size_t spread = tiles * TILE_TOKENS, piece = block_bytes / tiles;
    unpacked w;
    memset(out, 0, tokens * SC_PAIR * sizeof *out);
    for (size_t k = 0; k < columns; k += SC_BLOCK, blocks += block_bytes, x += stride) {
        const int groups = groups_left(columns, k);
        const char *next = soon(blocks, end, ahead, block_bytes);
        unpack_block(format, blocks, groups, !UNPACK_IN_TILE(format), 0, &w);
        for (int p = 0; p < 2; p += TILE_PANELS)
            for (size_t t = 0, n; t < tokens; t += n) {
                n = next_tile(tokens - t, TILE_TOKENS);
                const char *asked = PREFETCH_BLOCKS && p == 0 && t < spread ? next + t / TILE_TOKENS * piece : NULL;
                const sc_act *from = x + t;
                float *to = out + SC_PAIR * t;
                if (n == TILE_TOKENS) linear_tile(format, TILE_TOKENS, &w, blocks, p, groups, from, asked, piece, to);
                else if (n == 4) linear_tile(format, 4, &w, blocks, p, groups, from, asked, piece, to);
                else if (n == 2) linear_tile(format, 2, &w, blocks, p, groups, from, asked, piece, to);
                else linear_tile(format, 1, &w, blocks, p, groups, from, asked, piece, to);
            }
    }
}

#endif
