/* Quantized linear layers: int8 activations times 4-, 5-, 6- or 8-bit weights, one pair of panels (32 output rows) per
 * call. For one token or many, integers are exact, and float operations are the same in the same order:
 *   Q4_K, Q5_K  a superblock is integers: total = sum of dot*scale*factor over its groups, mins = sum of min*act.sum;
 *               acc = fma(fma(total, d, rest), act.scale, acc), where rest = mins*(-8*dmin), and for Q5_K, whose dots
 *               are of weights less 16, rest = fma(sum of scale*act.sum, 8*16*d, mins*(-8*dmin))
 *   Q6_K        a group is integers: total = dot*scale + dot*scale of its halves; over a superblock
 *               part = fma(total, act.group_scale, part); acc = fma(part, d, acc)
 *   Q3_K, Q2_K  as Q6_K, Q3_K with weights times 8 and d/8. The minima of Q2_K come after each superblock: a group is
 *               an integer, total = sum of min*act.zero16 of its halves; part = fma(total, act.group_scale, part);
 *               acc = fma(part, dmin/32, acc)
 *   IQ4_XS      as Q8_0, with d*scale for d
 *   Q8_0        acc = fma(dot*d, act.group_scale, acc); so do Q4_0, Q4_1, Q5_0, Q5_1 and IQ4_NL. The minima of Q4_1 and
 *               Q5_1 come after each superblock, group by group:
 *               acc = fma(-m/16, act.group_scale*act.zero32, acc) */
#ifndef SC_BODY_LINEAR_H
#define SC_BODY_LINEAR_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "prefetch.h"

/* The six-bit factors of one panel and superblock of Q4_K or Q5_K as bytes, in the order of the lines of sc_affine. */
typedef struct {
    u8x64 scale[2], min[2];
} six_bits;

/* A pair of panels with one superblock unpacked, reused for every token of a prompt; stays in L1. */
typedef struct {
    u8x64 q[2][SC_GROUPS][8];
    i32x16 scale[2][SC_GROUPS];   /* for a span's two sums, 16 bits each */
    i32x16 min[2][SC_GROUPS / 2]; /* the same: Q4_K, Q5_K */
    f32x16 d[2][SC_GROUPS];       /* Q8_0: per group; otherwise only the first, the superblock's */
    f32x16 dmin[2];               /* the factor of sums of min*act.sum */
    six_bits six[2];
} unpacked;

INLINE int is_affine(int format) { return format == SC_Q4_K || format == SC_Q5_K; }

/* Bytes are weights + 128. */
INLINE int is_wide(int format) { return format == SC_Q8_0 || format == SC_IQ4_NL || format == SC_IQ4_XS; }

/* A span is the columns that are multiplied with scales together: two sums, each of a group (Q4_K, Q5_K) or of half a
 * group (Q6_K); for Q8_0 the sum of one group. */
INLINE int groups_per_span(int format) { return is_affine(format) ? 2 : 1; }
INLINE int spans_per_superblock(int format) { return SC_GROUPS / groups_per_span(format); }
INLINE int sums_per_span(int format) { return format == SC_Q8_0 ? 1 : 2; }

/* Quad s of group g of one panel, as unsigned bytes. */
INLINE u8x64 quad_bytes(int format, const void *superblock, int panel, int g, int s)
{
    if (format == SC_Q4_K) {
        u8x64 x = u8_load(((const sc_q4k *)superblock)->q[g >> 1][panel][s]);
        return u8_and(g & 1 ? u8_shr(x, 4) : x, 15);
    }
    if (format == SC_Q5_K) {
        const sc_q5k *w = superblock;
        u8x64 x = u8_load(w->q[g >> 1][panel][s]), high = u8_load(w->high[panel][s]);
        high = g < 4 ? u8_shl(high, 4 - g) : u8_shr(high, g - 4);
        return u8_or(u8_and(g & 1 ? u8_shr(x, 4) : x, 15), u8_and(high, 16));
    }
    if (format == SC_Q6_K) {
        const sc_q6k *w = superblock;
        const int i = g & 3;
        u8x64 x = u8_load(w->half[g >> 2].low[i & 1][panel][s]), high = u8_load(w->half[g >> 2].high[panel][s]);
        high = i < 2 ? u8_shl(high, 4 - 2 * i) : u8_shr(high, 2 * i - 4);
        return u8_or(u8_and(i >= 2 ? u8_shr(x, 4) : x, 15), u8_and(high, 48));
    }
    if (format == SC_IQ4_XS) {
        const u8x64 x = u8_load(((const sc_iq4xs *)superblock)->q[g][panel][s & 3]);
        return u8_lookup(sc_iq4_values, u8_and(s < 4 ? x : u8_shr(x, 4), 15));
    }
    if (sc_is_small(format)) {
        const uint8_t *w = (const uint8_t *)superblock + (size_t)g * sc_pair_bytes(format, SC_GROUP);
        const u8x64 x = u8_load(w + sc_nibbles_at(format) + 4 * 64 * panel + 64 * (s & 3));
        const u8x64 low = u8_and(s < 4 ? x : u8_shr(x, 4), 15);
        if (format == SC_IQ4_NL) return u8_lookup(sc_iq4_values, low);
        if (!sc_has_fifth(format)) return low;
        const u8x64 high = u8_load(w + sc_fifth_at(format) + 64 * panel);
        return u8_or(low, u8_and(s < 4 ? u8_shl(high, 4 - s) : u8_shr(high, s - 4), 16));
    }
    return u8_load(((const sc_q8 *)superblock)[g].q[panel][s]);
}

/* Unpacks the six-bit factors of a panel of `superblock`, if it has them. */
INLINE void unpack_six(int format, const void *superblock, int panel, six_bits *out)
{
    if (!is_affine(format)) return;
    const uint8_t(*six)[64] = ((const sc_affine *)superblock)->six[panel];
    const u8x64 high = u8_load(six[2]);
    out->scale[0] = u8_or(u8_and(u8_load(six[0]), 15), u8_and(u8_shl(high, 4), 48));
    out->min[0] = u8_or(u8_and(u8_shr(u8_load(six[0]), 4), 15), u8_and(u8_shl(high, 2), 48));
    out->scale[1] = u8_or(u8_and(u8_load(six[1]), 15), u8_and(high, 48));
    out->min[1] = u8_or(u8_and(u8_shr(u8_load(six[1]), 4), 15), u8_and(u8_shr(high, 2), 48));
}

/* The scales of span u's two sums. */
INLINE i32x16 span_scale(int format, const void *superblock, int panel, int u, const six_bits *six)
{
    if (is_affine(format)) return u & 1 ? i16_odd_u8(six->scale[u >> 1]) : i16_even_u8(six->scale[u >> 1]);
    const u8x64 line = u8_load(((const sc_q6k *)superblock)->scale[panel][u >> 1]);
    return u & 1 ? i16_odd_i8(line) : i16_even_i8(line);
}

INLINE i32x16 span_min(int u, const six_bits *six)
{
    return u & 1 ? i16_odd_u8(six->min[u >> 1]) : i16_even_u8(six->min[u >> 1]);
}

/* d of group g if it has its own, otherwise the superblock's. */
INLINE f32x16 load_d(int format, const void *superblock, int panel, int g)
{
    return f32_load_f16(is_affine(format)   ? ((const sc_affine *)superblock)->d[panel]
                        : format == SC_Q6_K ? ((const sc_q6k *)superblock)->d[panel]
                        : format == SC_Q8_0 ? ((const sc_q8 *)superblock)[g].d[panel]
                                            : (const uint16_t *)superblock +
                                                  (size_t)g * sc_pair_bytes(format, SC_GROUP) / 2 + 16 * panel);
}

INLINE f32x16 load_dmin(const void *superblock, int panel)
{
    return f32_mul(f32_load_f16(((const sc_affine *)superblock)->dmin[panel]), f32_set1(-(float)(1 << SC_SUM_SHIFT)));
}

/* The adds that fit int16 (vec/scalar.h), and what the sum of group g begins with: the zero point of Q4_0 and Q5_0, and
 * what is left of Q8_0's. */
INLINE int adds_in_a_run(int format)
{
    if (format == SC_Q4_K || format == SC_Q4_0 || format == SC_Q4_1) return 8;
    return format == SC_Q5_K || format == SC_Q5_0 || format == SC_Q5_1 ? 4 : 2;
}
INLINE i32x16 sum_before(int format, const sc_act *x, int g)
{
    if (is_wide(format))
        return i32_set1((128 - DOT_WIDE_OFFSET) / 32 * (x->zero16[2 * g] + x->zero16[2 * g + 1]));
    if (format == SC_Q4_0) return i32_set1(x->zero32[g] / 2);
    return i32_set1(format == SC_Q5_0 ? x->zero32[g] : 0);
}

/* Exact integer dot products of quads first..last-1 of group g: `panels` panels times `tokens` tokens. Reads weights
 * from w, or, if `superblock` is not NULL, unpacks them from it quad by quad, since few registers can hold a group. */
INLINE void dot_tile(int format, int panels, int tokens, const unpacked *w, const void *superblock, int panel,
                     const sc_act *x, int g, int first, int last, i32x16 sum[2][TILE_TOKENS])
{
    const int run = adds_in_a_run(format);
    dotx16 part[2][TILE_TOKENS];
    UNROLL(8)
    for (int s = first; s < last; s++) {
        const int n = s - first;
        u8x64 quad[2];
        UNROLL(2)
        for (int p = 0; p < panels; p++)
            quad[p] = superblock ? quad_bytes(format, superblock, panel + p, g, s) : w->q[panel + p][g][s];
        UNROLL(TILE_TOKENS)
        for (int t = 0; t < tokens; t++) {
            const u8x64 a = i8_broadcast4(x[t].q + 32 * g + 4 * s);
            UNROLL(2)
            for (int p = 0; p < panels; p++) {
                if (n == 0) sum[p][t] = sum_before(format, x + t, g);
                if (is_wide(format)) {
                    sum[p][t] = i32_dot4_wide(sum[p][t], quad[p], a);
                    continue;
                }
                part[p][t] = dot_add(n % run ? part[p][t] : dot_start(sum[p][t]), quad[p], a);
                if (n % run == run - 1) sum[p][t] = dot_end(sum[p][t], part[p][t]);
            }
        }
    }
}

/* The sums of span u. */
INLINE void dot_span(int format, int panels, int tokens, const unpacked *w, const void *superblock, int panel,
                     const sc_act *x, int u, i32x16 sum[2][2][TILE_TOKENS])
{
    if (format == SC_Q8_0) {
        dot_tile(format, panels, tokens, w, superblock, panel, x, u, 0, 8, sum[0]);
    } else if (format == SC_Q6_K) {
        dot_tile(format, panels, tokens, w, superblock, panel, x, u, 0, 4, sum[0]);
        dot_tile(format, panels, tokens, w, superblock, panel, x, u, 4, 8, sum[1]);
    } else {
        dot_tile(format, panels, tokens, w, superblock, panel, x, 2 * u, 0, 8, sum[0]);
        dot_tile(format, panels, tokens, w, superblock, panel, x, 2 * u + 1, 0, 8, sum[1]);
    }
}

/* Both sums of a span, less their zero points, in 16 bits each. Before, sums of unsigned weights may need 17. */
INLINE i32x16 span_sums(int format, i32x16 one, i32x16 two, const sc_act *x, int u)
{
    const i32x16 both = i16_pair(one, two);
    if (format == SC_Q5_K) return i16_add(both, i16_broadcast2(x->zero32 + 2 * u));
    return format == SC_Q6_K ? i16_add(both, i16_broadcast2(x->zero16 + 2 * u)) : both;
}

/* The total of one output's spans within a superblock. */
typedef struct {
    i32x16 total; /* Q4_K, Q5_K */
    f32x16 part;  /* Q6_K; for Q8_0 it includes all superblocks before */
} superblock_sum;

INLINE superblock_sum superblock_start(int format, f32x16 acc)
{
    return (superblock_sum){i32_set1(0), format == SC_Q8_0 ? acc : f32_set1(0)};
}

/* Adds a span of a K-quant from both its sums and their scales. */
INLINE void add_sums(int format, superblock_sum *sum, i32x16 both, i32x16 scale, const sc_act *x, int u)
{
    if (is_affine(format))
        sum->total = i16_dot_add(sum->total, both, i16_mul(scale, i16_broadcast2(x->factor + 2 * u)));
    else
        sum->part = f32_fma(f32_from_i32(i16_dot(both, scale)), f32_set1(x->group_scale[u]), sum->part);
}

/* Adds a group of Q8_0 from its sum times d. */
INLINE void add_term(superblock_sum *sum, f32x16 term, const sc_act *x, int g)
{
    sum->part = f32_fma(term, f32_set1(x->group_scale[g]), sum->part);
}

/* Adds a span from its sums, of which Q8_0 has one, and their scales (for Q8_0, d). */
INLINE void add_span(int format, superblock_sum *sum, i32x16 one, i32x16 two, const i32x16 *scale, const f32x16 *d,
                     const sc_act *x, int u)
{
    if (format == SC_Q8_0) add_term(sum, f32_mul(f32_from_i32(one), *d), x, u);
    else add_sums(format, sum, span_sums(format, one, two, x, u), *scale, x, u);
}

/* The sum over a superblock's groups of its factors, two to a lane, times act.sum. */
INLINE f32x16 times_sums(const i32x16 factor[SC_GROUPS / 2], const sc_act *x)
{
    i32x16 sum = i16_dot(factor[0], i16_broadcast2(x->sum));
    UNROLL(3)
    for (int u = 1; u < SC_GROUPS / 2; u++) sum = i16_dot_add(sum, factor[u], i16_broadcast2(x->sum + 2 * u));
    return f32_from_i32(sum);
}

/* acc plus a superblock. */
INLINE f32x16 superblock_end(int format, f32x16 acc, superblock_sum sum, const i32x16 *scale, const i32x16 *min,
                             f32x16 d, f32x16 dmin, const sc_act *x)
{
    if (format == SC_Q8_0) return sum.part;
    if (format == SC_Q6_K) return f32_fma(sum.part, d, acc);
    f32x16 term = f32_mul(times_sums(min, x), dmin);
    if (format == SC_Q5_K) /* adds back what subtracting the zero point took away */
        term = f32_fma(times_sums(scale, x), f32_mul(d, f32_set1(16 << SC_SUM_SHIFT)), term);
    return f32_fma(f32_fma(f32_from_i32(sum.total), d, term), f32_set1(x->scale), acc);
}

/* Spans of the superblock that begins at column k. */
INLINE int spans_left(int format, size_t columns, size_t k)
{
    return columns - k < SC_SUPERBLOCK ? (int)((columns - k) / SC_GROUP) / groups_per_span(format)
                                       : spans_per_superblock(format);
}

/* The prefetch target while `superblock` of a pair is at work: PREFETCH_SUPERBLOCKS further on, or in the next pair,
 * `ahead`, if that lies beyond `end`, the end of this one. */
INLINE const char *prefetch_target(const char *superblock, const char *end, const char *ahead, size_t superblock_bytes)
{
    const char *p = superblock + PREFETCH_SUPERBLOCKS * superblock_bytes;
    return p < end ? p : ahead + (p - end);
}

/* Unpacks span u of a panel of `superblock`: its factors, and, if `bytes`, its weights less the zero point `zero`. Span
 * 0 must come first. */
INLINE void unpack_span(int format, const char *superblock, int panel, int u, int bytes, uint8_t zero, unpacked *w)
{
    const int groups = groups_per_span(format);
    if (bytes) {
        UNROLL(2)
        for (int g = groups * u; g < groups * (u + 1); g++)
            UNROLL(8)
            for (int s = 0; s < 8; s++) {
                const u8x64 quad = quad_bytes(format, superblock, panel, g, s);
                w->q[panel][g][s] = zero ? u8_sub(quad, zero) : quad;
            }
    }
    if (u == 0) unpack_six(format, superblock, panel, &w->six[panel]);
    if (u == 0 || format == SC_Q8_0) w->d[panel][u] = load_d(format, superblock, panel, u);
    if (format != SC_Q8_0) w->scale[panel][u] = span_scale(format, superblock, panel, u, &w->six[panel]);
    if (is_affine(format)) {
        w->min[panel][u] = span_min(u, &w->six[panel]);
        if (u == 0) w->dmin[panel] = load_dmin(superblock, panel);
    }
}

/* Unpacks a superblock of a pair. */
INLINE void unpack_superblock(int format, const char *superblock, int spans, int bytes, uint8_t zero, unpacked *w)
{
    for (int p = 0; p < 2; p++)
        UNROLL(UNROLLED_SPANS)
        for (int u = 0; u < spans_per_superblock(format); u++) {
            if (format == SC_Q8_0 && u >= spans) break;
            unpack_span(format, superblock, p, u, bytes, zero, w);
        }
}

#endif
