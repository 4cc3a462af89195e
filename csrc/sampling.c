/* Choosing the next token. Weights become whole numbers, and every decision after that is exact integer arithmetic: the
 * same logits and the same random bits give the same token on every machine. Nothing is sorted: a radix select finds
 * where a filter cuts, in three passes whatever the distribution. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "santacoder.h"
#include "threads.h"

/* The largest weight, 1, as a whole number. Vocabularies have at most 2^24 tokens, so a sum is at most 2^63. Tokens
 * that are 2^39 times less probable than the first are never drawn. */
#define ONE 549755813888.0f /* 2^39 */

#define BINS 2048
#define LANES 16 /* running maxima, so that none waits for itself */
#define FEW 4096 /* tokens that are worth copying out of the vocabulary */

__extension__ typedef unsigned __int128 u128;

/* What a filter leaves out: everything below a value, and of what equals it the `ties` with the highest ids. */
typedef struct {
    uint32_t bits; /* of the value, or its key */
    uint64_t ties;
} filter;

/* How tokens are measured: as one each, or by weight. */
typedef enum { COUNT, MASS } measure;

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Integers that rise with the floats, one for both zeros; not for NaN. And back. */
static inline uint32_t key_of(float x)
{
    const uint32_t bits = bits_of(x + 0.0f); /* -0 becomes 0 */
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}
static inline float float_of_key(uint32_t key) { return float_of(key ^ (key >> 31 ? 0x80000000u : 0xFFFFFFFFu)); }

static inline uint64_t mass_of(float weight) { return (uint64_t)(int64_t)(weight * ONE); } /* signed: one instruction */
static inline uint64_t measure_of(float x, measure by) { return by == COUNT ? 1 : mass_of(x); }

static inline void tally(float x, measure by, int shift, uint32_t first, uint64_t *bins)
{
    const uint32_t bin = (bits_of(x) >> shift) - first;
    if (bin < BINS) bins[bin] += measure_of(x, by);
}

/* bins[b] = the measure of all x whose bits, shifted down, are first + b. */
static inline void histogram(const float *x, int32_t n, measure by, int shift, uint32_t first, uint64_t *bins)
{
    uint64_t odd[BINS] = {0}; /* a second table: or equal neighbours would wait for each other's sum */
    int32_t i = 0;
    memset(bins, 0, BINS * sizeof *bins);
    for (; i + 2 <= n; i += 2) {
        tally(x[i], by, shift, first, bins);
        tally(x[i + 1], by, shift, first, odd);
    }
    if (i < n) tally(x[i], by, shift, first, bins);
    for (int b = 0; b < BINS; b++) bins[b] += odd[b];
}

/* The filter that keeps the fewest x that measure `target` or more together, by falling bits and then rising id. x
 * holds keys to COUNT, or weights to take the MASS of; 1 <= target <= the measure of all. */
static inline filter find_filter(const float *x, int32_t n, measure by, uint64_t target)
{
    static const struct {
        int shift, bits;
    } levels[] = {{21, 11}, {10, 11}, {0, 10}};
    uint64_t bins[BINS];
    uint32_t found = 0;
    for (int level = 0; level < 3; level++) {
        const uint32_t first = found << levels[level].bits;
        uint32_t bin = (1u << levels[level].bits) - 1;
        histogram(x, n, by, levels[level].shift, first, bins);
        while (bins[bin] < target) target -= bins[bin--];
        found = first + bin;
    }
    /* All that is left is equal and measures something: of `equal` one by one, enough stay to reach the target. */
    const uint64_t each = measure_of(float_of(found), by), equal = bins[found & 1023] / each;
    return (filter){found, equal - (target + each - 1) / each};
}

/* Takes their weight from all tokens that the filter leaves out; x, logits or the weights themselves, is what it is
 * about. */
static void apply(const float *x, float value, uint64_t ties, int32_t n, float *weights)
{
    for (int32_t i = n; ties;) {
        if (x[--i] != value) continue;
        weights[i] = 0;
        ties--;
    }
    for (int32_t i = 0; i < n; i++) weights[i] = x[i] < value ? 0 : weights[i];
}

/* Copies the weights above `bound` and their ids, which rise. Returns their number, or 0 when more than FEW are. */
static int32_t gather(const float *weights, int32_t n, float bound, float *few, int32_t *ids)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!(weights[i] > bound)) continue;
        if (count == FEW) return 0;
        few[count] = weights[i];
        ids[count++] = i;
    }
    return count;
}

static uint64_t total_of(const float *weights, int32_t n)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < n; i++) total += mass_of(weights[i]);
    return total;
}

/* The least mass that is the part p of `total` or more, and not 0; 0 <= p < 1. */
static uint64_t part_of(uint64_t total, float p)
{
    const uint64_t fraction = (uint64_t)(p * 18446744073709551616.0f); /* of 2^64; exact for p >= 2^-40 */
    const uint64_t part = (uint64_t)(((u128)fraction * total + UINT64_MAX) >> 64);
    return part ? part : 1;
}

/* The token, in the order of ids, on which `random` of 2^64 falls. Some weight is 1. */
static int32_t draw(const float *weights, int32_t n, uint64_t random)
{
    uint64_t left = (uint64_t)((u128)random * total_of(weights, n) >> 64);
    int32_t i = 0;
    for (uint64_t sum; i + 64 <= n && left >= (sum = total_of(weights + i, 64)); i += 64) left -= sum;
    for (uint64_t mass; left >= (mass = mass_of(weights[i])); i++) left -= mass;
    return i;
}

static inline void observe(float x, float *best, int *wrong)
{
    *best = x > *best ? x : *best;
    *wrong |= !(x <= FLT_MAX);
}

/* The largest logit, or -infinity when nothing can be chosen: one is NaN or +infinity, or none is above -infinity. */
static float largest(const float *logits, int32_t n)
{
    float best[LANES];
    int wrong[LANES] = {0};
    int32_t i = 0;
    for (int k = 0; k < LANES; k++) best[k] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) observe(logits[i + k], &best[k], &wrong[k]);
    for (; i < n; i++) observe(logits[i], &best[0], &wrong[0]);
    for (int k = 1; k < LANES; k++) {
        best[0] = best[k] > best[0] ? best[k] : best[0];
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

/* The weights that the temperature gives and top-k leaves. */
static void weigh(int isa, const float *logits, int32_t n, float max, float temperature, int32_t top_k, float *weights)
{
    const int selects = top_k > 0 && top_k < n;
    float inverse = 1.0f / temperature;
    filter top = {0, 0};
    if (inverse > FLT_MAX) inverse = FLT_MAX; /* T < 3e-39; 0 * infinity is no number, and FLT_MAX as good as greedy */
    if (inverse < FLT_MIN) inverse = FLT_MIN; /* T > 8e37; -infinity * inverse must stay -infinity */
    if (selects) { /* by logit: distinct logits may have equal weights */
        for (int32_t i = 0; i < n; i++) weights[i] = float_of(key_of(logits[i]));
        top = find_filter(weights, n, COUNT, (uint64_t)top_k);
    }
    sc_kernels_get(isa)->softmax_weights(logits, (size_t)n, max, inverse, weights);
    if (selects) apply(logits, float_of_key(top.bits), top.ties, n, weights);
}

static int32_t sample(int isa, const float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
                      uint64_t random, float *scratch)
{
    float few[FEW], *weights = scratch;
    int32_t ids[FEW], gathered = 0;
    uint64_t target = 0;
    float bound = 0;
    const float max = largest(logits, n);
    if (max == -INFINITY) return -1;
    weigh(isa, logits, n, max, temperature, top_k, scratch);
    if (top_p < 1) { /* tokens up to `bound` weigh too little, even all together, to be kept */
        const uint64_t total = total_of(scratch, n);
        target = part_of(total, top_p);
        bound = (float)((total - target) / (uint64_t)n) / ONE * 0.999999f; /* less than one could say: rounding */
    }
    if (top_p < 1 || (top_k > 0 && top_k <= FEW)) gathered = gather(scratch, n, bound, few, ids);
    if (gathered) {
        weights = few;
        n = gathered;
    }
    if (top_p < 1) {
        const filter top = find_filter(weights, n, MASS, target);
        apply(weights, float_of(top.bits), top.ties, n, weights);
    }
    if (min_p > 0) {
        for (int32_t i = 0; i < n; i++) weights[i] = weights[i] < min_p ? 0 : weights[i]; /* the largest is 1 */
    }
    const int32_t chosen = draw(weights, n, random);
    return gathered ? ids[chosen] : chosen;
}

int32_t sc_sample(int isa, const float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
                  uint64_t random, float *scratch)
{
    const unsigned long long state = sc_float_state_default();
    const int32_t token = sample(isa, logits, n, temperature, top_k, top_p, min_p, random, scratch);
    sc_float_state_restore(state);
    return token;
}
