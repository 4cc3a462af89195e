/* Passes over a vocabulary: the same numbers on every instruction set, and equal to those of scalar loops. */
#include "check.h"

static const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 4999};
static const size_t buckets[] = {64, 128, 320};

void check_logit_maxima(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t s = 0; s < COUNT(buckets); s++)
            for (int fill = 0; fill <= FILLS + 2; fill++) {
                const size_t n = lengths[i], length = buckets[s], count = (n + length - 1) / length;
                begin("n %zu, length %zu, fill %d", n, length, fill);
                float *x = buffer(0, n * sizeof *x), *got = buffer(1, count * sizeof *got);
                float *expected = buffer(2, count * sizeof *expected);
                fill_floats(fill % FILLS, x, n);
                for (size_t k = 0; fill >= FILLS && k < n; k += fill == FILLS ? 2 : 1) x[k] = -INFINITY;
                for (size_t k = 0; fill == FILLS + 2 && k < n; k++) x[k] = -0.0f;
                for (size_t b = 0; b < count; b++) {
                    expected[b] = -INFINITY;
                    for (size_t k = b * length; k < n && k < (b + 1) * length; k++)
                        expected[b] = x[k] > expected[b] ? x[k] + 0.0f : expected[b];
                }
                expect(kernels->logit_maxima(x, n, length, got), "finite logits are refused");
                expect_equal("out", got, expected, count * sizeof *got);
                const float bad[] = {INFINITY, NAN, -NAN};
                x[random_int(0, (int)n - 1)] = bad[random_bits() % COUNT(bad)];
                expect(!kernels->logit_maxima(x, n, length, got),
                       "a logit that is not a number, or infinite, is not refused");
                end();
            }
}

void check_softmax_weights(int level, const sc_kernels *kernels)
{
    static const float inverses[] = {0.01f, 1, 1.25f, 1000};
    (void)level;
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t t = 0; t < COUNT(inverses); t++)
            for (int fill = 0; fill <= FILLS; fill++) {
                const size_t n = lengths[i];
                begin("n %zu, inverse_temperature %g, fill %d", n, (double)inverses[t], fill);
                float *x = buffer(0, n * sizeof *x), max = -INFINITY;
                float *got = buffer(1, n * sizeof *got), *expected = buffer(2, n * sizeof *expected);
                fill_floats(fill % FILLS, x, n);
                for (size_t k = 1; fill == FILLS && k < n; k += 3) x[k] = -INFINITY; /* banned tokens */
                for (size_t k = 0; k < n; k++) max = x[k] > max ? x[k] : max;
                kernels->softmax_weights(x, n, max, inverses[t], got);
                sc_kernels_scalar.softmax_weights(x, n, max, inverses[t], expected);
                expect_equal("out", got, expected, n * sizeof *got);
                for (size_t k = 0; k < n; k++) {
                    expect(got[k] >= 0 && got[k] <= 1, "a weight is outside 0..1");
                    expect(x[k] != max || got[k] == 1, "the largest has not weight 1");
                }
                kernels->softmax_weights(x, n, max, inverses[t], x);
                expect_equal("x in place", x, expected, n * sizeof *x);
                end();
            }
}

/* A weight whose mass is a little above or below an integer, or half way between two, or random. */
static float random_weight(void)
{
    const float exponent = (float)random_int(-42, 0), whole = (float)random_int(0, 1 << 22);
    const float any[] = {0,
                         1,
                         exp2f(exponent),
                         exp2f(exponent) * 0x1.fffffep-1f,
                         whole * 0x1p-39f,
                         (whole + 0.5f) * 0x1p-39f,
                         nextafterf(whole * 0x1p-20f, 0) / 4,
                         fabsf(random_float()) * exp2f(exponent)};
    return fminf(any[random_bits() % COUNT(any)], 1);
}

void check_weight_masses(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t s = 0; s < COUNT(buckets); s++)
            for (int ones = 0; ones < 4; ones++) {
                const size_t n = lengths[i], length = buckets[s], count = (n + length - 1) / length;
                const float least = ones < 2 ? 0 : random_weight();
                begin("n %zu, length %zu, %s, least %g", n, length, ones ? "random" : "all 1", (double)least);
                float *x = buffer(0, n * sizeof *x);
                uint64_t *got = buffer(1, count * sizeof *got), *expected = buffer(2, count * sizeof *expected);
                for (size_t k = 0; k < n; k++) x[k] = !ones ? 1 : random_bits() % 9 ? random_weight() : least;
                for (size_t b = 0; b < count; b++) {
                    expected[b] = 0;
                    for (size_t k = b * length; k < n && k < (b + 1) * length; k++)
                        expected[b] += x[k] < least ? 0 : (uint64_t)(x[k] * 0x1p39f);
                }
                kernels->weight_masses(x, n, length, least, got);
                expect_equal("out", got, expected, count * sizeof *got);
                end();
            }
}
