/* The linear kernels: every format, many shapes, packed by sc_pack from random and from extreme blocks. */
#include "check.h"

typedef struct {
    int source, format;
    size_t block_bytes, block_columns;
    const char *name;
    int scales[2]; /* where a block's f16 scales lie, -1 for none */
} source;

static const source sources[] = {
    {SC_F32, SC_F32, 4, 1, "F32", {-1, -1}},           {SC_F16, SC_F16, 2, 1, "F16", {-1, -1}},
    {SC_BF16, SC_BF16, 2, 1, "BF16", {-1, -1}},        {SC_Q4_K, SC_Q4_K, 144, 256, "Q4_K", {0, 2}},
    {SC_Q5_K, SC_Q5_K, 176, 256, "Q5_K", {0, 2}},      {SC_Q6_K, SC_Q6_K, 210, 256, "Q6_K", {208, -1}},
    {SC_Q8_0, SC_Q8_0, 34, 32, "Q8_0", {0, -1}},       {SC_F32, SC_Q8_0, 4, 1, "F32 as Q8_0", {-1, -1}},
    {SC_Q4_0, SC_Q4_0, 18, 32, "Q4_0", {0, -1}},       {SC_Q4_1, SC_Q4_1, 20, 32, "Q4_1", {0, 2}},
    {SC_Q5_0, SC_Q5_0, 22, 32, "Q5_0", {0, -1}},       {SC_Q5_1, SC_Q5_1, 24, 32, "Q5_1", {0, 2}},
    {SC_IQ4_NL, SC_IQ4_NL, 18, 32, "IQ4_NL", {0, -1}}, {SC_Q2_K, SC_Q2_K, 84, 256, "Q2_K", {80, 82}},
    {SC_Q3_K, SC_Q3_K, 110, 256, "Q3_K", {108, -1}},   {SC_IQ4_XS, SC_IQ4_XS, 136, 256, "IQ4_XS", {0, -1}},
};

enum { WEIGHTS_RANDOM, WEIGHTS_ZEROS, WEIGHTS_ONES, WEIGHTS }; /* of quantized blocks: all bytes but the scales */
static const char *const weight_names[] = {"random", "all 0x00", "all 0xFF"};

static void fill_blocks(const source *s, int fill, uint8_t *blocks, size_t bytes)
{
    if (s->scales[0] < 0) {
        const float extreme = fill == WEIGHTS_ZEROS ? 0.0f : 60000.0f;
        for (size_t i = 0; i < bytes / s->block_bytes; i++) {
            const float x = fill == WEIGHTS_RANDOM ? random_float() : i % 2 ? -extreme : extreme;
            const uint32_t bits = bits_of(x);
            const uint16_t half = s->format == SC_BF16 ? (uint16_t)(bits >> 16) : sc_f16_from_f32(x);
            memcpy(blocks + i * s->block_bytes, s->block_bytes == 4 ? (const void *)&bits : (const void *)&half,
                   s->block_bytes);
        }
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        blocks[i] = fill == WEIGHTS_RANDOM ? (uint8_t)random_bits() : fill == WEIGHTS_ZEROS ? 0 : 255;
    for (uint8_t *block = blocks; block < blocks + bytes; block += s->block_bytes)
        for (int i = 0; i < 2; i++) {
            const uint16_t scale = sc_f16_from_f32(random_bits() % 64 ? 0.01f * random_float() : 65504.0f);
            if (s->scales[i] >= 0) memcpy(block + s->scales[i], &scale, 2);
        }
}

enum { CODES_RANDOM, CODES_MAX, CODES_MIN, CODES_ALTERNATING, CODES_ZERO, CODES };
static const char *const code_names[] = {"random", "127", "-127", "alternating", "zero"};
static const int float_fills[CODES] = {FILL_RANDOM, FILL_OUTLIER, FILL_TINY, FILL_ALTERNATING, FILL_ZERO};
static const char *const float_names[] = {"random", "with outliers", "tiny", "alternating", "zero"};

/* One group as `quantize` might leave it. The largest codes come where instruction sets add in int16: 127 in two
 * columns of every four, and the 7 that remain in one more. */
static void fill_codes_of_group(int fill, sc_act *block, size_t g)
{
    int sum[2] = {0, 0}, left[2] = {SC_HALF_SUM, SC_HALF_SUM};
    const int pair = random_int(0, 1);
    for (size_t i = 0; i < SC_GROUP; i++) {
        const int most = left[i / 16] < 127 ? left[i / 16] : 127,
                  large = (int)(i % 4) / 2 == pair || most < 127 ? most : 0;
        const int codes[CODES] = {random_int(-most, most), large, -large, i % 2 ? -large : large, 0};
        block->q[SC_GROUP * g + i] = (int8_t)codes[fill];
        sum[i / 16] += codes[fill];
        left[i / 16] -= codes[fill] < 0 ? -codes[fill] : codes[fill];
    }
    block->factor[g] = (int16_t)(fill == CODES_RANDOM ? random_int(0, SC_FACTOR_MAX) : SC_FACTOR_MAX);
    const int exact = block->factor[g] * (sum[0] + sum[1]);
    block->sum[g] = (int16_t)((exact + (1 << SC_SUM_SHIFT >> 1)) >> SC_SUM_SHIFT);
    block->zero32[g] = (int16_t)(-16 * (sum[0] + sum[1]));
    block->zero16[2 * g] = (int16_t)(-32 * sum[0]);
    block->zero16[2 * g + 1] = (int16_t)(-32 * sum[1]);
    block->group_scale[g] = random_bits() % 32 ? fabsf(random_float()) : 0x1p-126f * 0.25f;
}

/* One token's blocks, x[b*stride]; whatever lies beyond `columns` stays random. */
static void fill_codes(int fill, sc_act *x, size_t columns, size_t stride)
{
    for (size_t k = 0; k < columns; k += SC_GROUP) {
        sc_act *block = x + k / SC_SUPERBLOCK * stride;
        fill_codes_of_group(fill, block, k % SC_SUPERBLOCK / SC_GROUP);
        block->scale = random_bits() % 32 ? fabsf(random_float()) : 0x1p-126f * 0.25f;
    }
}

/* Makes `tokens` tokens `stride` apart, exactly as far as the kernel may read. Returns the bytes from one token to the
 * next. */
static size_t make_activations(const source *s, int fill, size_t columns, size_t stride, size_t tokens, char **x)
{
    if (s->format < SC_Q4_K) {
        *x = buffer(2, ((tokens - 1) * stride + columns) * sizeof(float));
        for (size_t t = 0; t < tokens; t++) fill_floats(float_fills[fill], (float *)(void *)*x + t * stride, columns);
        return stride * sizeof(float);
    }
    const size_t blocks = (columns + SC_SUPERBLOCK - 1) / SC_SUPERBLOCK;
    *x = buffer(2, ((blocks - 1) * stride + tokens) * sizeof(sc_act));
    for (size_t t = 0; t < tokens; t++) fill_codes(fill, (sc_act *)(void *)*x + t, columns, stride);
    return sizeof(sc_act);
}

/* Checks that one call with all tokens equals the scalar instance's one call per token; rows beyond the matrix are
 * zero. */
static void check_call(const sc_kernels *kernels, const source *s, const void *pair, size_t rows, size_t columns,
                       const char *x, size_t token_bytes, size_t stride, size_t tokens)
{
    float *got = buffer(3, tokens * SC_PAIR * sizeof *got);
    float *expected = buffer(4, tokens * SC_PAIR * sizeof *expected);
    kernels->linear[s->format](pair, columns, x, stride, tokens, pair, got);
    for (size_t t = 0; t < tokens; t++)
        sc_kernels_scalar.linear[s->format](pair, columns, x + t * token_bytes, stride, 1, pair,
                                               expected + t * SC_PAIR);
    expect_equal("out", got, expected, tokens * SC_PAIR * sizeof *got);
    for (size_t i = 0; i < tokens * SC_PAIR; i++)
        if (i % SC_PAIR >= rows && got[i] != 0) {
            expect(0, "a row beyond the matrix is not zero");
            break;
        }
}

static const void *pack(const source *s, int fill, size_t rows, size_t columns)
{
    static sc_team *team;
    const size_t bytes = rows * columns / s->block_columns * s->block_bytes;
    const size_t panel_bytes = sc_matrix_bytes(s->format, rows, columns);
    uint8_t *blocks = buffer(0, bytes), *panels = buffer(1, panel_bytes);
    if (!team) team = sc_team_new(1);
    fill_blocks(s, fill, blocks, bytes);
    memset(panels, 0, panel_bytes);
    expect(sc_pack(team, s->source, blocks, rows, columns, s->format, panels) == SC_OK, "sc_pack failed");
    return panels;
}

static void check_matrix(const sc_kernels *kernels, const source *s, int weights, size_t rows, size_t columns,
                         const size_t *tokens, size_t n_tokens)
{
    const size_t pair_bytes = sc_pair_bytes(s->format, columns);
    const char *panels = pack(s, weights, rows, columns);
    for (size_t i = 0; i < n_tokens; i++) {
        const int codes = (int)((i + columns / 32) % CODES);
        const size_t stride = (s->format < SC_Q4_K ? columns : tokens[i]) + (i % 3 == 2 ? 5 : 0);
        for (size_t first = 0; first < rows; first += SC_PAIR) {
            char *x;
            begin("%s weights %s, rows %zu of %zu, columns %zu, tokens %zu, stride %zu, activations %s", s->name,
                  weight_names[weights], first, rows, columns, tokens[i], stride,
                  s->format < SC_Q4_K ? float_names[codes] : code_names[codes]);
            const size_t token_bytes = make_activations(s, codes, columns, stride, tokens[i], &x);
            check_call(kernels, s, panels + first / SC_PAIR * pair_bytes, rows - first, columns, x, token_bytes, stride,
                       tokens[i]);
            end();
        }
    }
}

static void check_table(const sc_kernels *kernels)
{
    static const size_t columns[] = {32, 33, 64, 257, 288, 256, 512, 2048};
    static const size_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 15, 16, 17, 31, 32, 33, 64};
    static const size_t few[] = {1, 7, 2, 12, 4};
    static const size_t rows[] = {1, 15, 16, 17, 31, 33};
    for (const source *s = sources; s < sources + COUNT(sources); s++) {
        const size_t block_columns = s->format == SC_Q8_0 ? SC_GROUP : s->block_columns;
        for (size_t c = 0; c < COUNT(columns); c++) {
            if (columns[c] % block_columns) continue;
            for (int weights = 0; weights < WEIGHTS; weights++) {
                /* All token counts once per shape; every combination of weights and activations at a few counts. */
                const int all = columns[c] < 2048 ? weights == WEIGHTS_RANDOM : weights == WEIGHTS_ONES;
                check_matrix(kernels, s, weights, SC_PAIR, columns[c], all ? tokens : few,
                             all ? COUNT(tokens) : COUNT(few));
            }
        }
        for (size_t r = 0; r < COUNT(rows); r++)
            for (int weights = 0; weights < WEIGHTS; weights++)
                check_matrix(kernels, s, weights, rows[r], SC_SUPERBLOCK, few, COUNT(few));
    }
}

/* At the scalar level also checks tile registers in plain C, which stand in for AMX. */
void check_linear(int level, const sc_kernels *kernels)
{
    check_table(kernels);
    if (level == SC_ISA_SCALAR) check_table(&sc_kernels_tiles);
}
