/* Tile registers on AMX, used with vec/avx512.h. They hold 16 lines of 64 bytes; a panel's quads are lines exactly as
 * the instruction wants them. See vec/tiles.h for contracts. */
#ifndef SC_VEC_TILES_H
#define SC_VEC_TILES_H

#define TILE_ROWS 16 /* most tokens of a tile */

/* Registers: 0 holds tokens by 32 columns and 1 their weights; 2 and 3 hold the same by 16 columns; 4 to 7 hold sums:
 * those of one span are stored while the next ones are made. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} tile_shapes;

/* Saves the shapes first: another library may have set its own once and for all (llama.cpp does). */
static inline void tiles_open(int rows, tile_shapes *before)
{
    __asm__ volatile("sttilecfg %0" : "=m"(*before));
    const uint8_t n = (uint8_t)rows;
    tile_shapes shapes = {.palette = 1,
                          .line_bytes = {32, 64, 16, 64, 64, 64, 64, 64},
                          .lines = {n, 8, n, 4, n, n, n, n}};
    __asm__ volatile("" : : "r"(&shapes) : "memory"); /* gcc's intrinsics do not say what memory they read */
    _tile_loadconfig(&shapes);
}
static inline void tiles_close(const tile_shapes *before)
{
    if (before->palette) __asm__ volatile("ldtilecfg %0" : : "m"(*before));
    else _tile_release();
}

/* Where sums of Q8_0 start: read as a float, 1.5 * 2^23 plus a sum is exact. While tile instructions are in flight, one
 * of the two units that convert and multiply is busy, so saving a conversion is worth a load. */
static _Alignas(64) const int32_t tile_start[16] = {
    0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000,
    0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000, 0x4B400000,
};
#define TILE_START 12582912.0f

#define TILE_FENCE() __asm__ volatile("" : : : "memory")

#define TILE_ZERO(sum) _tile_zero(sum)
#define TILE_OFFSET(sum) _tile_loadd(sum, tile_start, 0)
#define TILE_DOT32(sum, a, stride, w) \
    do { _tile_loadd(0, a, stride); _tile_loadd(1, w, 64); _tile_dpbssd(sum, 0, 1); } while (0)

#define TILE_DOT16(sum, a, stride, w) \
    do { _tile_loadd(2, a, stride); _tile_loadd(3, w, 64); _tile_dpbssd(sum, 2, 3); } while (0)
#define TILE_STORE(sum, out) _tile_stored(sum, out, SC_LANES * sizeof(int32_t))

#endif
