/* GGUF blocks -> panels (layout.h). Quants stay as they are, four columns at a time: a file's block keeps consecutive
 * columns in consecutive bytes, so every move is of four bytes of one row into that row's lane. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "gguf_blocks.h"
#include "half.h"
#include "layout.h"
#include "os/threads.h"

static int finite_f16(uint16_t h) { return (h & 0x7C00) != 0x7C00; }

/* Puts `count` quads of one row into its lane; quads are 64 bytes apart in a panel. */
static void put_quads(uint8_t *to, const void *from, int count, int lane)
{
    for (int s = 0; s < count; s++) memcpy(to + 64 * s + 4 * lane, (const uint8_t *)from + 4 * s, 4);
}

/* Puts the factors of Q4_K and Q5_K. A file's block has eight scales and minima of six bits each in 12 bytes `s`.
 * Returns whether d and dmin are finite. */
static int put_affine(sc_affine *to, uint16_t d, uint16_t dmin, const uint8_t s[12], int p, int lane)
{
    to->d[p][lane] = d;
    to->dmin[p][lane] = dmin;
    for (int j = 0; j < 4; j++) {
        const int byte = 4 * lane + SC_FACTOR_BYTE(j);
        to->six[p][0][byte] = (uint8_t)((s[j] & 15) | (s[j + 4] & 15) << 4);
        to->six[p][1][byte] = s[j + 8];
        to->six[p][2][byte] =
            (uint8_t)((s[j] >> 4 & 3) | (s[j + 4] >> 4 & 3) << 2 | s[j] >> 6 << 4 | s[j + 4] >> 6 << 6);
    }
    return finite_f16(d) & finite_f16(dmin);
}

/* Puts the nibbles of Q4_K and Q5_K. */
static void put_chunks(uint8_t to[4][2][8][64], const uint8_t *qs, int p, int lane)
{
    for (int i = 0; i < 4; i++) put_quads(to[i][p][0], qs + 32 * i, 8, lane);
}

static int put_q4k(const block_q4k *b, sc_q4k *to, int p, int lane)
{
    put_chunks(to->q, b->qs, p, lane);
    return put_affine(&to->affine, b->d, b->dmin, b->scales, p, lane);
}

static int put_q5k(const block_q5k *b, sc_q5k *to, int p, int lane)
{
    put_chunks(to->q, b->qs, p, lane);
    put_quads(to->high[p][0], b->qh, 8, lane);
    return put_affine(&to->affine, b->d, b->dmin, b->scales, p, lane);
}

static int put_q6k(const block_q6k *b, sc_q6k *to, int p, int lane)
{
    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 2; i++) put_quads(to->half[h].low[i][p][0], b->ql + 64 * h + 32 * i, 8, lane);
        put_quads(to->half[h].high[p][0], b->qh + 32 * h, 8, lane);
    }
    for (int j = 0; j < 16; j++) to->scale[p][j / 4][4 * lane + SC_FACTOR_BYTE(j)] = b->scales[j];
    to->d[p][lane] = b->d;
    return finite_f16(b->d);
}

static int put_q2k(const block_q2k *b, sc_q2k *to, int p, int lane)
{
    for (int h = 0; h < 2; h++) put_quads(to->q[h][p][0], b->qs + 32 * h, 8, lane);
    for (int j = 0; j < 16; j++) to->scale[p][j / 4][4 * lane + SC_FACTOR_BYTE(j)] = b->scales[j];
    to->d[p][lane] = b->d;
    to->dmin[p][lane] = b->dmin;
    return finite_f16(b->d) & finite_f16(b->dmin);
}

/* A file's block has the third bit of column k in bit k/32 of byte k%32, and 16 scales of six bits in 12 bytes. */
static int put_q3k(const block_q3k *b, sc_q3k *to, int p, int lane)
{
    for (int h = 0; h < 2; h++) {
        put_quads(to->half[h].q[p][0], b->qs + 32 * h, 8, lane);
        uint8_t high[16];
        for (int k = 0; k < 16; k++)
            high[k] = (uint8_t)((b->hmask[k] >> 4 * h & 15) | (b->hmask[k + 16] >> 4 * h & 15) << 4);
        put_quads(to->half[h].high[p][0], high, 4, lane);
    }
    const uint8_t *s = b->scales;
    for (int j = 0; j < 4; j++) { /* the scales j of all lines */
        const int byte = 4 * lane + SC_FACTOR_BYTE(j);
        to->six[p][0][byte] = (uint8_t)((s[j] & 15) | (s[j + 4] & 15) << 4);
        to->six[p][1][byte] = (uint8_t)(s[j] >> 4 | s[j + 4] >> 4 << 4);
        to->six[p][2][byte] = s[j + 8];
    }
    to->d[p][lane] = b->d;
    return finite_f16(b->d);
}

static int put_iq4xs(const block_iq4_xs *b, sc_iq4xs *to, int p, int lane)
{
    for (int g = 0; g < SC_GROUPS; g++) {
        const int scale = (b->scales_l[g / 2] >> 4 * (g % 2) & 15) | (b->scales_h >> 2 * g & 3) << 4;
        to->scale[p][g / 4][4 * lane + SC_FACTOR_BYTE(g)] = (int8_t)(scale - 32);
        put_quads(to->q[g][p][0], b->qs + 16 * g, 4, lane);
    }
    to->d[p][lane] = b->d;
    return finite_f16(b->d);
}

static int put_q8(const int8_t *q, uint16_t d, sc_q8 *to, int p, int lane)
{
    uint8_t offset[32];
    for (int k = 0; k < 32; k++) offset[k] = (uint8_t)(q[k] + 128);
    put_quads(to->q[p][0], offset, 8, lane);
    to->d[p][lane] = d;
    return finite_f16(d);
}

/* Puts a block of Q4_0, Q4_1, Q5_0, Q5_1 or IQ4_NL: d, m and bits 4 if the type has them, and nibbles `qs`. */
static int put_small(int format, const uint8_t *b, uint8_t *to, int p, int lane)
{
    const int fifth = sc_has_fifth(format), min = sc_has_min(format);
    uint16_t d, m = 0;
    uint32_t bits;
    memcpy(&d, b, 2);
    memcpy(to + 32 * p + 2 * lane, &d, 2);
    if (min) {
        memcpy(&m, b + 2, 2);
        memcpy(to + SC_MIN_AT + 32 * p + 2 * lane, &m, 2);
    }
    b += min ? 4 : 2;
    if (fifth) {
        memcpy(&bits, b, 4); /* that of column k is bit k */
        b += 4;
        uint8_t *high = to + sc_fifth_at(format) + 64 * p + 4 * lane;
        for (int c = 0; c < 4; c++) high[c] = 0;
        for (int k = 0; k < SC_GROUP; k++) high[k % 4] |= (uint8_t)((bits >> k & 1) << k / 4);
    }
    put_quads(to + sc_nibbles_at(format) + 4 * 64 * p, b, 4, lane);
    return finite_f16(d) & finite_f16(m);
}

/* To the nearest integer in [-127, 127], ties away from zero; 127 for NaN. */
static int8_t to_code(float x)
{
    const float low = x < 127 ? x : 127, both = low > -127 ? low : -127;
    return (int8_t)((double)both + (both < 0 ? -0.5 : 0.5)); /* exact in double, then towards zero */
}

/* Q8_0 as ggml rounds it: d = max|x|/127 in f16, q = x/d with the unrounded d, ties away from zero. */
static int put_f32_as_q8(const float *x, sc_q8 *to, int p, int lane)
{
    float amax = 0;
    int8_t q[32];
    for (int k = 0; k < 32; k++) {
        if (!isfinite(x[k])) return 0;
        amax = fabsf(x[k]) > amax ? fabsf(x[k]) : amax;
    }
    const float d = amax / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    for (int k = 0; k < 32; k++) q[k] = to_code(x[k] * inverse);
    return put_q8(q, sc_f16_from_f32(d), to, p, lane);
}

static size_t source_row_bytes(int source, size_t columns)
{
    switch (source) {
    case SC_F32: return columns * 4;
    case SC_F16:
    case SC_BF16: return columns * 2;
    case SC_Q4_K: return columns / 256 * sizeof(block_q4k);
    case SC_Q5_K: return columns / 256 * sizeof(block_q5k);
    case SC_Q6_K: return columns / 256 * sizeof(block_q6k);
    case SC_Q8_0: return columns / 32 * sizeof(block_q8_0);
    case SC_Q4_0: return columns / 32 * sizeof(block_q4_0);
    case SC_Q4_1: return columns / 32 * sizeof(block_q4_1);
    case SC_Q5_0: return columns / 32 * sizeof(block_q5_0);
    case SC_Q5_1: return columns / 32 * sizeof(block_q5_1);
    case SC_IQ4_NL: return columns / 32 * sizeof(block_iq4_nl);
    case SC_Q2_K: return columns / 256 * sizeof(block_q2k);
    case SC_Q3_K: return columns / 256 * sizeof(block_q3k);
    case SC_IQ4_XS: return columns / 256 * sizeof(block_iq4_xs);
    default: return 0; /* no such source */
    }
}

/* Puts one row of `columns` columns into lane `lane` of panel `p` of a pair. Returns whether all scales or values are
 * finite. */
static int put_row(int source, int format, const char *row, size_t columns, char *pair, int p, int lane)
{
    int finite = 1;
    if (format == SC_F32) {
        for (size_t k = 0; k < columns; k++) {
            float x;
            memcpy(&x, row + 4 * k, 4);
            ((float *)pair)[k * SC_PAIR + 16 * (size_t)p + (size_t)lane] = x;
            finite &= isfinite(x) != 0;
        }
        return finite;
    }
    if (format == SC_F16 || format == SC_BF16) {
        const uint16_t infinite = format == SC_F16 ? 0x7C00 : 0x7F80;
        for (size_t k = 0; k < columns; k++) {
            uint16_t x;
            memcpy(&x, row + 2 * k, 2);
            ((uint16_t *)pair)[k * SC_PAIR + 16 * (size_t)p + (size_t)lane] = x;
            finite &= (x & infinite) != infinite;
        }
        return finite;
    }
    for (size_t i = 0; i < columns / sc_block_columns(format); i++) {
        switch (source) {
        case SC_Q4_K: finite &= put_q4k((const block_q4k *)row + i, (sc_q4k *)pair + i, p, lane); break;
        case SC_Q5_K: finite &= put_q5k((const block_q5k *)row + i, (sc_q5k *)pair + i, p, lane); break;
        case SC_Q6_K: finite &= put_q6k((const block_q6k *)row + i, (sc_q6k *)pair + i, p, lane); break;
        case SC_Q2_K: finite &= put_q2k((const block_q2k *)row + i, (sc_q2k *)pair + i, p, lane); break;
        case SC_Q3_K: finite &= put_q3k((const block_q3k *)row + i, (sc_q3k *)pair + i, p, lane); break;
        case SC_IQ4_XS: finite &= put_iq4xs((const block_iq4_xs *)row + i, (sc_iq4xs *)pair + i, p, lane); break;
        case SC_Q8_0: {
            const block_q8_0 *b = (const block_q8_0 *)row + i;
            finite &= put_q8(b->qs, b->d, (sc_q8 *)pair + i, p, lane);
            break;
        }
        case SC_Q4_0:
        case SC_Q4_1:
        case SC_Q5_0:
        case SC_Q5_1:
        case SC_IQ4_NL:
            finite &= put_small(format, (const uint8_t *)row + i * source_row_bytes(source, SC_GROUP),
                                (uint8_t *)pair + i * sc_pair_bytes(format, SC_GROUP), p, lane);
            break;
        case SC_F32: finite &= put_f32_as_q8((const float *)row + SC_GROUP * i, (sc_q8 *)pair + i, p, lane); break;
        }
    }
    return finite;
}

typedef struct {
    int source, format;
    const char *blocks;
    size_t rows, columns;
    char *panels;
    atomic_int finite;
} pack_job;

static void pack_pair(void *argument, size_t pair)
{
    pack_job *job = argument;
    const size_t row_bytes = source_row_bytes(job->source, job->columns);
    const size_t pair_bytes = sc_pair_bytes(job->format, job->columns);
    int finite = 1;
    for (size_t r = SC_PAIR * pair; r < SC_PAIR * (pair + 1) && r < job->rows; r++)
        finite &= put_row(job->source, job->format, job->blocks + r * row_bytes, job->columns,
                          job->panels + pair * pair_bytes, (int)(r / 16 % 2), (int)(r % 16));
    if (!finite) atomic_store(&job->finite, 0);
}

size_t sc_matrix_bytes(int format, size_t rows, size_t columns)
{
    return (rows + SC_PAIR - 1) / SC_PAIR * sc_pair_bytes(format, columns);
}

int sc_pack(sc_team *team, int source, const void *blocks, size_t rows, size_t columns, int format, void *panels)
{
    pack_job job = {.source = source, .format = format, .blocks = blocks, .rows = rows,
                    .columns = columns, .panels = panels, .finite = 1};
    sc_team_for(team, (rows + SC_PAIR - 1) / SC_PAIR, pack_pair, &job);
    return atomic_load(&job.finite) ? SC_OK : SC_NOT_FINITE;
}
