/* Few tokens of Q2_K and Q3_K: as linear_gemv.h, in a loop over halves of a superblock, for they are alike. */
#ifndef SC_BODY_LINEAR_GEMV_HALVES_H
#define SC_BODY_LINEAR_GEMV_HALVES_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear_carried.h"

/* Adds group i of half h of a panel, for few tokens. */
INLINE void add_half_group(int format, int tokens, const char *superblock, int h, int panel, int i, i32x16 scale,
                           const sc_act *x, f32x16 part[GEMV_TOKENS])
{
    const int run = format == SC_Q2_K ? 4 : 2, g = 4 * h + i; /* adds that fit int16: vec/scalar.h */
    i32x16 sum[2][GEMV_TOKENS];
    dotx16 dot[GEMV_TOKENS];
    UNROLL(8)
    for (int s = 0; s < 8; s++) {
        const u8x64 quad = half_quad(format, superblock, h, panel, i, s);
        UNROLL(GEMV_TOKENS)
        for (int t = 0; t < tokens; t++) {
            if (s % 4 == 0) sum[s / 4][t] = i32_set1(0);
            dot[t] =
                dot_add(s % run ? dot[t] : dot_start(sum[s / 4][t]), quad, i8_broadcast4(x[t].q + 32 * g + 4 * s));
            if (s % run == run - 1) sum[s / 4][t] = dot_end(sum[s / 4][t], dot[t]);
        }
    }
    UNROLL(GEMV_TOKENS)
    for (int t = 0; t < tokens; t++) {
        i32x16 both = i16_pair(sum[0][t], sum[1][t]);
        if (format == SC_Q3_K) both = i16_add(both, i16_broadcast2(x[t].zero16 + 2 * g));
        part[t] = f32_fma(f32_from_i32(i16_dot(both, scale)), f32_set1(x[t].group_scale[g]), part[t]);
    }
}

INLINE void linear_gemv_halves(int format, int tokens, const char *superblocks, size_t columns, const sc_act *x,
                               size_t stride, const char *ahead, float *out)
{
    const size_t superblock_bytes = sc_pair_bytes(format, SC_SUPERBLOCK), half_bytes = superblock_bytes / 2;
    const char *end = superblocks + sc_pair_bytes(format, columns);
    memset(out, 0, (size_t)tokens * SC_PAIR * sizeof *out);
    for (size_t k = 0; k < columns; k += SC_SUPERBLOCK, superblocks += superblock_bytes, x += stride) {
        const char *next = prefetch_target(superblocks, end, ahead, superblock_bytes);
        u8x64 line[2][4];
        f32x16 part[2][GEMV_TOKENS];
        UNROLL(2)
        for (int p = 0; p < 2; p++) {
            unpack_lines(format, superblocks, p, line[p]);
            UNROLL(GEMV_TOKENS)
            for (int t = 0; t < tokens; t++) part[p][t] = f32_set1(0);
        }
        for (int h = 0; h < 2; h++) {
            UNROLL(2)
            for (int p = 0; p < 2; p++)
                UNROLL(4)
                for (int i = 0; i < 4; i++) {
                    const size_t bytes = half_bytes / 8, at = (size_t)h * half_bytes + (size_t)(4 * p + i) * bytes;
                    if (PREFETCH_SUPERBLOCKS) prefetch(next + at, bytes);
                    if (PREFETCH_NEAR) prefetch_near(superblocks + half_bytes + at, bytes);
                    NO_LOADS_AHEAD();
                    const u8x64 scale = line[p][2 * h + (i >> 1)];
                    add_half_group(format, tokens, superblocks, h, p, i,
                                   i & 1 ? i16_odd_i8(scale) : i16_even_i8(scale), x, part[p]);
                }
        }
        UNROLL(2)
        for (int p = 0; p < 2; p++)
            UNROLL(GEMV_TOKENS)
            for (int t = 0; t < tokens; t++) {
                float *to = out + SC_PAIR * t + SC_LANES * p;
                f32_store(to, f32_fma(part[p][t], half_d(format, superblocks, p), f32_load(to)));
            }
        if (sc_has_min(format)) FN(linear_minima)(format, superblocks, SC_GROUPS, x, (size_t)tokens, out);
    }
}

#endif
