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
#define FEW 4096       /* tokens that are worth copying out of the vocabulary */
#define STRETCHES 1024 /* of a vocabulary at most: they are longer where it has more than 2^16 tokens */
_Static_assert(STRETCHES <= FEW, "their maxima are a case of few tokens");

__extension__ typedef unsigned __int128 u128;

/* What a filter leaves out: everything below a value, and of what equals it the `ties` with the highest ids. */
typedef struct {
    uint32_t bits; /* of the value, or its key */
    uint64_t ties;
} filter;

/* How tokens are measured: as one each, or by weight. */
typedef enum { COUNT, MASS } measure;

/* A vocabulary in stretches of tokens: what each holds at most, so that most of them need no second look. */
typedef struct {
    int32_t length, count;
    float max[STRETCHES];     /* of the logits */
    uint64_t mass[STRETCHES]; /* of the weights */
} stretches;

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

/* Makes `nothing` of what is below `value`, and of the last `ties` that equal it. */
static void apply(float *x, int32_t n, float value, uint64_t ties, float nothing)
{
    for (int32_t i = n; ties;) {
        if (x[--i] != value) continue;
        x[i] = nothing;
        ties--;
    }
    for (int32_t i = 0; i < n; i++) x[i] = x[i] < value ? nothing : x[i];
}

static int32_t end_of(const stretches *s, int32_t stretch, int32_t n)
{
    return stretch + 1 < s->count ? (stretch + 1) * s->length : n;
}

/* Copies what is `low` or more, and its ids, which rise: of logits (COUNT) or weights (MASS). Returns their number, or 0 when
 * more than FEW are. */
static int32_t gather(const float *x, int32_t n, measure by, float low, const stretches *s, float *few, int32_t *ids)
{
    int32_t count = 0;
    const uint64_t mass = by == MASS ? mass_of(low) : 0;
    for (int32_t b = 0; b < s->count; b++) {
        if (by == MASS ? s->mass[b] < mass : s->max[b] < low) continue;
        for (int32_t i = b * s->length; i < end_of(s, b, n); i++) {
            if (!(x[i] >= low)) continue;
            if (count == FEW) return 0;
            few[count] = x[i];
            ids[count++] = i;
        }
    }
    return count;
}

static uint64_t total_of(const stretches *s)
{
    uint64_t total = 0;
    for (int32_t b = 0; b < s->count; b++) total += s->mass[b];
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
static int32_t draw(const float *weights, const stretches *s, uint64_t random)
{
    uint64_t left = (uint64_t)((u128)random * total_of(s) >> 64);
    int32_t b = 0;
    while (left >= s->mass[b]) left -= s->mass[b++];
    int32_t i = b * s->length;
    for (uint64_t mass; left >= (mass = mass_of(weights[i])); i++) left -= mass;
    return i;
}

static void divide(int32_t n, stretches *s)
{
    const int32_t unit = 64 * STRETCHES;
    s->length = (n + unit - 1) / unit * 64;
    s->count = (n + s->length - 1) / s->length;
}

/* Divides the logits into stretches. Returns the largest, or -infinity when nothing can be chosen: one is NaN or +infinity,
 * or none is above -infinity. */
static float largest(const sc_kernels *kernels, const float *logits, int32_t n, stretches *s)
{
    float max = -INFINITY;
    divide(n, s);
    if (!kernels->logit_maxima(logits, (size_t)n, (size_t)s->length, s->max)) return max;
    for (int32_t b = 0; b < s->count; b++) max = s->max[b] > max ? s->max[b] : max;
    return max;
}

int32_t sc_argmax(int isa, const float *logits, int32_t n)
{
    stretches s;
    const unsigned long long state = sc_float_state_default();
    const float max = largest(sc_kernels_get(isa), logits, n, &s);
    int32_t b = 0, i = -1;
    if (max != -INFINITY) {
        while (s.max[b] != max) b++;
        for (i = b * s.length; logits[i] != max;) i++;
    }
    sc_float_state_restore(state);
    return i;
}

/* Tokens that may be chosen: x is their logits, later their weights; ids, unless NULL, what they are in the vocabulary. */
typedef struct {
    float *x;
    const int32_t *ids;
    int32_t n;
} candidates;

/* Top-k: makes all other logits -infinity, after copying what may stay to few, if it fits. The k largest maxima of stretches
 * are k logits: none below the least of them is among the k largest of all. */
static candidates filter_logits(candidates all, int32_t top_k, const stretches *s, float *few, int32_t *ids)
{
    if (top_k <= s->count) {
        for (int32_t b = 0; b < s->count; b++) few[b] = float_of(key_of(s->max[b]));
        const float low = float_of_key(find_filter(few, s->count, COUNT, (uint64_t)top_k).bits);
        const int32_t count = gather(all.x, all.n, COUNT, low, s, few, ids);
        if (count) all = (candidates){few, ids, count};
    }
    for (int32_t i = 0; i < all.n; i++) all.x[i] = float_of(key_of(all.x[i]));
    const filter top = find_filter(all.x, all.n, COUNT, (uint64_t)top_k);
    for (int32_t i = 0; i < all.n; i++) all.x[i] = float_of_key(bits_of(all.x[i]));
    apply(all.x, all.n, float_of_key(top.bits), top.ties, -INFINITY);
    return all;
}

/* The weights that the temperature gives, and their masses. Stretches of which nothing can be drawn are not worth an exp:
 * their weights are 0. */
static void weigh(const sc_kernels *kernels, candidates all, float max, float temperature, stretches *s)
{
    const float least = -28; /* e^-28 < 2^-39 */
    float inverse = 1.0f / temperature;
    if (inverse > FLT_MAX) inverse = FLT_MAX; /* T < 3e-39; 0 * infinity is no number, and FLT_MAX as good as greedy */
    if (inverse < FLT_MIN) inverse = FLT_MIN; /* T > 8e37; -infinity * inverse must stay -infinity */
    for (int32_t b = 0, end; b < s->count; b = end) {
        const int live = (s->max[b] - max) * inverse > least;
        for (end = b + 1; end < s->count && ((s->max[end] - max) * inverse > least) == live; end++) continue;
        const int32_t first = b * s->length;
        const size_t tokens = (size_t)(end_of(s, end - 1, all.n) - first);
        float *x = all.x + first;
        if (live) {
            kernels->softmax_weights(x, tokens, max, inverse, x);
            kernels->weight_masses(x, tokens, (size_t)s->length, s->mass + b);
        } else {
            memset(x, 0, tokens * sizeof *x);
            memset(s->mass + b, 0, (size_t)(end - b) * sizeof *s->mass);
        }
    }
}

/* The least weight that top-p and min-p may keep, of weights that make `total`; 0 if they are off. Tokens below, even all
 * together, weigh too little for top-p. */
static float least_weight(uint64_t total, uint64_t target, int32_t n, float top_p, float min_p)
{
    if (top_p >= 1) return min_p;
    const float bound = (float)((total - target) / (uint64_t)n) / ONE * 0.999999f; /* less than one could say: rounding */
    return float_of(bits_of(bound) + 1);
}

/* Top-p and min-p: takes the weight of what they leave out, after copying what may stay to few, if it fits. Masses are then
 * those of what is returned. */
static candidates filter_weights(const sc_kernels *kernels, candidates all, float top_p, float min_p, stretches *s,
                                 float *few, int32_t *ids)
{
    const uint64_t total = total_of(s), target = top_p < 1 ? part_of(total, top_p) : total;
    const float least = least_weight(total, target, all.n, top_p, min_p);
    const int32_t count = all.ids ? 0 : gather(all.x, all.n, MASS, least, s, few, ids);
    if (count) all = (candidates){few, ids, count};
    if (top_p < 1) {
        const filter top = find_filter(all.x, all.n, MASS, target);
        apply(all.x, all.n, float_of(top.bits), top.ties, 0);
    }
    if (min_p > 0) apply(all.x, all.n, min_p, 0, 0); /* the largest weight is 1 */
    divide(all.n, s);
    kernels->weight_masses(all.x, (size_t)all.n, (size_t)s->length, s->mass);
    return all;
}

static int32_t sample(const sc_kernels *kernels, candidates all, float temperature, int32_t top_k, float top_p, float min_p,
                      uint64_t random)
{
    stretches s;
    float few[FEW];
    int32_t ids[FEW];
    const float max = largest(kernels, all.x, all.n, &s);
    if (max == -INFINITY) return -1;
    if (top_k > 0 && top_k < all.n) { /* by logit: distinct logits may have equal weights */
        all = filter_logits(all, top_k, &s, few, ids);
        largest(kernels, all.x, all.n, &s);
    }
    weigh(kernels, all, max, temperature, &s);
    if (top_p < 1 || min_p > 0) all = filter_weights(kernels, all, top_p, min_p, &s, few, ids);
    const int32_t chosen = draw(all.x, &s, random);
    return all.ids ? all.ids[chosen] : chosen;
}

int32_t sc_sample(int isa, float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
                  uint64_t random)
{
    const unsigned long long state = sc_float_state_default();
    const candidates all = {logits, NULL, n};
    const int32_t token = sample(sc_kernels_get(isa), all, temperature, top_k, top_p, min_p, random);
    sc_float_state_restore(state);
    return token;
}
