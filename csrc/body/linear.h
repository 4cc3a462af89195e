/* Quantised linear layers: int8 activations times 4-, 5-, 6- or 8-bit weights, one pair of panels (32 output rows) per
 * call. The dot product of a 32-column group is an exact integer; the float operations that follow are the same, in the
 * same order, whether one token or many are in flight:
 *     term = float(dot) * (d*scale);  acc = fma(term, act.scale, acc);  acc = fma(-dmin*min, act.sum, acc) */
#ifndef SC_BODY_LINEAR_H
#define SC_BODY_LINEAR_H

/* The scales and minima of one panel and superblock of Q4_K or Q5_K as bytes: those of group g are from byte 16*g on. */
typedef struct {
    u8x64 scale[2], min[2];
} six_bits;

/* A pair of panels with one superblock unpacked to bytes, reused for every token of a prompt; stays in L1. */
typedef struct {
    u8x64 q[2][SC_GROUPS][8];
    f32x16 scale[2][2 * SC_GROUPS]; /* d*scale: per group, Q6_K per half group */
    f32x16 min[2][SC_GROUPS];       /* -dmin*min */
    six_bits six[2];
} unpacked;

/* Sums, and scales, of a group: Q6_K has them per half group. */
INLINE size_t sums_per_group(int format) { return format == SC_Q6_K ? 2 : 1; }

/* Step s of group g of one panel, as unsigned bytes. */
INLINE u8x64 step_bytes(int format, const void *block, int panel, int g, int s)
{
    if (format == SC_Q4_K) {
        u8x64 x = u8_load(((const sc_q4k *)block)->q[g >> 1][panel][s]);
        return u8_and(g & 1 ? u8_shr(x, 4) : x, 15);
    }
    if (format == SC_Q5_K) {
        const sc_q5k *w = block;
        u8x64 x = u8_load(w->q[g >> 1][panel][s]), high = u8_load(w->high[panel][s]);
        high = g < 4 ? u8_shl(high, 4 - g) : u8_shr(high, g - 4);
        return u8_or(u8_and(g & 1 ? u8_shr(x, 4) : x, 15), u8_and(high, 16));
    }
    if (format == SC_Q6_K) {
        const sc_q6k *w = block;
        const int i = g & 3;
        u8x64 x = u8_load(w->half[g >> 2].low[i & 1][panel][s]), high = u8_load(w->half[g >> 2].high[panel][s]);
        high = i < 2 ? u8_shl(high, 4 - 2 * i) : u8_shr(high, 2 * i - 4);
        return u8_or(u8_and(i >= 2 ? u8_shr(x, 4) : x, 15), u8_and(high, 48));
    }
    return u8_load(((const sc_q8 *)block)[g].q[panel][s]);
}

INLINE int is_affine(int format) { return format == SC_Q4_K || format == SC_Q5_K; }

/* For the six-bit factors of a panel of `block`, if it has them. */
INLINE void unpack_six(int format, const void *block, int panel, six_bits *out)
{
    if (!is_affine(format)) return;
    const uint8_t *six = ((const sc_affine *)block)->six[panel][0];
    out->scale[0] = u8_or(u8_and(u8_load(six), 15), u8_and(u8_shl(u8_load(six + 128), 4), 48));
    NO_LOADS_AHEAD();
    out->min[0] = u8_or(u8_and(u8_shr(u8_load(six), 4), 15), u8_and(u8_shl(u8_load(six + 128), 2), 48));
    NO_LOADS_AHEAD();
    out->scale[1] = u8_or(u8_and(u8_load(six + 64), 15), u8_and(u8_load(six + 128), 48));
    NO_LOADS_AHEAD();
    out->min[1] = u8_or(u8_and(u8_shr(u8_load(six + 64), 4), 15), u8_and(u8_shr(u8_load(six + 128), 2), 48));
}

/* The factors of group g: scale[0] (and scale[1] for the second half group of Q6_K) and the negated minimum. */
INLINE void group_factors(int format, const void *block, int panel, int g, const six_bits *six, f32x16 scale[2],
                          f32x16 *min)
{
    if (is_affine(format)) {
        const sc_affine *w = block;
        scale[0] = f32_mul(f32_load_f16(w->d[panel]), f32_load_u8((const uint8_t *)six->scale + 16 * g));
        *min = f32_mul(f32_sub(f32_set1(0), f32_load_f16(w->dmin[panel])), f32_load_u8((const uint8_t *)six->min + 16 * g));
    } else if (format == SC_Q6_K) {
        const sc_q6k *w = block;
        const f32x16 d = f32_load_f16(w->d[panel]);
        scale[0] = f32_mul(d, f32_load_i8(w->scale[panel][2 * g]));
        scale[1] = f32_mul(d, f32_load_i8(w->scale[panel][2 * g + 1]));
    } else {
        scale[0] = f32_load_f16(((const sc_q8 *)block)[g].d[panel]);
    }
}

/* acc += group g of the weights times group g of one token, whose integer sums times scales are `term`. */
INLINE f32x16 term_add(int format, f32x16 acc, f32x16 term, f32x16 min, const sc_act *x, int g)
{
    acc = f32_fma(term, f32_set1(x->scale[g]), acc);
    return is_affine(format) ? f32_fma(min, f32_set1(x->sum[g]), acc) : acc;
}

/* The same from the sums, `dot`. For Q6_K `dot` is the second
 * half group and `term` what the first came to. */
INLINE f32x16 group_add(int format, f32x16 acc, i32x16 dot, f32x16 term, const f32x16 scale[2], f32x16 min,
                        const sc_act *x, int g)
{
    if (format == SC_Q6_K) term = f32_fma(f32_from_i32(dot), scale[1], term);
    else term = f32_mul(f32_from_i32(dot), scale[0]);
    return term_add(format, acc, term, min, x, g);
}

/* Integer dot products of steps first..last-1 of group g, zero points taken off: `panels` panels times `tokens` tokens,
 * exact. The weights are w, or else those of `panel` of `block`, unpacked step by step: few registers hold a group. */
INLINE void dot_tile(int format, int panels, int tokens, const u8x64 *const w[2], const void *block, int panel,
                     const sc_act *x, int g, int first, int last, i32x16 sum[2][TILE_TOKENS])
{
    const int run = format == SC_Q4_K ? 8 : format == SC_Q5_K ? 4 : 2; /* adds that fit int16: vec/scalar.h */
    dotx16 part[2][TILE_TOKENS];
    UNROLL(8)
    for (int s = first; s < last; s++) {
        const int n = s - first;
        u8x64 step[2];
        UNROLL(2)
        for (int p = 0; p < panels; p++) step[p] = block ? step_bytes(format, block, panel + p, g, s) : w[p][s];
        UNROLL(TILE_TOKENS)
        for (int t = 0; t < tokens; t++) {
            const u8x64 a = i8_broadcast4(x[t].q + 32 * g + 4 * s);
            const int32_t *zero = x[t].zero16 + 2 * g;
            UNROLL(2)
            for (int p = 0; p < panels; p++) {
                if (format == SC_Q8_0) {
                    if (n == 0) sum[p][t] = i32_set1((128 - DOT_WIDE_OFFSET) / 32 * (zero[0] + zero[1]));
                    sum[p][t] = i32_dot4_wide(sum[p][t], step[p], a);
                    continue;
                }
                const i32x16 start = i32_set1(format == SC_Q6_K ? zero[first / 4] : 0);
                part[p][t] = dot_add(n % run ? part[p][t] : dot_start(n ? sum[p][t] : start), step[p], a);
                if (n % run == run - 1) sum[p][t] = dot_end(n < run ? start : sum[p][t], part[p][t]);
            }
        }
    }
}

/* Groups of the superblock that begins at column k. */
INLINE int groups_left(size_t columns, size_t k)
{
    return columns - k < SC_BLOCK ? (int)((columns - k) / SC_GROUP) : SC_GROUPS;
}

/* What to ask for while superblock `block` of a pair is at work: PREFETCH_BLOCKS further, in the pair that comes next if
 * this one, whose end is `end`, is that short. */
INLINE const char *soon(const char *block, const char *end, const char *ahead, size_t block_bytes)
{
    const char *p = block + PREFETCH_BLOCKS * block_bytes;
    return p < end ? p : ahead + (p - end);
}

/* Few tokens: the pair is unpacked in registers and read once. */
INLINE void linear_few(int format, int tokens, const char *blocks, size_t columns, const sc_act *x, size_t stride,
                       const char *ahead, float *out)
{
    f32x16 acc[2][FEW_TOKENS];
    const size_t block_bytes = sc_pair_bytes(format, SC_BLOCK), part = block_bytes / SC_GROUPS;
    const char *end = blocks + sc_pair_bytes(format, columns);
    UNROLL(FEW_TOKENS)
    for (int t = 0; t < tokens; t++) acc[0][t] = acc[1][t] = f32_set1(0);
    for (size_t k = 0; k < columns; k += SC_BLOCK, blocks += block_bytes, x += stride) {
        const int groups = groups_left(columns, k);
        const char *next = soon(blocks, end, ahead, block_bytes);
        six_bits six[2];
        for (int p = 0; p < 2; p++) unpack_six(format, blocks, p, &six[p]);
        UNROLL(8)
        for (int g = 0; g < SC_GROUPS; g++) {
            if (format == SC_Q8_0 && g >= groups) break;
            if (PREFETCH_BLOCKS) prefetch(next + (size_t)g * part, part);
            if (PREFETCH_NEAR) prefetch_near(blocks + block_bytes / 2 + (size_t)g * part, part);
            UNROLL(2)
            for (int p = 0; p < 2; p++) {
                NO_LOADS_AHEAD();
                i32x16 sum[2][TILE_TOKENS];
                f32x16 scale[2], min, term[FEW_TOKENS];
                group_factors(format, blocks, p, g, &six[p], scale, &min);
                dot_tile(format, 1, tokens, NULL, blocks, p, x, g, 0, format == SC_Q6_K ? 4 : 8, sum);
                if (format == SC_Q6_K) {
                    UNROLL(FEW_TOKENS)
                    for (int t = 0; t < tokens; t++) term[t] = f32_mul(f32_from_i32(sum[0][t]), scale[0]);
                    dot_tile(format, 1, tokens, NULL, blocks, p, x, g, 4, 8, sum);
                }
                UNROLL(FEW_TOKENS)
                for (int t = 0; t < tokens; t++)
                    acc[p][t] = group_add(format, acc[p][t], sum[0][t], term[t], scale, min, x + t, g);
            }
        }
    }
    UNROLL(FEW_TOKENS)
    for (int t = 0; t < tokens; t++) {
        f32_store(out + SC_PAIR * t, acc[0][t]);
        f32_store(out + SC_PAIR * t + 16, acc[1][t]);
    }
}

/* Group g of a panel of `block`: factors, and bytes less the zero point `zero` if `bytes`. Group 0 comes first. */
INLINE void unpack_group(int format, const char *block, int panel, int g, int bytes, uint8_t zero, unpacked *w)
{
    if (bytes) {
        UNROLL(8)
        for (int s = 0; s < 8; s++) {
            const u8x64 step = step_bytes(format, block, panel, g, s);
            w->q[panel][g][s] = zero ? u8_sub(step, zero) : step;
        }
    }
    if (g == 0) unpack_six(format, block, panel, &w->six[panel]);
    group_factors(format, block, panel, g, &w->six[panel], &w->scale[panel][sums_per_group(format) * (size_t)g],
                  &w->min[panel][g]);
}

/* Superblock `block` of a pair. */
INLINE void unpack_block(int format, const char *block, int groups, int bytes, uint8_t zero, unpacked *w)
{
    for (int p = 0; p < 2; p++)
        UNROLL(8)
        for (int g = 0; g < SC_GROUPS; g++) {
            if (format == SC_Q8_0 && g >= groups) break;
            unpack_group(format, block, p, g, bytes, zero, w);
        }
}

#endif
