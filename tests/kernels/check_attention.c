/* Attention over one block of the cache, and the merge of two blocks. */
#include "check.h"

static const size_t dims[] = {32, 64, 96, 128};

static size_t partial_bytes(size_t dim) { return sizeof(sc_partial) + SC_QUERIES * dim * sizeof(float); }

enum { KEYS_RANDOM, KEYS_ZERO, KEYS_LARGE, KEYS_ANY, KEYS };

static void fill_halves(int fill, uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t bits = (uint16_t)random_bits();
        const uint16_t choices[KEYS] = {sc_f16_from_f32(random_float()), bits & 0x8000, (bits & 0x8000) | 0x7BFF,
                                        (bits & 0x7C00) == 0x7C00 ? bits & 0x83FF : bits};
        x[i] = choices[fill];
    }
}

/* How many keys query t sees. */
static int32_t visible_keys(int pattern, int t)
{
    switch (pattern) {
    case 0: return SC_KV_BLOCK;
    case 1: return t + 1;
    case 2: return t - 8; /* some see nothing */
    case 3: return random_int(1, SC_KV_BLOCK);
    default: return SC_KV_BLOCK - t;
    }
}
enum { PATTERNS = 5 };

/* Keys or values; in f32 they have the values of f16. */
static void *fill_cache(int index, int format, int fill, size_t n)
{
    uint16_t *halves = buffer(index, n * sizeof *halves);
    fill_halves(fill, halves, n);
    if (format == SC_F16) return halves;
    float *floats = buffer(index + 1, n * sizeof *floats);
    for (size_t i = 0; i < n; i++) floats[i] = sc_f32_from_f16(halves[i]);
    return floats;
}

static void run_attend(const sc_kernels *kernels, int format, int n, size_t dim, int keys_fill, int pattern)
{
    const size_t block = SC_KV_BLOCK * dim;
    float *queries = buffer(0, (size_t)n * dim * sizeof *queries);
    const void *keys = fill_cache(6, format, keys_fill, block), *values = fill_cache(8, format, keys_fill, block);
    int32_t *visible = buffer(3, (size_t)n * sizeof *visible);
    sc_partial *got = buffer(4, partial_bytes(dim)), *expected = buffer(5, partial_bytes(dim));
    fill_floats(random_int(0, 5) ? FILL_RANDOM : FILL_ALTERNATING, queries, (size_t)n * dim);
    for (int t = 0; t < n; t++) visible[t] = visible_keys(pattern, t);
    memcpy(got, expected, partial_bytes(dim));
    kernels->attend[format](queries, (size_t)n, dim, keys, values, visible, n % 2 ? keys : NULL, got);
    sc_kernels_scalar.attend[format](queries, (size_t)n, dim, keys, values, visible, NULL, expected);
    expect_equal("partial", got, expected, partial_bytes(dim));
}

void check_attend(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t d = 0; d < COUNT(dims); d++)
        for (int n = 1; n <= SC_QUERIES; n++)
            for (int pattern = 0; pattern < PATTERNS; pattern++) {
                const int keys = (n + pattern) % KEYS;
                for (int format = SC_F32; format <= SC_F16; format++) {
                    begin("format %d, n %d, dim %zu, keys %d, visible %d", format, n, dims[d], keys, pattern);
                    run_attend(kernels, format, n, dims[d], keys, pattern);
                    end();
                }
            }
}

/* Checks that attention over a widened block gives the bits of attention over the block itself. */
static void attend_widened(const sc_kernels *kernels, size_t dim, const uint16_t *block, const float *wide)
{
    const size_t half = SC_KV_BLOCK * dim;
    float *queries = buffer(2, SC_QUERIES * dim * sizeof *queries);
    int32_t visible[SC_QUERIES];
    sc_partial *got = buffer(4, partial_bytes(dim)), *expected = buffer(5, partial_bytes(dim));
    fill_floats(FILL_RANDOM, queries, SC_QUERIES * dim);
    for (int t = 0; t < SC_QUERIES; t++) visible[t] = visible_keys(3, t);
    memcpy(got, expected, partial_bytes(dim));
    kernels->attend[SC_F32](queries, SC_QUERIES, dim, wide, wide + half, visible, NULL, got);
    kernels->attend[SC_F16](queries, SC_QUERIES, dim, block, block + half, visible, NULL, expected);
    expect_equal("partial", got, expected, partial_bytes(dim));
}

void check_widen(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t d = 0; d < COUNT(dims); d++)
        for (int fill = 0; fill < KEYS; fill++) {
            const size_t n = 2 * SC_KV_BLOCK * dims[d];
            begin("dim %zu, keys %d", dims[d], fill);
            uint16_t *x = buffer(0, n * sizeof *x);
            float *got = buffer(1, n * sizeof *got), *expected = buffer(3, n * sizeof *expected);
            fill_halves(fill, x, n);
            for (size_t i = 0; i < n; i++) expected[i] = sc_f32_from_f16(x[i]);
            kernels->widen(x, n, fill % 2 ? x : NULL, got);
            expect_equal("out", got, expected, n * sizeof *got);
            attend_widened(kernels, dims[d], x, got);
            end();
        }
}

static void fill_partial(sc_partial *p, size_t n, size_t dim, int seen)
{
    for (size_t t = 0; t < SC_QUERIES; t++) {
        p->state.max[t] = t < n ? (seen || t % 2 ? 30 * random_float() : -INFINITY) : 0;
        p->state.sum[t] = t < n && isfinite(p->state.max[t]) ? 1 + fabsf(random_float()) : 0;
    }
    for (size_t t = 0; t < SC_QUERIES; t++)
        for (size_t i = 0; i < dim; i++)
            p->out[t * dim + i] = p->state.sum[t] > 0 ? p->state.sum[t] * random_float() : 0;
}

void check_attend_merge(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t d = 0; d < COUNT(dims); d++)
        for (size_t n = 1; n <= SC_QUERIES; n++)
            for (int seen = 0; seen < 2; seen++) {
                const size_t bytes = partial_bytes(dims[d]);
                begin("n %zu, dim %zu, %s", n, dims[d], seen ? "all seen" : "half of the block in the future");
                sc_partial *got = buffer(0, bytes), *expected = buffer(1, bytes), *next = buffer(2, bytes);
                fill_partial(expected, n, dims[d], 1);
                fill_partial(next, n, dims[d], seen);
                memcpy(got, expected, bytes);
                kernels->attend_merge(&got->state, got->out, next, 0, n, dims[d]);
                for (size_t t = 0; t < n; t++)
                    if (next->state.sum[t] <= 0)
                        expect(memcmp(got->out + t * dims[d], expected->out + t * dims[d], dims[d] * sizeof(float)) ==
                                       0 &&
                                   bits_of(got->state.sum[t]) == bits_of(expected->state.sum[t]),
                               "a block in the future changes something");
                sc_kernels_scalar.attend_merge(&expected->state, expected->out, next, 0, n, dims[d]);
                expect_equal("into", got, expected, bytes);
                end();
            }
}
