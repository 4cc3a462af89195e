/* The table of kernels that each instruction set provides. Every slot gives the same bits on every instruction set. */
#ifndef SC_KERNELS_H
#define SC_KERNELS_H

#include "layout.h"

enum { SC_PEAK_QUADS = 8, SC_PEAK_SUMS = 12 };

typedef struct {
    const char *name; /* as in SANTACODER_ISA */

    /* Most tokens per call of `linear`: longer prompts run in chunks of this size. */
    int32_t chunk;

    /* out (tokens, 32) = x (tokens, columns) times one pair of panels. For quantized formats x is sc_act with block b
     * of token t at x[b*stride + t], and columns is a multiple of 32 (of 256 for K-quants). For float formats x is
     * float with column k of token t at x[t*stride + k]. tokens >= 1. `ahead` is the pair whose turn comes next: it may
     * be prefetched and is never read. */
    void (*linear[SC_FORMATS])(const void *pair, size_t columns, const void *x, size_t stride, size_t tokens,
                               const void *ahead, float *out);

    /* x (n), n a multiple of 32 and zero beyond the true width, to int8 blocks out[b*stride]. Unused groups of the last
     * block are zero. An infinity or NaN makes the scales of its block NaN. */
    void (*quantize)(const float *x, size_t n, sc_act *out, size_t stride);

    /* Quantizes one block per token from the outputs (tokens, 32) of `groups` <= 8 pairs; those of pair g begin at
     * x[g*stride]. */
    void (*quantize_pairs)(const float *x, size_t stride, int groups, size_t tokens, sc_act *out);

    /* out = (x - mean) / sqrt(variance + epsilon) * weight + bias over n columns; all arrays hold `padded` floats (a
     * multiple of 16), zero beyond n. out may be x. */
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float epsilon, size_t n, size_t padded,
                       float *out);

    /* x (tokens, 32) = gelu(x + bias (32)), the tanh form. */
    void (*gelu)(float *x, const float *bias, size_t tokens);

    /* x (tokens, 32), rows `stride` floats apart, += out (tokens, 32) + bias (32), added in this order. */
    void (*add_residual)(float *x, size_t stride, const float *out, const float *bias, size_t tokens);

    /* out (n) = x as f16, clamped to +-65504; n a multiple of 16. */
    void (*f16_clamped)(const float *x, size_t n, uint16_t *out);

    /* out (n) = x, f16, as f32; n a multiple of 16. Meanwhile prefetches as many bytes from `ahead`, unless it is
     * NULL. */
    void (*widen)(const uint16_t *x, size_t n, const void *ahead, float *out);

    /* out (n) = x * factor, where -0 becomes 0: the sign of a zero sum over keys may depend on keys that the query does
     * not see. n a multiple of 16. out may be x. */
    void (*scale)(const float *x, size_t n, float factor, float *out);

    /* n <= 16 queries (n, dim), already scaled, over one block of the cache: keys (dim, 64) and values (64, dim) in the
     * format that is the index, dim a multiple of 32. Query t sees keys 0..visible[t]-1; for visible[t] <= 0 its max is
     * -infinity and the rest 0. All 64 values must be finite. Meanwhile prefetches the block at `ahead`, whose keys and
     * values come next, unless it is NULL. */
    void (*attend[SC_F16 + 1])(const float *queries, size_t n, size_t dim, const void *keys, const void *values,
                               const int32_t *visible, const void *ahead, sc_partial *out);

    /* Adds the block `next` to the attention of queries first..last-1 over all blocks before it, which state and out
     * (16, dim) hold. Blocks merge in rising order of position. */
    void (*attend_merge)(sc_softmax *state, float *out, const sc_partial *next, size_t first, size_t last, size_t dim);

    /* out[i] = the largest of the `length` logits from x[i * length] on; the last bucket may be shorter. -infinity is
     * an ordinary logit; a zero is returned as 0, not -0. length is a multiple of 64. Returns whether all x are below
     * +infinity; if not, out is unspecified. */
    int (*logit_maxima)(const float *x, size_t n, size_t length, float *out);

    /* out (n) = exp((x - max) * inverse_temperature); max is the largest x. out may be x. */
    void (*softmax_weights)(const float *x, size_t n, float max, float inverse_temperature, float *out);

    /* out[i] = the sum of floor(weight * 2^39) over the `length` weights from weights[i * length] on, leaving out those
     * below `least`; the last bucket may be shorter. 0 <= weight <= 1; length is a multiple of 64. */
    void (*weight_masses)(const float *weights, size_t n, size_t length, float least, uint64_t *out);

    /* Fits weights x (32, 16), 16 groups of two superblocks, to d*scale*q - dmin*min, q in 0..levels (15 or 31), scale
     * and min in 0..63. w (32, 16) >= 0 weighs each value's squared error; mean (32, 16) is for out->shift. |x| <=
     * 65504, w <= 2^40. */
    void (*fit_affine)(const float *x, const float *w, const float *mean, int levels, sc_fit *out);

    /* The same for x (16, 16), 16 groups of one superblock, to d*scale*q, q in lowest..-lowest-1, scale in
     * -largest..largest. */
    void (*fit_signed)(const float *x, const float *w, const float *mean, int lowest, int largest, sc_fit *out);

    /* The same for x (32, 16), 16 separate groups, to d*q, q in lowest..highest; d < 0 only if the range is uneven. */
    void (*fit_plain)(const float *x, const float *w, const float *mean, int lowest, int highest, sc_fit *out);

    /* The sum of all 32-bit words modulo 2^32; bytes is a multiple of 256. May prefetch past the end, never reads
     * there. */
    uint32_t (*peak_read)(const void *memory, size_t bytes);

    /* SC_PEAK_MACS multiply-adds in 64-byte dot_adds, at the pace of the instruction. weights (SC_PEAK_QUADS, 64) in
     * 0..15; activations (SC_PEAK_SUMS, 4) in -127..127, all rows equal, which the kernel does not exploit. Returns the
     * sum of all products modulo 2^32: that of one row with all weights, times SC_PEAK_MACS / (SC_PEAK_QUADS * 64). */
    uint32_t (*peak_dot)(const uint8_t *weights, const int8_t *activations);
} sc_kernels;

/* The table of `level`, which sc_isa_available must have confirmed. */
const sc_kernels *sc_kernels_get(int level);

extern const sc_kernels sc_kernels_scalar;
#if defined __x86_64__
extern const sc_kernels sc_kernels_sse41, sc_kernels_avx2, sc_kernels_avxvnni, sc_kernels_avx512, sc_kernels_amx;
#elif defined __aarch64__
extern const sc_kernels sc_kernels_neon, sc_kernels_neon_dotprod;
#endif

#endif
