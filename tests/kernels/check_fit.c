/* Fits of weights to the blocks of GGUF: the same numbers on every instruction set. */
#include "check.h"

enum { KIND_NORMAL, KIND_POSITIVE, KIND_EQUAL, KIND_ZERO, KIND_TINY, KIND_LARGE, KIND_OUTLIER, KINDS };

/* Weights of 16 groups; each lane has its own magnitude. */
static void fill_weights(int kind, float *x, size_t n)
{
    float size[16];
    for (int i = 0; i < 16; i++) size[i] = 0.01f * (float)random_int(1, 500);
    for (size_t i = 0; i < n; i++) {
        const float normal = random_float() * size[i % 16];
        switch (kind) {
        case KIND_POSITIVE: x[i] = fabsf(normal); break;
        case KIND_EQUAL: x[i] = size[i % 16]; break;
        case KIND_ZERO: x[i] = 0; break;
        case KIND_TINY: x[i] = normal * 1e-39f; break;
        case KIND_LARGE: x[i] = random_bits() % 2 ? 65504.0f : -65504.0f; break;
        case KIND_OUTLIER: x[i] = i / 16 == i % 5 ? 100 * normal : normal; break;
        default: x[i] = normal;
        }
    }
}

/* How much each value counts: all the same, or random, some not at all. */
static void fill_importance(int even, float *w, size_t n)
{
    for (size_t i = 0; i < n; i++) w[i] = even ? 1.0f : (float)random_int(0, 1000) / 100.0f;
}

typedef void fit(const sc_kernels *kernels, const float *x, const float *w, const float *mean, sc_fit *out);
#define FIT(name, call) \
    static void name(const sc_kernels *k, const float *x, const float *w, const float *mean, sc_fit *out) { call; }
FIT(affine15, k->fit_affine(x, w, mean, 15, out))
FIT(affine31, k->fit_affine(x, w, mean, 31, out))
FIT(three_bits, k->fit_signed(x, w, mean, -4, 31, out))
FIT(six_bits, k->fit_signed(x, w, mean, -32, 127, out))
FIT(four_bits, k->fit_plain(x, w, mean, -8, 7, out))
FIT(eight_bits, k->fit_plain(x, w, mean, -127, 127, out))

static void check_fit(const sc_kernels *kernels, fit *run, size_t size)
{
    const size_t n = size * SC_LANES;
    for (int kind = 0; kind < KINDS; kind++)
        for (int repeat = 0; repeat < 12; repeat++) {
            begin("kind %d, repeat %d", kind, repeat);
            float *x = buffer(0, n * sizeof *x), *w = buffer(1, n * sizeof *w), *mean = buffer(2, n * sizeof *mean);
            sc_fit *got = buffer(3, sizeof *got), *expected = buffer(4, sizeof *expected);
            fill_floats(FILL_RANDOM, mean, n);
            fill_weights(kind, x, n);
            fill_importance(repeat % 2, w, n);
            *got = *expected; /* what the kernel does not write is equal, too */
            run(kernels, x, w, mean, got);
            run(&sc_kernels_scalar, x, w, mean, expected);
            expect_equal("fit", got, expected, sizeof *got);
            end();
        }
}

void check_fit_affine(int level, const sc_kernels *kernels)
{
    (void)level;
    check_fit(kernels, affine15, 32);
    check_fit(kernels, affine31, 32);
}

void check_fit_signed(int level, const sc_kernels *kernels)
{
    (void)level;
    check_fit(kernels, three_bits, 16);
    check_fit(kernels, six_bits, 16);
}

void check_fit_plain(int level, const sc_kernels *kernels)
{
    (void)level;
    check_fit(kernels, four_bits, 32);
    check_fit(kernels, eight_bits, 32);
}
