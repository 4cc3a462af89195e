/* What AMX adds to vec/avx512.h: exact dot products of up to 16 tokens with 16 rows of signed weights at once. Tile
 * registers hold 16 lines of 64 bytes; a panel's steps are lines just as the instruction wants them. */
#ifndef SC_VEC_AMX_H
#define SC_VEC_AMX_H

#define TILE_ROWS 16 /* most tokens of a tile */

/* Registers: 0 tokens by 32 columns and 1 their weights, 2 and 3 the same by 16 columns, 4 to 7 sums. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} tile_shapes;

/* For as many tokens as `rows`, until tiles_close, which gives back the shapes that the thread had: another library may
 * have set them once and for all (llama.cpp does). */
static inline void tiles_open(int rows, tile_shapes *before)
{
    __asm__ volatile("sttilecfg %0" : "=m"(*before));
    const uint8_t n = (uint8_t)rows;
    tile_shapes shapes = {.palette = 1, .line_bytes = {32, 64, 16, 64, 64, 64}, .lines = {n, 8, n, 4, n, n}};
    __asm__ volatile("" : : "r"(&shapes) : "memory"); /* gcc's intrinsics do not say what memory they read */
    _tile_loadconfig(&shapes);
}
static inline void tiles_close(const tile_shapes *before)
{
    if (before->palette) __asm__ volatile("ldtilecfg %0" : : "m"(*before));
    else _tile_release();
}

/* out (tokens, 16) = sums over 32 columns: int8 activations `stride` bytes apart, 8 steps of signed weights. */
static inline void tile_dot32(const int8_t *a, size_t stride, const u8x64 *w, int32_t (*out)[16])
{
    __asm__ volatile("" : : : "memory");
    _tile_zero(4);
    _tile_loadd(0, a, stride);
    _tile_loadd(1, w, 64);
    _tile_dpbssd(4, 0, 1);
    _tile_stored(4, out, 64);
}

/* The same over 16 columns: 4 steps. */
static inline void tile_dot16(const int8_t *a, size_t stride, const u8x64 *w, int32_t (*out)[16])
{
    __asm__ volatile("" : : : "memory");
    _tile_zero(5);
    _tile_loadd(2, a, stride);
    _tile_loadd(3, w, 64);
    _tile_dpbssd(5, 2, 3);
    _tile_stored(5, out, 64);
}

#endif
