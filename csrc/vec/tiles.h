/* Tile registers in plain C, and the contract for vec/amx.h, which defines the same names: exact dot products of up to
 * 16 tokens with 16 rows of signed weights at once. Registers 4 to 7 hold sums (tokens, 16). */
#ifndef SC_VEC_TILES_H
#define SC_VEC_TILES_H

#define TILE_ROWS 16 /* most tokens of a tile */

/* Shapes for `rows` tokens, until tiles_close, which restores the shapes that the thread had before. */
typedef struct {
    int rows;
    int32_t sum[8][TILE_ROWS][SC_LANES];
} tile_shapes;
static _Thread_local tile_shapes tiles_;
static inline void tiles_open(int rows, tile_shapes *before)
{
    *before = tiles_;
    tiles_.rows = rows;
}
static inline void tiles_close(const tile_shapes *before) { tiles_ = *before; }

static inline void tile_start_(int32_t sum[TILE_ROWS][SC_LANES], int32_t value)
{
    for (int t = 0; t < tiles_.rows; t++)
        for (int i = 0; i < SC_LANES; i++) sum[t][i] = value;
}
static inline void tile_dot_(int32_t sum[TILE_ROWS][SC_LANES], int columns, const int8_t *a, size_t stride,
                             const void *w)
{
    const int8_t *weights = w;
    for (int t = 0; t < tiles_.rows; t++)
        for (int k = 0; k < columns; k++)
            for (int i = 0; i < SC_LANES; i++)
                sum[t][i] += a[(size_t)t * stride + (size_t)k] * weights[64 * (k / 4) + 4 * i + k % 4];
}

/* Keeps stores before later tile loads, and tile stores before later loads. */
#define TILE_FENCE() ((void)0)

/* TILE_ZERO or TILE_OFFSET starts register `sum`. TILE_DOT32 and TILE_DOT16 add sums over 32 or 16 columns to it: int8
 * activations `stride` bytes apart, 8 or 4 quads of signed weights. A sum that starts with TILE_OFFSET, read as the
 * bits of a float, is the sum plus TILE_START, 1.5 * 2^23. */
#define TILE_START 12582912.0f
#define TILE_ZERO(sum_) tile_start_(tiles_.sum[sum_], 0)
#define TILE_OFFSET(sum_) tile_start_(tiles_.sum[sum_], 0x4B400000)
#define TILE_DOT32(sum_, a, stride, w) tile_dot_(tiles_.sum[sum_], 32, a, stride, w)
#define TILE_DOT16(sum_, a, stride, w) tile_dot_(tiles_.sum[sum_], 16, a, stride, w)
#define TILE_STORE(sum_, out) memcpy(out, tiles_.sum[sum_], (size_t)tiles_.rows * sizeof *tiles_.sum[0])

#endif
