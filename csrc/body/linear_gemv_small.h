/* Few tokens of Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL and IQ4_XS: as linear_gemv.h, in a loop over groups, for they are all
 * alike. */
#ifndef SC_BODY_LINEAR_GEMV_SMALL_H
#define SC_BODY_LINEAR_GEMV_SMALL_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear_carried.h"

INLINE void linear_gemv_small(int format, int tokens, const char *blocks, size_t columns, const sc_act *x,
                              size_t stride, const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(format, SC_SUPERBLOCK), group_bytes = superblock_bytes / SC_GROUPS;
    const char *end = blocks + sc_pair_bytes(format, columns);
    memset(out, 0, (size_t)tokens * SC_PAIR * sizeof *out);
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK, blocks += superblock_bytes, x += stride) {
        const int groups = spans_left(format, columns, k);
        const char *next = prefetch_target(blocks, end, ahead, superblock_bytes);
        superblock_sum sum[2][GEMV_TOKENS];
        f32x16 own[2][SC_GROUPS];
        UNROLL(2)
        for (int p = 0; p < 2; p++) {
            if (format == SC_IQ4_XS) unpack_iq4xs_scales((const sc_iq4xs *)(const void *)blocks, p, own[p]);
            UNROLL(GEMV_TOKENS)
            for (int t = 0; t < tokens; t++) sum[p][t].part = f32_load(out + SC_PAIR * t + SC_LANES * p);
        }
        for (int g = 0; g < groups; g++) {
            const size_t at = (size_t)g * group_bytes;
            if (PREFETCH_SUPERBLOCKS) prefetch(next + at, group_bytes);
            if (PREFETCH_NEAR) prefetch_near(blocks + superblock_bytes / 2 + at, group_bytes);
            UNROLL(2)
            for (int p = 0; p < 2; p++) {
                i32x16 dot[2][TILE_TOKENS];
                NO_LOADS_AHEAD();
                const f32x16 d = format == SC_IQ4_XS ? own[p][g] : load_d(format, blocks, p, g);
                dot_tile(format, 1, tokens, NULL, blocks, p, x, g, 0, 8, dot);
                UNROLL(GEMV_TOKENS)
                for (int t = 0; t < tokens; t++) add_term(&sum[p][t], f32_mul(f32_from_i32(dot[0][t]), d), x + t, g);
            }
        }
        UNROLL(2)
        for (int p = 0; p < 2; p++)
            UNROLL(GEMV_TOKENS)
            for (int t = 0; t < tokens; t++) f32_store(out + SC_PAIR * t + SC_LANES * p, sum[p][t].part);
        if (sc_has_min(format)) FN(linear_minima)(format, blocks, groups, x, (size_t)tokens, out);
    }
}

#endif
