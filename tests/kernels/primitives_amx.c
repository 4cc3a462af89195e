/* The checks of the primitives in csrc/vec, as csrc/isa/isa_amx.c uses them, and of the tiles. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")
#include "vec/avx512.h"
#include "vec/amx.h"
#include "check_primitives.h"

/* `rows` tokens, columns / 4 quads of weights, each at an extreme or random. Sums start at zero, or at TILE_OFFSET. */
static void check_tile(int rows, int columns, int fill, int offset)
{
    enum { STRIDE = 384 };
    begin("products of %d columns, %d tokens, operands %d, offset %d", columns, rows, fill, offset);
    int8_t *a = buffer(0, (size_t)(rows - 1) * STRIDE + (size_t)columns), *w = buffer(1, 16 * (size_t)columns);
    int32_t(*out)[16] = buffer(2, (size_t)rows * sizeof *out);
    for (int t = 0; t < rows; t++)
        for (int k = 0; k < columns; k++)
            a[t * STRIDE + k] = (int8_t)(fill ? (fill == 1 ? -127 : 127) : random_int(-127, 127));
    for (int k = 0; k < 16 * columns; k++) w[k] = (int8_t)(fill ? -128 : random_int(-128, 127));
    tile_shapes before;
    tiles_open(rows, &before);
    TILE_FENCE();
    if (offset) TILE_OFFSET(5);
    else TILE_ZERO(5);
    if (columns == 32) TILE_DOT32(5, a, STRIDE, w);
    else TILE_DOT16(5, a, STRIDE, w);
    TILE_STORE(5, out);
    TILE_FENCE();
    tiles_close(&before);
    for (int t = 0; t < rows; t++)
        for (int r = 0; r < 16; r++) {
            int32_t sum = 0;
            for (int k = 0; k < columns; k++) sum += a[t * STRIDE + k] * w[64 * (k / 4) + 4 * r + k % 4];
            float shifted;
            memcpy(&shifted, &out[t][r], sizeof shifted);
            expect(offset ? shifted - TILE_START == (float)sum : out[t][r] == sum, "wrong sum");
        }
    end();
}

/* Checks that shapes set by another library outlive ours. */
static void check_shapes(int lines)
{
    begin("shapes of %d lines", lines);
    tile_shapes set, ours, after, none = {0};
    tiles_open(lines, &ours);
    __asm__ volatile("sttilecfg %0" : "=m"(set));
    tiles_open(TILE_ROWS + 1 - lines, &ours);
    tiles_close(&ours);
    __asm__ volatile("sttilecfg %0" : "=m"(after));
    expect_equal("shapes", &after, &set, sizeof after);
    tiles_close(&none);
    __asm__ volatile("sttilecfg %0" : "=m"(after));
    expect_equal("no shapes", &after, &none, sizeof after);
    end();
}

void primitives_amx(void)
{
    check_all();
    for (int lines = 1; lines <= TILE_ROWS; lines++) check_shapes(lines);
    for (int rows = 1; rows <= TILE_ROWS; rows++)
        for (int fill = 0; fill < 3; fill++) {
            for (int offset = 0; offset < 2; offset++) {
                check_tile(rows, 32, fill, offset);
                check_tile(rows, 16, fill, offset);
            }
        }
}
TARGET_END
#endif
