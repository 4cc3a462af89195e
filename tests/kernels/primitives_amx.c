/* The checks of the primitives in csrc/vec, as csrc/isa_amx.c uses them, and of the tiles. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c,amx-tile,amx-int8")
#include "vec/avx512.h"
#include "vec/amx.h"
#include "check_primitives.h"

/* `rows` tokens, columns / 4 steps of weights, each at an extreme or random. */
static void check_tile(int rows, int columns, int fill)
{
    enum { STRIDE = 384 };
    begin("tile_dot%d, %d tokens, operands %d", columns, rows, fill);
    int8_t *a = buffer(0, (size_t)(rows - 1) * STRIDE + (size_t)columns), *w = buffer(1, 16 * (size_t)columns);
    int32_t(*out)[16] = buffer(2, (size_t)rows * sizeof *out);
    for (int t = 0; t < rows; t++)
        for (int k = 0; k < columns; k++) a[t * STRIDE + k] = (int8_t)(fill ? (fill == 1 ? -127 : 127) : random_int(-127, 127));
    for (int k = 0; k < 16 * columns; k++) w[k] = (int8_t)(fill ? -128 : random_int(-128, 127));
    tile_shapes before;
    tiles_open(rows, &before);
    if (columns == 32) tile_dot32(a, STRIDE, (const u8x64 *)(const void *)w, out);
    else tile_dot16(a, STRIDE, (const u8x64 *)(const void *)w, out);
    tiles_close(&before);
    for (int t = 0; t < rows; t++)
        for (int r = 0; r < 16; r++) {
            int32_t sum = 0;
            for (int k = 0; k < columns; k++) sum += a[t * STRIDE + k] * w[64 * (k / 4) + 4 * r + k % 4];
            expect(out[t][r] == sum, "wrong sum");
        }
    end();
}

/* Shapes that somebody else set outlive ours. */
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
            check_tile(rows, 32, fill);
            check_tile(rows, 16, fill);
        }
}
TARGET_END
#endif
