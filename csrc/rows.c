/* Unpacks one row of a packed matrix to floats, for token and position embeddings. Plain C is enough: a row is 2048
 * numbers per token. */
#include "rows.h"

#include "half.h"
#include "layout.h"

/* Column k of a block counts as group k/32, quad k%32/4, byte k%4. */
static void row_q45k(int format, const void *block, int p, int lane, float *out)
{
    const sc_q4k *w4 = block;
    const sc_q5k *w5 = block;
    const int five = format == SC_Q5_K;
    const sc_affine *a = block; /* both superblocks begin with it */
    const float d = sc_f32_from_f16(a->d[p][lane]), dmin = sc_f32_from_f16(a->dmin[p][lane]);
    for (int g = 0; g < SC_GROUPS; g++) {
        const int at = 4 * lane + SC_FACTOR_BYTE(g), low = a->six[p][g / 4][at],
                  high = a->six[p][2][at] >> (g < 4 ? 0 : 4);
        const float scale = d * (float)((low & 15) | (high & 3) << 4),
                    min = dmin * (float)(low >> 4 | (high & 12) << 2);
        for (int k = 0; k < SC_GROUP; k++) {
            const int byte = 4 * lane + k % 4, both = (five ? w5->q : w4->q)[g / 2][p][k / 4][byte];
            int q = g % 2 ? both >> 4 : both & 15;
            if (five) q |= (w5->high[p][k / 4][byte] >> g & 1) << 4;
            *out++ = scale * (float)q - min;
        }
    }
}

static void row_q6k(const sc_q6k *w, int p, int lane, float *out)
{
    const float d = sc_f32_from_f16(w->d[p][lane]);
    for (int k = 0; k < SC_SUPERBLOCK; k++) {
        const int half = k / 128, i = k % 128 / 32, quad = k % 32 / 4, byte = 4 * lane + k % 4;
        const int low = w->half[half].low[i & 1][p][quad][byte] >> (i >= 2 ? 4 : 0) & 15;
        const int q = low | (w->half[half].high[p][quad][byte] >> 2 * i & 3) << 4;
        const int scale = w->scale[p][k / 64][4 * lane + SC_FACTOR_BYTE(k / 16)];
        out[k] = d * (float)scale * (float)(q - 32);
    }
}

static void row_q2k(const sc_q2k *w, int p, int lane, float *out)
{
    const float d = sc_f32_from_f16(w->d[p][lane]), dmin = sc_f32_from_f16(w->dmin[p][lane]);
    for (int k = 0; k < SC_SUPERBLOCK; k++) {
        const int q = w->q[k / 128][p][k % 32 / 4][4 * lane + k % 4] >> 2 * (k % 128 / 32) & 3;
        const int both = w->scale[p][k / 64][4 * lane + SC_FACTOR_BYTE(k / 16)];
        out[k] = d * (float)((both & 15) * q) - dmin * (float)(both >> 4);
    }
}

static void row_q3k(const sc_q3k *w, int p, int lane, float *out)
{
    const float d = sc_f32_from_f16(w->d[p][lane]);
    for (int k = 0; k < SC_SUPERBLOCK; k++) {
        const int half = k / 128, i = k % 128 / 32, quad = k % 32 / 4, byte = 4 * lane + k % 4, line = k / 64;
        const int third = w->half[half].high[p][quad % 4][byte] >> (quad < 4 ? i : i + 4) & 1;
        const int q = (w->half[half].q[p][quad][byte] >> 2 * i & 3) | third << 2;
        const int at = 4 * lane + SC_FACTOR_BYTE(k / 16);
        const int scale = (w->six[p][line / 2][at] >> 4 * (line % 2) & 15) | (w->six[p][2][at] >> 2 * line & 3) << 4;
        out[k] = d * (float)((scale - 32) * (q - 4));
    }
}

static void row_iq4xs(const sc_iq4xs *w, int p, int lane, float *out)
{
    const float d = sc_f32_from_f16(w->d[p][lane]);
    for (int k = 0; k < SC_SUPERBLOCK; k++) {
        const int q = w->q[k / 32][p][k % 16 / 4][4 * lane + k % 4] >> (k % 32 < 16 ? 0 : 4) & 15;
        const int scale = w->scale[p][k / 128][4 * lane + SC_FACTOR_BYTE(k / 32)];
        out[k] = d * (float)scale * (float)(sc_iq4_values[q] - 128);
    }
}

/* A block of Q4_0, Q4_1, Q5_0, Q5_1 or IQ4_NL. */
static void row_small(int format, const char *block, int p, int lane, float *out)
{
    const uint16_t *d = (const uint16_t *)(const void *)block, *m = d + SC_MIN_AT / 2;
    const uint8_t *high = (const uint8_t *)block + sc_fifth_at(format) + 64 * p + 4 * lane;
    const uint8_t *nibbles = (const uint8_t *)block + sc_nibbles_at(format) + 4 * 64 * p + 4 * lane;
    const int zero = format == SC_Q4_0 ? 8 : format == SC_Q5_0 ? 16 : format == SC_IQ4_NL ? 128 : 0;
    const float min = sc_has_min(format) ? sc_f32_from_f16(m[16 * p + lane]) : 0;
    for (int k = 0; k < SC_GROUP; k++) {
        int q = nibbles[64 * (k % 16 / 4) + k % 4] >> (k < 16 ? 0 : 4) & 15;
        if (sc_has_fifth(format)) q |= (high[k % 4] >> k / 4 & 1) << 4;
        if (format == SC_IQ4_NL) q = sc_iq4_values[q];
        out[k] = sc_f32_from_f16(d[16 * p + lane]) * (float)(q - zero) + min;
    }
}

static void row_q8(const sc_q8 *w, int p, int lane, float *out)
{
    for (int k = 0; k < SC_GROUP; k++)
        out[k] = sc_f32_from_f16(w->d[p][lane]) * (float)(w->q[p][k / 4][4 * lane + k % 4] - 128);
}

/* The columns of one row of a block. */
static void row_block(int format, const char *block, int p, int lane, float *out)
{
    const void *w = block;
    switch (format) {
    case SC_Q4_K:
    case SC_Q5_K: row_q45k(format, block, p, lane, out); break;
    case SC_Q6_K: row_q6k(w, p, lane, out); break;
    case SC_Q2_K: row_q2k(w, p, lane, out); break;
    case SC_Q3_K: row_q3k(w, p, lane, out); break;
    case SC_IQ4_XS: row_iq4xs(w, p, lane, out); break;
    case SC_Q8_0: row_q8(w, p, lane, out); break;
    default: row_small(format, block, p, lane, out);
    }
}

void sc_row_unpack(const sc_matrix *matrix, size_t row, float *out)
{
    const size_t columns = (size_t)matrix->columns, r = row % SC_PAIR;
    const char *pair = (const char *)matrix->panels + row / SC_PAIR * sc_pair_bytes(matrix->format, columns);
    const int p = (int)(r / 16), lane = (int)(r % 16);
    switch (matrix->format) {
    case SC_F32:
        for (size_t k = 0; k < columns; k++) out[k] = ((const float *)pair)[SC_PAIR * k + r];
        break;
    case SC_F16:
        for (size_t k = 0; k < columns; k++) out[k] = sc_f32_from_f16(((const uint16_t *)pair)[SC_PAIR * k + r]);
        break;
    case SC_BF16:
        for (size_t k = 0; k < columns; k++) out[k] = sc_f32_from_bf16(((const uint16_t *)pair)[SC_PAIR * k + r]);
        break;
    default:
        for (size_t k = 0; k < columns; k += sc_block_columns(matrix->format))
            row_block(matrix->format, pair + sc_pair_bytes(matrix->format, k), p, lane, out + k);
    }
}
