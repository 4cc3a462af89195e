/* Types that, with many tokens, are unpacked to the form of another type, whose body then multiplies them: each needs
 * only its own unpacking, and minima if it has them. */
#ifndef SC_BODY_LINEAR_CARRIED_H
#define SC_BODY_LINEAR_CARRIED_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear.h"

/* Scales of IQ4_XS: d of each group of a panel. */
INLINE void unpack_iq4xs_scales(const sc_iq4xs *w, int panel, f32x16 d[SC_GROUPS])
{
    const f32x16 all = f32_load_f16(w->d[panel]);
    UNROLL(2)
    for (int line = 0; line < 2; line++) {
        const u8x64 scale = u8_load(w->scale[panel][line]);
        const i32x16 first = i16_even_i8(scale), second = i16_odd_i8(scale);
        const i32x16 low = i32_set1(1), high = i32_set1(1 << 16); /* to take one half of each lane */
        d[4 * line + 0] = f32_mul(f32_from_i32(i16_dot(first, low)), all);
        d[4 * line + 1] = f32_mul(f32_from_i32(i16_dot(first, high)), all);
        d[4 * line + 2] = f32_mul(f32_from_i32(i16_dot(second, low)), all);
        d[4 * line + 3] = f32_mul(f32_from_i32(i16_dot(second, high)), all);
    }
}

/* Quad s of group i of half h, 0..3 for Q2_K, 8*(0..7) for Q3_K. */
INLINE u8x64 half_quad(int format, const void *superblock, int h, int panel, int i, int s)
{
    if (format == SC_Q2_K) return u8_and(u8_shr(u8_load(((const sc_q2k *)superblock)->q[h][panel][s]), 2 * i), 3);
    const sc_q3k *w = superblock;
    const int bit = s < 4 ? i : i + 4;
    const u8x64 low = u8_load(w->half[h].q[panel][s]), high = u8_load(w->half[h].high[panel][s & 3]);
    return u8_or(u8_and(i < 2 ? u8_shl(low, 3 - 2 * i) : u8_shr(low, 2 * i - 3), 3 << 3),
                 u8_and(bit <= 5 ? u8_shl(high, 5 - bit) : u8_shr(high, bit - 5), 4 << 3));
}

/* Lines of scales of a panel as signed bytes, as those of Q6_K. */
INLINE void unpack_lines(int format, const void *superblock, int panel, u8x64 line[4])
{
    UNROLL(4)
    for (int i = 0; i < 4; i++) {
        if (format == SC_Q2_K) {
            line[i] = u8_and(u8_load(((const sc_q2k *)superblock)->scale[panel][i]), 15);
            continue;
        }
        const uint8_t(*six)[64] = ((const sc_q3k *)superblock)->six[panel];
        const u8x64 low = u8_load(six[i >> 1]), high = u8_load(six[2]);
        line[i] = u8_sub(u8_or(u8_and(i & 1 ? u8_shr(low, 4) : low, 15),
                               u8_and(i < 2 ? u8_shl(high, 4 - 2 * i) : u8_shr(high, 2 * i - 4), 3 << 4)),
                         32);
    }
}

/* d of Q2_K, or of Q3_K for weights times 8. */
INLINE f32x16 half_d(int format, const void *superblock, int panel)
{
    if (format == SC_Q2_K) return f32_load_f16(((const sc_q2k *)superblock)->d[panel]);
    return f32_mul(f32_load_f16(((const sc_q3k *)superblock)->d[panel]), f32_set1(1.0f / 8));
}

/* Unpacks a superblock as Q6_K: bytes are weights + 32, less `zero`. */
INLINE void unpack_halves(int format, const char *superblock, uint8_t zero, unpacked *w)
{
    const int offset = format == SC_Q2_K ? 32 : 0; /* weights of Q3_K are 8*(q - 4) */
    for (int p = 0; p < 2; p++) {
        u8x64 line[4];
        unpack_lines(format, superblock, p, line);
        w->d[p][0] = half_d(format, superblock, p);
        for (int h = 0; h < 2; h++)
            UNROLL(4)
            for (int i = 0; i < 4; i++) {
                const u8x64 scale = line[2 * h + (i >> 1)];
                w->scale[p][4 * h + i] = i & 1 ? i16_odd_i8(scale) : i16_even_i8(scale);
                UNROLL(8)
                for (int s = 0; s < 8; s++)
                    w->q[p][4 * h + i][s] =
                        u8_sub(half_quad(format, superblock, h, p, i, s), (uint8_t)(zero - offset));
            }
    }
}

/* Unpacks groups of a pair as Q8_0: bytes are weights + 128, less `zero`. */
INLINE void unpack_small(int format, const char *blocks, int groups, uint8_t zero, unpacked *w)
{
    const int offset = is_wide(format) ? 0 : format == SC_Q4_0 ? 128 - 8 : format == SC_Q5_0 ? 128 - 16 : 128;
    for (int p = 0; p < 2; p++) {
        if (format == SC_IQ4_XS) unpack_iq4xs_scales((const sc_iq4xs *)(const void *)blocks, p, w->d[p]);
        for (int g = 0; g < groups; g++) {
            UNROLL(8)
            for (int s = 0; s < 8; s++)
                w->q[p][g][s] = u8_sub(quad_bytes(format, blocks, p, g, s), (uint8_t)(zero - offset));
            if (format != SC_IQ4_XS) w->d[p][g] = load_d(format, blocks, p, g);
        }
    }
}

static NOINLINE void FN(linear_unpack)(int format, const char *blocks, int groups, uint8_t zero, unpacked *w)
{
    switch (format) {
    case SC_Q4_0: unpack_small(SC_Q4_0, blocks, groups, zero, w); break;
    case SC_Q4_1: unpack_small(SC_Q4_1, blocks, groups, zero, w); break;
    case SC_Q5_0: unpack_small(SC_Q5_0, blocks, groups, zero, w); break;
    case SC_Q5_1: unpack_small(SC_Q5_1, blocks, groups, zero, w); break;
    case SC_IQ4_XS: unpack_small(SC_IQ4_XS, blocks, groups, zero, w); break;
    case SC_Q2_K: unpack_halves(SC_Q2_K, blocks, zero, w); break;
    case SC_Q3_K: unpack_halves(SC_Q3_K, blocks, zero, w); break;
    default: unpack_small(SC_IQ4_NL, blocks, groups, zero, w); break;
    }
}

/* The minima of Q2_K, whose sums over 16 columns are of zero16, -32 times the sum. */
INLINE void minima_q2k(const sc_q2k *w, const sc_act *x, size_t tokens, float *out)
{
    for (int p = 0; p < 2; p++) {
        const f32x16 dmin = f32_mul(f32_load_f16(w->dmin[p]), f32_set1(1.0f / 32));
        i32x16 min[SC_GROUPS];
        UNROLL(4)
        for (int i = 0; i < 4; i++) {
            const u8x64 line = u8_and(u8_shr(u8_load(w->scale[p][i]), 4), 15);
            min[2 * i] = i16_even_u8(line);
            min[2 * i + 1] = i16_odd_u8(line);
        }
        for (size_t t = 0; t < tokens; t++) {
            float *to = out + SC_PAIR * t + SC_LANES * p;
            f32x16 part = f32_set1(0);
            for (int g = 0; g < SC_GROUPS; g++)
                part = f32_fma(f32_from_i32(i16_dot(min[g], i16_broadcast2(x[t].zero16 + 2 * g))),
                               f32_set1(x[t].group_scale[g]), part);
            f32_store(to, f32_fma(part, dmin, f32_load(to)));
        }
    }
}

/* Adds the minima of a superblock of a pair. */
static NOINLINE void FN(linear_minima)(int format, const char *blocks, int groups, const sc_act *x, size_t tokens,
                                       float *out)
{
    const size_t bytes = sc_pair_bytes(format, SC_GROUP);
    if (format == SC_Q2_K) {
        minima_q2k((const sc_q2k *)(const void *)blocks, x, tokens, out);
        return;
    }
    for (size_t p = 0; p < 2; p++) {
        f32x16 min[SC_GROUPS]; /* times -1/16, since zero32 is -16 times the sum */
        for (int g = 0; g < groups; g++) {
            const void *m = blocks + (size_t)g * bytes + SC_MIN_AT;
            min[g] = f32_mul(f32_load_f16((const uint16_t *)m + 16 * p), f32_set1(-1.0f / 16));
        }
        for (size_t t = 0; t < tokens; t++) {
            float *to = out + SC_PAIR * t + SC_LANES * p;
            f32x16 acc = f32_load(to);
            for (int g = 0; g < groups; g++)
                acc = f32_fma(min[g], f32_set1(x[t].group_scale[g] * (float)x[t].zero32[g]), acc);
            f32_store(to, acc);
        }
    }
}

#endif
