/* Repeated calls of one kernel, for bench/: a call from Python takes about a microsecond, as long as some kernels. Each
 * function makes `count` calls. Where weights or the cache come from a buffer of `total` parts, they begin at part
 * `first` and start over at its end, so that a buffer larger than the caches keeps coming from memory. */
#include "kernels.h"

void shim_repeat_linear(int level, size_t count, int format, const char *pairs, size_t total, size_t first,
                        size_t columns, const void *x, size_t stride, size_t tokens, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    const size_t pair_bytes = sc_pair_bytes(format, columns);
    for (size_t i = first; i < first + count; i++)
        kernels->linear[format](pairs + i % total * pair_bytes, columns, x, stride, tokens,
                                pairs + (i + 1) % total * pair_bytes, out);
}

/* A block of the cache: keys, then values. With one block, nothing is prefetched. */
void shim_repeat_attend(int level, size_t count, int format, const char *blocks, size_t total, size_t first,
                        const float *queries, size_t n, size_t dim, const int32_t *visible, void *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    const size_t half = SC_KV_BLOCK * dim * (format == SC_F32 ? sizeof(float) : sizeof(uint16_t));
    for (size_t i = first; i < first + count; i++) {
        const char *keys = blocks + i % total * 2 * half, *ahead = blocks + (i + 1) % total * 2 * half;
        kernels->attend[format](queries, n, dim, keys, keys + half, visible, total > 1 ? ahead : NULL, out);
    }
}

void shim_repeat_widen(int level, size_t count, const uint16_t *block, size_t n, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->widen(block, n, NULL, out);
}

void shim_repeat_attend_merge(int level, size_t count, void *into, const void *next, size_t n, size_t dim)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    sc_partial *sum = into;
    for (size_t i = 0; i < count; i++) kernels->attend_merge(&sum->state, sum->out, next, 0, n, dim);
}

void shim_repeat_quantize(int level, size_t count, const float *x, size_t n, void *out, size_t stride)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->quantize(x, n, out, stride);
}

void shim_repeat_layer_norm(int level, size_t count, const float *x, const float *weight, const float *bias,
                            float epsilon, size_t n, size_t padded, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->layer_norm(x, weight, bias, epsilon, n, padded, out);
}

/* In place: each call's output is the next one's input. */
void shim_repeat_gelu(int level, size_t count, float *x, const float *bias, size_t tokens)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->gelu(x, bias, tokens);
}

/* All pairs of rows of `width` floats. */
void shim_repeat_add_residual(int level, size_t count, float *x, size_t width, const float *out, const float *bias,
                              size_t tokens)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < width; k += SC_PAIR) kernels->add_residual(x + k, width, out, bias, tokens);
}

void shim_repeat_scale(int level, size_t count, const float *x, size_t n, float factor, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->scale(x, n, factor, out);
}

void shim_repeat_f16_clamped(int level, size_t count, const float *x, size_t n, uint16_t *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->f16_clamped(x, n, out);
}

void shim_repeat_softmax_weights(int level, size_t count, const float *x, size_t n, float max,
                                 float inverse_temperature, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->softmax_weights(x, n, max, inverse_temperature, out);
}

void shim_repeat_logit_maxima(int level, size_t count, const float *x, size_t n, size_t length, float *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->logit_maxima(x, n, length, out);
}

void shim_repeat_weight_masses(int level, size_t count, const float *weights, size_t n, size_t length, float least,
                               uint64_t *out)
{
    const sc_kernels *kernels = sc_kernels_get(level);
    for (size_t i = 0; i < count; i++) kernels->weight_masses(weights, n, length, least, out);
}
