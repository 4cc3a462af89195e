/* How weights and activations lie in memory. Weights come as panels of 16 rows, one row per vector lane. Panels come in
 * pairs, so that a pair yields 32 outputs: one group of the next layer's activations. Rows beyond the matrix are zero.
 * Only pack.c writes panels; csrc/body reads them, and rows.c reads single rows. */
#ifndef SC_LAYOUT_H
#define SC_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "santacoder.h"

/* Sizes are computed in size_t, and bytes of weights and factors are read as 16- and 32-bit numbers. */
_Static_assert(sizeof(size_t) == 8, "the host has 64 bits");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error the host must be little-endian
#endif

#define SC_LANES 16       /* rows per panel */
#define SC_PAIR 32        /* rows per pair of panels */
#define SC_GROUP 32       /* columns whose activations share a factor */
#define SC_SUPERBLOCK 256 /* columns per superblock: 8 groups; their activations share a scale */
#define SC_GROUPS 8       /* groups per superblock */
#define SC_QUERIES 16     /* most queries per attention tile */

/* 64 bytes of weights hold four columns of 16 rows: byte 4*r + c is column c of row r. Such four columns are a "quad";
 * a group has eight. Lines of a block lie in the order in which a few tokens use them: factors first, then the two
 * panels in turn, so that a hardware prefetcher sees one stream. */

/* Small factors of a row lie in its lane too, four bytes to a line. Even bytes belong to two groups (Q6_K: halves of a
 * group) that follow each other, odd bytes to the next two: as 16-bit numbers they are multiplied two at a time. */
#define SC_FACTOR_BYTE(i) ((i) % 4 / 2 + (i) % 2 * 2) /* the byte of factor i in its lane: 0, 2, 1, 3 */

/* Factors of Q4_K and Q5_K: w = d*scale*q - dmin*min with six bits of scale and min for each group. Line g/4 of `six`
 * has bits 0 to 3 of group g's scale and, above them, min; line 2 has bits 4 and 5 of scale g, min g, scale g+4, min
 * g+4. */
typedef struct {
    uint16_t d[2][16], dmin[2][16]; /* [panel][row], f16 */
    uint8_t six[2][3][64];          /* [panel][line][byte] */
} sc_affine;

/* Q4_K, 256 columns: low nibbles of chunk c are group 2c, high nibbles group 2c+1. */
typedef struct {
    sc_affine affine;
    uint8_t q[4][2][8][64]; /* [chunk][panel][quad][byte] */
} sc_q4k;

/* Q5_K, 256 columns: as Q4_K, with bit g of `high` the fifth bit of group g. */
typedef struct {
    sc_affine affine;
    uint8_t high[2][8][64];
    uint8_t q[4][2][8][64];
} sc_q5k;

/* Q6_K, 256 columns in two halves of 128: group i of a half takes its low nibble from low[i&1] (high half of the byte
 * for i >= 2) and bits 2i, 2i+1 of high. w = d*scale*(q - 32), one scale per 16 columns. */
typedef struct {
    uint16_t d[2][16];
    int8_t scale[2][4][64]; /* [panel][line][byte]: line i/4 has those of 16 columns from 16*i */
    struct {
        uint8_t high[2][8][64];
        uint8_t low[2][2][8][64]; /* [i&1][panel][quad][byte] */
    } half[2];
} sc_q6k;

/* Q8_0, 32 columns: bytes are q + 128. w = d*q. */
typedef struct {
    uint16_t d[2][16];
    uint8_t q[2][8][64];
} sc_q8;

/* Q4_0, Q4_1, Q5_0, Q5_1 and IQ4_NL, 32 columns, in lines of 64 bytes: d[2][16], f16; the minima m[2][16] of Q4_1 and
 * Q5_1; the fifth bits [panel][byte] of Q5_0 and Q5_1; nibbles [panel][line][byte]. Low nibbles of line s are quad s,
 * high ones quad s + 4, and bit s of a byte of the fifth bits belongs to quad s. w = d*(q - 8) for Q4_0, d*(q - 16) for
 * Q5_0, d*q + m for Q4_1 and Q5_1, d*(sc_iq4_values[q] - 128) for IQ4_NL. */
static inline int sc_is_small(int format) { return format >= SC_Q4_0 && format <= SC_IQ4_NL; }
static inline int sc_has_min(int format) { return format == SC_Q4_1 || format == SC_Q5_1 || format == SC_Q2_K; }
static inline int sc_has_fifth(int format) { return format == SC_Q5_0 || format == SC_Q5_1; }
#define SC_MIN_AT 64
static inline size_t sc_fifth_at(int format) { return sc_has_min(format) ? SC_MIN_AT + 64 : 64; }
static inline size_t sc_nibbles_at(int format) { return sc_fifth_at(format) + (sc_has_fifth(format) ? 2 * 64 : 0); }
static const uint8_t sc_iq4_values[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/* Q2_K and Q3_K, 256 columns in two halves of 128: group i of a half takes bits 2i, 2i+1 of q. Scales, with minima or
 * high bits of scales beside them, are for 16 columns, in lines and bytes as those of Q6_K.
 *
 * Q2_K: w = d*scale*q - dmin*min; scales are low nibbles, minima high ones. */
typedef struct {
    uint16_t d[2][16], dmin[2][16];
    uint8_t scale[2][4][64];
    uint8_t q[2][2][8][64]; /* [half][panel][quad][byte] */
} sc_q2k;

/* Q3_K: w = d*(scale - 32)*(q - 4). Line s of `high` has the third bits of group i: bit i for quad s, bit i + 4 for
 * quad s + 4. Line i/2 of `six` has the low four bits of the scales' line i, in low nibbles if i is even; bits 2i, 2i+1
 * of line 2 go above. */
typedef struct {
    uint16_t d[2][16];
    uint8_t six[2][3][64];
    struct {
        uint8_t high[2][4][64];
        uint8_t q[2][8][64];
    } half[2];
} sc_q3k;

/* IQ4_XS, 256 columns: w = d*scale*(sc_iq4_values[q] - 128), with a scale for each group: line g/4 has group g's.
 * Nibbles are as those of IQ4_NL. */
typedef struct {
    uint16_t d[2][16];
    int8_t scale[2][2][64];
    uint8_t q[8][2][4][64]; /* [group][panel][line][byte] */
} sc_iq4xs;

/* The fitted numbers of GGUF blocks, for 16 groups of 32 or 16 values, one group per lane. */
typedef struct {
    float d[16], dmin[2]; /* f16 values: of two superblocks (Q4_K, Q5_K), of one (Q6_K, only d), or of each group
                           * (Q8_0) */
    int8_t scale[16], min[16];
    int8_t q[32][16];     /* [value of the group][lane] */
    float error[16];      /* squared error of each group */
    float shift[16];      /* sum of mean * (value - rounded value) of each group */
} sc_fit;

/* Float panels: per column 32 values, f32, f16 or bf16: rows 0..31 of the pair. */

/* Bounds of quantized activations. */
enum {
    SC_FACTOR = 63,      /* factor of the group with the block's largest |x|; others have at most as much */
    SC_FACTOR_MAX = 127, /* most, where the next bound requires a larger factor */
    SC_HALF_SUM = 1023,  /* most for the sum of |q| over 16 columns: then dot products of 16 columns with 6-bit weights
                          * less 32, and of 32 columns with 5-bit weights less 16 or with 4-bit weights, fit int16 */
    SC_SUM_SHIFT = 3
};
/* The factor that meets this bound, if |q| added up to `size` with `factor`. Rounding may have taken 1/2 from each of
 * the 16 |q|, and may add 1/2 to each new one. */
#define SC_RAISED(factor, size) (((factor) * ((size) + 8) + SC_HALF_SUM - 9) / (SC_HALF_SUM - 8))

/* 256 columns of one token, quantized: x = scale*factor*q, with a factor per group. Groups beyond the vector are
 * zero. */
typedef struct {
    int8_t q[256];      /* -127..127 */
    int16_t factor[8];  /* 1..SC_FACTOR_MAX; 0 where all q are 0, for lack of columns or of a scale */
    int16_t sum[8];     /* factor * (sum of q) / 2^SC_SUM_SHIFT, rounded: the factor of minima and 5-bit zero points */
    int16_t zero32[8];  /* -16 * (sum of q): removes the zero point, 16, of 5-bit weights (half: 8) */
    float scale;        /* NaN if an x is not finite */
    float padding[3];
    int16_t zero16[16]; /* -32 * (sum of q over 16 columns): the same for 6-bit weights (32) and Q8_0 (128) */
    float group_scale[8]; /* scale*factor */
} sc_act;

/* int32 holds dot products (15 bits), times a weight's scale (6) and an activation's factor (7), of 8 groups. */
_Static_assert(32767LL * 63 * SC_FACTOR_MAX * SC_GROUPS <= INT32_MAX && 32 * SC_HALF_SUM <= INT16_MAX &&
               16 * 2 * SC_HALF_SUM <= INT16_MAX && 2 * SC_HALF_SUM * SC_FACTOR_MAX >> SC_SUM_SHIFT < INT16_MAX,
               "sums of a superblock fit their integers");
_Static_assert(8 * 4 * SC_HALF_SUM <= INT16_MAX && 15 * 32 * 2 * SC_HALF_SUM < 1 << 24,
               "dots of Q3_K's weights times 8 fit int16, and a group of Q2_K's minima is exact as a float");
_Static_assert(SC_RAISED(SC_FACTOR, 16 * 127) <= SC_FACTOR_MAX, "factors are raised no higher");

/* Columns of a block of a quantized format. */
static inline size_t sc_block_columns(int format)
{
    return format == SC_Q8_0 || sc_is_small(format) ? SC_GROUP : SC_SUPERBLOCK;
}

/* Bytes of one pair of panels over `columns` columns (a multiple of 256 for K-quants, of 32 for other blocks). */
static inline size_t sc_pair_bytes(int format, size_t columns)
{
    switch (format) {
    case SC_Q4_K: return columns / SC_SUPERBLOCK * sizeof(sc_q4k);
    case SC_Q5_K: return columns / SC_SUPERBLOCK * sizeof(sc_q5k);
    case SC_Q6_K: return columns / SC_SUPERBLOCK * sizeof(sc_q6k);
    case SC_Q8_0: return columns / SC_GROUP * sizeof(sc_q8);
    case SC_Q2_K: return columns / SC_SUPERBLOCK * sizeof(sc_q2k);
    case SC_Q3_K: return columns / SC_SUPERBLOCK * sizeof(sc_q3k);
    case SC_IQ4_XS: return columns / SC_SUPERBLOCK * sizeof(sc_iq4xs);
    case SC_F32: return columns * SC_PAIR * sizeof(float);
    case SC_Q4_0:
    case SC_Q4_1:
    case SC_Q5_0:
    case SC_Q5_1:
    case SC_IQ4_NL: return columns / SC_GROUP * (sc_nibbles_at(format) + 2 * 4 * 64);
    default: return columns * SC_PAIR * sizeof(uint16_t);
    }
}

_Static_assert(sizeof(sc_q4k) == 4608 && sizeof(sc_q5k) == 5632 && sizeof(sc_q6k) == 6720 && sizeof(sc_q8) == 1088,
               "pairs are as large as the blocks of 32 rows, and whole cache lines");
_Static_assert(sizeof(sc_q2k) == 32 * 84 && sizeof(sc_q3k) == 32 * 110 && sizeof(sc_iq4xs) == 32 * 136 + 64,
               "the same, but for a line of IQ4_XS");
/* Attention of up to 16 queries over part of the cache, before division by the sum: the largest score, the sum of
 * exp(score - max), and the values so weighted. out is (16, head_dim padded) and follows the struct in memory. */
typedef struct {
    float max[SC_QUERIES], sum[SC_QUERIES];
} sc_softmax;
typedef struct {
    sc_softmax state;
    float out[];
} sc_partial;

_Static_assert(sizeof(sc_act) == 384, "activation blocks are multiples of 64 bytes");

#endif
