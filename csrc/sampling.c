/* Choosing the next token. Weights become whole numbers, and every decision after that is exact integer arithmetic: the
 * same logits and the same random bits give the same token on every machine. Nothing is sorted: a radix select finds
 * where a filter cuts, in three passes over the vocabulary whatever the distribution. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "santacoder.h"

/* The largest weight, 1, as a whole number. Vocabularies have at most 2^24 tokens, so a sum is at most 2^63. Tokens that
 * are 2^39 times less probable than the first are never drawn. */
#define ONE 549755813888.0f /* 2^39 */

#define BINS 2048
#define LANES 16 /* running maxima, so that none waits for itself */

__extension__ typedef unsigned __int128 u128;

/* What a filter keeps: every token whose key is above `key`, and of those that equal it the `ties` with the lowest ids. */
typedef struct {
    uint32_t key;
    uint64_t ties;
} cut;

/* How find_cut() measures tokens: as one each, or by weight. */
typedef enum { COUNT, MASS } measure;

static inline uint64_t mass_of(float weight) { return (uint64_t)(int64_t)(weight * ONE); } /* signed: one instruction */
static inline uint64_t measured(float x, measure by) { return by == COUNT ? 1 : mass_of(x); }

/* Rising integers for rising floats, one for both zeros; x is a number. */
static inline uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}

/* bins[b] = how much is in the tokens whose key, shifted down, is first + b, b < BINS. */
static inline void histogram(const float *x, int32_t n, measure by, int shift, uint32_t first, uint64_t *bins)
{
    uint64_t odd[BINS] = {0}; /* a second table, or equal neighbours would wait for each other's sum */
    memset(bins, 0, BINS * sizeof *bins);
    for (int32_t i = 0; i < n; i++) {
        const uint32_t bin = (key_of(x[i]) >> shift) - first;
        if (bin < BINS) (i & 1 ? odd : bins)[bin] += measured(x[i], by);
    }
    for (int b = 0; b < BINS; b++) bins[b] += odd[b];
}

/* The fewest tokens, by falling value and then rising id, that measure `target` or more together; 1 <= target <= the
 * measure of all. */
static inline cut find_cut(const float *x, int32_t n, measure by, uint64_t target)
{
    static const int shifts[] = {21, 10, 0}; /* 11 bits of the key, 11 more, and the last 10 */
    uint64_t bins[BINS];
    uint32_t key = 0;
    for (int level = 0; level < 3; level++) {
        const uint32_t first = level == 0 ? 0 : level == 1 ? key << 11 : key << 10;
        uint32_t bin = BINS - 1;
        histogram(x, n, by, shifts[level], first, bins);
        if (level == 2) bin = 1023; /* the upper half belongs to the next key, which is in already */
        while (bins[bin] < target) target -= bins[bin--];
        key = first + bin;
    }
    /* All that is left has one key, so one value and one measure. */
    uint32_t bits = key & 0x80000000u ? key ^ 0x80000000u : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    const uint64_t each = measured(value, by);
    return (cut){key, (target + each - 1) / each};
}

/* Takes their weight from all tokens that `cut`, made in x, leaves out. x may be the weights. */
static void keep(cut cut, const float *x, int32_t n, float *weights)
{
    for (int32_t i = 0; i < n; i++) {
        const uint32_t key = key_of(x[i]);
        if (key > cut.key) continue;
        if (key == cut.key && cut.ties) {
            cut.ties--;
            continue;
        }
        weights[i] = 0;
    }
}

static uint64_t total_of(const float *weights, int32_t n)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < n; i++) total += mass_of(weights[i]);
    return total;
}

/* The least mass that is the part `p` of `total` or more; 0 <= p < 1. */
static uint64_t part_of(uint64_t total, float p)
{
    const uint64_t fraction = (uint64_t)(p * 18446744073709551616.0f); /* units of 2^-64: exact down to p = 2^-40 */
    const uint64_t part = (uint64_t)(((u128)fraction * total + UINT64_MAX) >> 64);
    return part ? part : 1;
}

/* The token, in the order of ids, at which `random` of 2^64 falls. Some weight is 1. */
static int32_t draw(const float *weights, int32_t n, uint64_t random)
{
    uint64_t left = (uint64_t)((u128)random * total_of(weights, n) >> 64);
    int32_t i = 0;
    for (uint64_t mass; left >= (mass = mass_of(weights[i])); i++) left -= mass;
    return i;
}

static inline void observe(float x, float *best, int *wrong)
{
    if (x > *best) *best = x;
    *wrong |= !(x <= FLT_MAX);
}

/* The largest logit, or -infinity where there is nothing to choose from: a NaN, +infinity, or nothing above -infinity. */
static float largest(const float *logits, int32_t n)
{
    float best[LANES];
    int wrong[LANES] = {0};
    for (int k = 0; k < LANES; k++) best[k] = -INFINITY;
    for (int32_t i = 0; i < n; i += LANES) {
        const int32_t left = n - i < LANES ? n - i : LANES;
        if (left < LANES) { /* the last few all in lane 0 */
            for (int32_t k = 0; k < left; k++) observe(logits[i + k], &best[0], &wrong[0]);
        } else {
            for (int k = 0; k < LANES; k++) observe(logits[i + k], &best[k], &wrong[k]);
        }
    }
    for (int k = 1; k < LANES; k++) {
        if (best[k] > best[0]) best[0] = best[k];
        wrong[0] |= wrong[k];
    }
    return wrong[0] ? -INFINITY : best[0];
}

int32_t sc_argmax(const float *logits, int32_t n)
{
    const float max = largest(logits, n);
    int32_t i = 0;
    if (max == -INFINITY) return -1;
    while (logits[i] != max) i++;
    return i;
}

int32_t sc_sample(int isa, const float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
                  uint64_t random, float *scratch)
{
    const float max = largest(logits, n);
    float inverse = 1.0f / temperature;
    if (max == -INFINITY) return -1;
    if (inverse > FLT_MAX) inverse = FLT_MAX; /* below T = 3e-39: 0 * infinity is no weight, and ties should share */
    if (inverse < FLT_MIN) inverse = FLT_MIN; /* so that -infinity * inverse stays -infinity */
    sc_kernels_get(isa)->softmax_weights(logits, (size_t)n, max, inverse, scratch);
    if (top_k > 0 && top_k < n) keep(find_cut(logits, n, COUNT, (uint64_t)top_k), logits, n, scratch);
    if (top_p < 1) keep(find_cut(scratch, n, MASS, part_of(total_of(scratch, n), top_p)), scratch, n, scratch);
    if (min_p > 0) {
        for (int32_t i = 0; i < n; i++) scratch[i] = scratch[i] < min_p ? 0 : scratch[i]; /* the largest weight is 1 */
    }
    return draw(scratch, n, random);
}
