/* The kernels between the linear layers: quantization, LayerNorm, GELU, conversion to f16, softmax for sampling. */
#include "check.h"

static void copy_floats(float *to, const float *from, size_t n) { memcpy(to, from, n * sizeof *to); }

/* Groups that stress rounding: halves, the limits of the scale, a single nonzero value. */
static void fill_group(int fill, float *x, size_t n)
{
    if (fill < FILLS) {
        fill_floats(fill, x, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (fill == FILLS) x[i] = i % 32 == 5 ? 127.0f : (float)random_int(-126, 125) + 0.5f; /* exact ties */
        else if (fill == FILLS + 1) x[i] = random_finite();
        else x[i] = i % 32 == 31 ? (random_bits() % 2 ? 1e-20f : 3.2e38f) : 0.0f;
    }
}
enum { GROUP_FILLS = FILLS + 3 };

void check_quantize(int level, const sc_kernels *kernels)
{
    static const size_t widths[] = {32, 64, 224, 256, 288, 512, 544, 2048};
    (void)level;
    for (size_t w = 0; w < COUNT(widths); w++)
        for (size_t stride = 1; stride < 18; stride += 4)
            for (int fill = 0; fill < GROUP_FILLS; fill++) {
                const size_t n = widths[w], blocks = (n + SC_SUPERBLOCK - 1) / SC_SUPERBLOCK;
                const size_t bytes = ((blocks - 1) * stride + 1) * sizeof(sc_act);
                begin("n %zu, stride %zu, fill %d", n, stride, fill);
                float *x = buffer(0, n * sizeof *x);
                sc_act *got = buffer(1, bytes), *expected = buffer(2, bytes);
                fill_group(fill, x, n);
                memcpy(got, expected, bytes); /* padding */
                kernels->quantize(x, n, got, stride);
                sc_kernels_scalar.quantize(x, n, expected, stride);
                expect_equal("blocks", got, expected, bytes);
                end();
            }
}

/* Checks what the linear kernels rely on: sums that fit their integers. */
static void expect_bounds(const sc_act *block, int groups)
{
    for (int g = 0; g < groups; g++) {
        int size[2] = {0, 0}, sum[2] = {0, 0};
        for (int i = 0; i < SC_GROUP; i++) {
            const int q = block->q[SC_GROUP * g + i];
            size[i / 16] += q < 0 ? -q : q;
            sum[i / 16] += q;
        }
        expect(size[0] <= SC_HALF_SUM && size[1] <= SC_HALF_SUM, "a sum of |q| is too large");
        expect(block->factor[g] >= 0 && block->factor[g] <= SC_FACTOR_MAX, "a factor is too large");
        expect(block->zero16[2 * g] == -32 * sum[0] && block->zero16[2 * g + 1] == -32 * sum[1], "zero16");
        expect(block->zero32[g] == -16 * (sum[0] + sum[1]), "zero32");
        const int exact = block->factor[g] * (sum[0] + sum[1]), rounded = block->sum[g] * (1 << SC_SUM_SHIFT);
        expect(2 * abs(exact - rounded) <= 1 << SC_SUM_SHIFT, "sum");
    }
}

void check_quantize_pairs(int level, const sc_kernels *kernels)
{
    (void)level;
    for (int i = 0; i < 4000; i++) {
        const int groups = i % SC_GROUPS + 1, fill = i / SC_GROUPS % (GROUP_FILLS + 1);
        const size_t tokens = (size_t)i % 5 + 1, stride = SC_PAIR * tokens + 16 * (size_t)random_int(0, 9);
        begin("%d groups, tokens %zu, stride %zu, fill %d", groups, tokens, stride, fill);
        const size_t n = (size_t)(groups - 1) * stride + SC_PAIR * tokens, bytes = tokens * sizeof(sc_act);
        float *x = buffer(0, n * sizeof *x);
        sc_act *got = buffer(1, bytes), *expected = buffer(2, bytes);
        fill_group(fill < GROUP_FILLS ? fill : FILL_RANDOM, x, n);
        for (size_t k = 0; fill == GROUP_FILLS && k < n; k++) /* flat: many values equal the largest */
            x[k] = (k / SC_GROUP % 2 ? 1.0f : 0.1f) * (x[k] < 0 ? -1.0f : 1.0f) * (float)random_int(i % 100, 100);
        memcpy(got, expected, bytes); /* padding */
        kernels->quantize_pairs(x, stride, groups, tokens, got);
        sc_kernels_scalar.quantize_pairs(x, stride, groups, tokens, expected);
        expect_equal("blocks", got, expected, bytes);
        for (size_t t = 0; t < tokens; t++) {
            expect_bounds(got + t, groups);
            for (int g = groups; g < SC_GROUPS; g++)
                expect(got[t].factor[g] == 0 && got[t].q[SC_GROUP * g] == 0, "no group");
        }
        end();
    }
    for (int lane = 0; lane < SC_SUPERBLOCK; lane++) {
        static const float poisons[] = {INFINITY, -INFINITY, NAN};
        for (size_t i = 0; i < COUNT(poisons); i++) {
            begin("%g in lane %d", (double)poisons[i], lane);
            float *x = buffer(0, SC_SUPERBLOCK * sizeof *x);
            sc_act *got = buffer(1, sizeof *got);
            fill_floats(FILL_RANDOM, x, SC_SUPERBLOCK);
            x[lane] = poisons[i];
            kernels->quantize(x, SC_SUPERBLOCK, got, 1);
            expect(isnan(got->scale), "the scale does not show that a value is not finite");
            for (int g = 0; g < SC_GROUPS; g++) expect(isnan(got->group_scale[g]), "nor does the scale of a group");
            end();
        }
    }
}

void check_layer_norm(int level, const sc_kernels *kernels)
{
    static const size_t widths[] = {1, 15, 16, 17, 31, 32, 33, 64, 255, 256, 257, 2048};
    (void)level;
    for (size_t w = 0; w < COUNT(widths); w++)
        for (int variant = 0; variant < 4; variant++) /* two paddings, and in place */
            for (int fill = 0; fill < FILLS; fill++) {
                const size_t n = widths[w], pad = variant & 1 ? 32 : 16, padded = (n + pad - 1) / pad * pad;
                const float epsilon = fill == FILL_ZERO ? 1e-5f : 1e-12f;
                begin("n %zu, padded %zu, fill %d%s", n, padded, fill, variant & 2 ? ", in place" : "");
                float *x = buffer(0, padded * sizeof *x);
                float *weight = buffer(1, padded * sizeof *weight), *bias = buffer(2, padded * sizeof *bias);
                float *expected = buffer(3, padded * sizeof *expected);
                float *got = variant & 2 ? x : buffer(4, padded * sizeof *got);
                float *const arrays[] = {x, weight, bias};
                for (int a = 0; a < 3; a++) {
                    memset(arrays[a], 0, padded * sizeof(float));
                    fill_floats(a ? FILL_RANDOM : fill == FILL_LARGE ? FILL_OUTLIER : fill, arrays[a], n);
                }
                sc_kernels_scalar.layer_norm(x, weight, bias, epsilon, n, padded, expected);
                kernels->layer_norm(x, weight, bias, epsilon, n, padded, got);
                expect_equal("out", got, expected, padded * sizeof *got);
                for (size_t i = n; i < padded; i++) expect(got[i] == 0, "padding is not zero");
                end();
            }
}

void check_gelu(int level, const sc_kernels *kernels)
{
    static const size_t tokens[] = {1, 2, 3, 15, 16, 17, 64};
    (void)level;
    for (size_t i = 0; i < COUNT(tokens); i++)
        for (int fill = 0; fill <= FILLS; fill++) {
            const size_t n = tokens[i] * SC_PAIR;
            begin("tokens %zu, fill %d", tokens[i], fill);
            float *got = buffer(0, n * sizeof *got), *expected = buffer(1, n * sizeof *expected);
            float *bias = buffer(2, SC_PAIR * sizeof *bias);
            fill_floats(fill % FILLS, bias, SC_PAIR);
            fill_floats(fill % FILLS, expected, n);
            for (size_t k = 0; fill == FILLS && k < n; k++) expected[k] = random_finite();
            copy_floats(got, expected, n);
            kernels->gelu(got, bias, tokens[i]);
            sc_kernels_scalar.gelu(expected, bias, tokens[i]);
            expect_equal("x", got, expected, n * sizeof *got);
            end();
        }
}

void check_add_residual(int level, const sc_kernels *kernels)
{
    static const size_t tokens[] = {1, 2, 3, 17};
    (void)level;
    for (size_t i = 0; i < COUNT(tokens); i++)
        for (size_t stride = SC_PAIR; stride <= 80; stride += 16)
            for (int fill = 0; fill < FILLS; fill++) {
                const size_t n = tokens[i] * SC_PAIR, all = (tokens[i] - 1) * stride + SC_PAIR;
                begin("tokens %zu, stride %zu, fill %d", tokens[i], stride, fill);
                float *got = buffer(0, all * sizeof *got), *expected = buffer(1, all * sizeof *expected);
                float *out = buffer(2, n * sizeof *out), *bias = buffer(3, SC_PAIR * sizeof *bias);
                fill_floats(fill, got, all);
                copy_floats(expected, got, all);
                fill_floats(fill, out, n);
                fill_floats(fill, bias, SC_PAIR);
                kernels->add_residual(got, stride, out, bias, tokens[i]);
                for (size_t t = 0; t < tokens[i]; t++)
                    for (size_t k = 0; k < SC_PAIR; k++) expected[t * stride + k] += out[t * SC_PAIR + k] + bias[k];
                expect_equal("x", got, expected, all * sizeof *got);
                end();
            }
}

void check_scale(int level, const sc_kernels *kernels)
{
    static const float factors[] = {0, 1, -0.5f, 0.0883883476f, 1e30f, INFINITY};
    (void)level;
    for (size_t n = 16; n <= 128; n += 16)
        for (size_t i = 0; i < COUNT(factors); i++)
            for (int fill = 0; fill < FILLS; fill++) {
                begin("n %zu, factor %g, fill %d", n, (double)factors[i], fill);
                float *x = buffer(0, n * sizeof *x), *got = buffer(1, n * sizeof *got),
                      *expected = buffer(2, n * sizeof *expected);
                fill_floats(fill, x, n);
                for (size_t k = 0; k < n; k++) expected[k] = x[k] * factors[i] + 0.0f; /* no -0 */
                kernels->scale(x, n, factors[i], got);
                expect_equal("out", got, expected, n * sizeof *got);
                kernels->scale(x, n, factors[i], x);
                expect_equal("x in place", x, expected, n * sizeof *x);
                end();
            }
}

void check_f16_clamped(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t n = 16; n <= 272; n += 16)
        for (int fill = 0; fill < 4; fill++) {
            begin("n %zu, fill %d", n, fill);
            float *x = buffer(0, n * sizeof *x);
            uint16_t *got = buffer(1, n * sizeof *got), *expected = buffer(2, n * sizeof *expected);
            for (size_t i = 0; i < n; i++) {
                const float normal = random_float(), any = random_finite();
                const float tie = sc_f32_from_f16((uint16_t)(random_bits() % 0x7BFF)); /* plus half a unit: */
                const float halves[] = {65504, 65519.996f, 65520, 1e30f, INFINITY, 0x1p-25f, 0x1.8p-25f, 0};
                x[i] = fill == 0   ? normal
                       : fill == 1 ? any
                       : fill == 2
                           ? (tie + nextafterf(tie, INFINITY)) / 2 + (tie < 0x1p-14f ? 0x1p-25f : tie * 0x1p-11f)
                           : (i % 2 ? -1 : 1) * halves[i / 2 % COUNT(halves)];
            }
            kernels->f16_clamped(x, n, got);
            sc_kernels_scalar.f16_clamped(x, n, expected);
            expect_equal("out", got, expected, n * sizeof *got);
            for (size_t i = 0; i < n; i++) expect((got[i] & 0x7C00) != 0x7C00, "an infinity was written");
            end();
        }
}
