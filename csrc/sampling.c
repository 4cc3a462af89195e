/* Choosing the next token. Weights become integers, and every decision after that is exact integer arithmetic: the same
 * logits and the same random bits give the same token on every machine. Nothing is sorted: a radix select finds where a
 * filter cuts, in at most five passes whatever the distribution. Filters: top-k (Fan et al., 2018), top-p (Holtzman et
 * al., 2020), min-p (Nguyen et al., 2024). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "isa/isa.h"
#include "santacoder.h"

/* The largest weight, 1, as an integer. Vocabularies have at most 2^24 tokens, so a sum is at most 2^63. Tokens that
 * are 2^39 times less probable than the first are never drawn. */
#define ONE 549755813888.0f /* 2^39 */

#define BINS 2048           /* most bins of a level */
#define TABLES 2            /* tables of that many bins; more tables of fewer bins */
#define MAX_CANDIDATES 4096 /* most tokens that are worth copying out of the vocabulary */
#define MAX_BUCKETS 1024    /* most buckets of a vocabulary: they are longer where it has more than 2^16 tokens */
_Static_assert(MAX_BUCKETS <= MAX_CANDIDATES, "find_filter takes their maxima");

__extension__ typedef unsigned __int128 u128;

/* What a filter drops: everything below a value, and, of those equal to it, the `ties` with the highest ids. */
typedef struct {
    uint32_t bits; /* bits of the value, or of its key */
    uint64_t ties;
} filter;

/* How tokens are weighted: one each, or by mass. */
typedef enum { COUNT, MASS } weighting;

/* A vocabulary in buckets of consecutive tokens, with a bound on what each holds, so that most of them can be
 * skipped. */
typedef struct {
    int32_t length, count;
    float max[MAX_BUCKETS];     /* of the logits, before a filter */
    uint64_t mass[MAX_BUCKETS]; /* of the weights */
} buckets;

/* What a draw works in: too much for the stack of a thread, which has 128 KB on musl. */
typedef struct {
    uint64_t bins[TABLES * BINS];
    buckets all;
    float kept[MAX_CANDIDATES];
    int32_t ids[MAX_CANDIDATES];
} workspace;

size_t sc_sample_bytes(void) { return sizeof(workspace); }

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

/* Maps floats to integers in the same order, one for both zeros, and back. Not for NaN. */
static inline uint32_t key_of(float x)
{
    const uint32_t bits = bits_of(x + 0.0f); /* -0 becomes 0 */
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}
static inline float float_of_key(uint32_t key) { return float_of(key ^ (key >> 31 ? 0x80000000u : 0xFFFFFFFFu)); }

static inline uint64_t mass_of(float weight) { return (uint64_t)(int64_t)(weight * ONE); } /* signed: one instruction */
static inline uint64_t count_of(float x, weighting by) { return by == COUNT ? 1 : mass_of(x); }

/* A level of the search: bins of x by the `bits` bits of its float from bit `shift` on, where all bits above them equal
 * `above`. */
typedef struct {
    int shift, bits;
    uint32_t above;
} level;

static inline void tally(float x, weighting by, level l, uint64_t *bins)
{
    const uint32_t bin = (bits_of(x) >> l.shift) - (l.above << l.bits);
    if (bin < 1u << l.bits) bins[bin] += count_of(x, by);
}

/* bins[b] = the total weighting of all x in bin b. Several tables take turns: with one, equal neighbours would
 * serialize on one counter (store-to-load latency). */
INLINE void histogram(const float *x, int32_t n, weighting by, level l, uint64_t bins[TABLES * BINS])
{
    const int size = 1 << l.bits, tables = TABLES * BINS / size < 4 ? TABLES : 4;
    uint64_t *second = bins + size, *third = bins + 2 % tables * size, *fourth = bins + 3 % tables * size;
    int32_t i = 0;
    memset(bins, 0, (size_t)(tables * size) * sizeof *bins);
    for (; i + 4 <= n; i += 4) {
        tally(x[i], by, l, bins);
        tally(x[i + 1], by, l, second);
        tally(x[i + 2], by, l, third);
        tally(x[i + 3], by, l, fourth);
    }
    for (; i < n; i++) tally(x[i], by, l, bins);
    for (int t = 1; t < tables; t++)
        for (int b = 0; b < size; b++) bins[b] += bins[t * size + b];
}

/* Copies the x of one bin. Returns their number; if it is MAX_CANDIDATES or more, the copy is incomplete. */
static inline uint32_t narrow(const float *x, int32_t n, int shift, uint32_t bin, float kept[MAX_CANDIDATES])
{
    uint32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        kept[count % MAX_CANDIDATES] = x[i]; /* without a branch, which would be unpredictable */
        count += bits_of(x[i]) >> shift == bin;
    }
    return count;
}

/* Finds the filter that keeps the fewest x with a total weighting of `target` or more, in the order of falling bits,
 * then rising id. x holds keys to COUNT, or weights to take the MASS of; 1 <= target <= the total of all. `kept` is
 * used if n > MAX_CANDIDATES; else it may be x. */
INLINE filter find_filter(const float *x, int32_t n, weighting by, uint64_t target, float kept[MAX_CANDIDATES],
                          uint64_t bins[TABLES * BINS])
{
    const level levels[] = {{21, by == MASS ? 9 : 11, 0}, {10, 11, 0}, {0, 10, 0}}; /* no weight is above 1 */
    uint32_t found = 0;
    for (int i = 0; i < 3; i++) {
        level l = levels[i];
        uint32_t bin = (1u << l.bits) - 1;
        l.above = found;
        histogram(x, n, by, l, bins);
        while (bins[bin] < target) target -= bins[bin--];
        found = (found << l.bits) + bin;
        if (n <= MAX_CANDIDATES || i == 2) continue;
        const uint32_t count = narrow(x, n, l.shift, found, kept);
        if (count >= MAX_CANDIDATES) continue;
        x = kept;
        n = (int32_t)count;
    }
    /* All x that are left are equal, with a weighting above 0: of `equal` of them, keep just enough to reach the
     * target. */
    const uint64_t each = count_of(float_of(found), by), equal = bins[found & 1023] / each;
    return (filter){found, equal - (target + each - 1) / each};
}

/* Replaces the last `ties` x that equal `value` by `nothing`. */
static void drop_ties(float *x, int32_t n, float value, uint64_t ties, float nothing)
{
    for (int32_t i = n; ties;) {
        if (x[--i] != value) continue;
        x[i] = nothing;
        ties--;
    }
}

static int32_t end_of(const buckets *s, int32_t bucket, int32_t n)
{
    return bucket + 1 < s->count ? (bucket + 1) * s->length : n;
}

/* Copies logits (COUNT) or weights (MASS) that are `low` or more, and their ids, in rising order. Returns their number,
 * or 0 when there are more than MAX_CANDIDATES. */
static int32_t gather(const float *x, int32_t n, weighting by, float low, const buckets *s, float *kept, int32_t *ids)
{
    int32_t count = 0;
    const uint64_t mass = by == MASS ? mass_of(low) : 0;
    for (int32_t b = 0; b < s->count; b++) {
        if (by == MASS ? s->mass[b] < mass : s->max[b] < low) continue;
        for (int32_t i = b * s->length; i < end_of(s, b, n); i++) {
            if (!(x[i] >= low)) continue;
            if (count == MAX_CANDIDATES) return 0;
            kept[count] = x[i];
            ids[count++] = i;
        }
    }
    return count;
}

static uint64_t total_of(const buckets *s)
{
    uint64_t total = 0;
    for (int32_t b = 0; b < s->count; b++) total += s->mass[b];
    return total;
}

/* The least mass that is at least the fraction p of `total`, and not 0; 0 <= p < 1. */
static uint64_t part_of(uint64_t total, float p)
{
    const uint64_t fraction = (uint64_t)(p * 18446744073709551616.0f); /* of 2^64; exact for p >= 2^-40 */
    const uint64_t part = (uint64_t)(((u128)fraction * total + UINT64_MAX) >> 64);
    return part ? part : 1;
}

/* The token, in the order of ids, on which `random` of 2^64 falls. Weights below `least` count as 0; at least one
 * weight is 1. */
static int32_t draw(const float *weights, const buckets *s, float least, uint64_t random)
{
    uint64_t left = (uint64_t)((u128)random * total_of(s) >> 64);
    int32_t b = 0;
    while (left >= s->mass[b]) left -= s->mass[b++];
    int32_t i = b * s->length;
    for (uint64_t mass; left >= (mass = weights[i] < least ? 0 : mass_of(weights[i])); i++) left -= mass;
    return i;
}

static void divide(int32_t n, buckets *s)
{
    const int32_t unit = 64 * MAX_BUCKETS;
    s->length = (n + unit - 1) / unit * 64;
    s->count = (n + s->length - 1) / s->length;
}

/* Divides the logits into buckets. Returns the largest, or -infinity when no token can be chosen: one is NaN or
 * +infinity, or none is above -infinity. */
static float largest(const sc_kernels *kernels, const float *logits, int32_t n, buckets *s)
{
    float max = -INFINITY;
    divide(n, s);
    if (!kernels->logit_maxima(logits, (size_t)n, (size_t)s->length, s->max)) return max;
    for (int32_t b = 0; b < s->count; b++) max = s->max[b] > max ? s->max[b] : max;
    return max;
}

int32_t sc_argmax(int isa, const float *logits, int32_t n)
{
    buckets s;
    const unsigned long long state = sc_fpenv_default();
    const float max = largest(sc_kernels_get(isa), logits, n, &s);
    int32_t b = 0, i = -1;
    if (max != -INFINITY) {
        while (s.max[b] != max) b++;
        for (i = b * s.length; logits[i] != max;) i++;
    }
    sc_fpenv_restore(state);
    return i;
}

/* Without a branch: nobody could predict it. */
static inline float keep_if(int kept, float x)
{
    const uint32_t mask = 0u - (uint32_t)kept;
    return float_of((bits_of(x) & mask) | (bits_of(-INFINITY) & ~mask));
}

void sc_restrict(float *restrict logits, const int32_t *restrict ranks, int32_t n, int32_t first, int32_t last)
{
    const uint32_t size = (uint32_t)(last - first);
    int32_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int32_t j = i; j < i + 16; j++) logits[j] = keep_if((uint32_t)(ranks[j] - first) < size, logits[j]);
    for (; i < n; i++) logits[i] = keep_if((uint32_t)(ranks[i] - first) < size, logits[i]);
}

/* Tokens that may be chosen. x: their logits, later their weights; ids: their ids in the vocabulary, or NULL if x is
 * all of it. */
typedef struct {
    float *x;
    const int32_t *ids;
    int32_t n;
} candidates;

/* Top-k: makes all other logits -infinity, after copying what may stay to kept, if it fits. The k largest bucket maxima
 * are k logits, so no logit below the least of them is among the k largest of all. */
static candidates apply_top_k(const sc_kernels *kernels, candidates all, int32_t top_k, workspace *w)
{
    buckets *s = &w->all;
    float *kept = w->kept;
    if (top_k <= s->count) {
        for (int32_t b = 0; b < s->count; b++) kept[b] = float_of(key_of(s->max[b]));
        const float low = float_of_key(find_filter(kept, s->count, COUNT, (uint64_t)top_k, kept, w->bins).bits);
        const int32_t count = gather(all.x, all.n, COUNT, low, s, kept, w->ids);
        if (count) {
            all = (candidates){kept, w->ids, count};
            largest(kernels, kept, count, s);
        }
    }
    for (int32_t i = 0; i < all.n; i++) all.x[i] = float_of(key_of(all.x[i]));
    const filter top = find_filter(all.x, all.n, COUNT, (uint64_t)top_k, kept, w->bins);
    for (int32_t i = 0; i < all.n; i++)
        all.x[i] = bits_of(all.x[i]) < top.bits ? -INFINITY : float_of_key(bits_of(all.x[i]));
    drop_ties(all.x, all.n, float_of_key(top.bits), top.ties, -INFINITY);
    return all;
}

/* Whether any token of a bucket whose largest logit is `logit` can be drawn: e^-28 < 2^-39. */
static int is_live(float logit, float max, float inverse_temperature)
{
    return (logit - max) * inverse_temperature > -28;
}

/* Computes weights by temperature, and their masses. Buckets of which nothing can be drawn are not worth an exp: their
 * weights are 0. */
static void weigh(const sc_kernels *kernels, candidates all, float max, float temperature, buckets *s)
{
    float inverse = 1.0f / temperature;
    if (inverse > FLT_MAX) inverse = FLT_MAX; /* T < 3e-39: 0 * infinity is NaN, and FLT_MAX as good as greedy */
    if (inverse < FLT_MIN) inverse = FLT_MIN; /* T > 8e37; -infinity * inverse must stay -infinity */
    for (int32_t b = 0, end; b < s->count; b = end) {
        const int live = is_live(s->max[b], max, inverse);
        for (end = b + 1; end < s->count && is_live(s->max[end], max, inverse) == live; end++) continue;
        const int32_t first = b * s->length;
        const size_t tokens = (size_t)(end_of(s, end - 1, all.n) - first);
        float *x = all.x + first;
        if (live) {
            kernels->softmax_weights(x, tokens, max, inverse, x);
            kernels->weight_masses(x, tokens, (size_t)s->length, 0, s->mass + b);
        } else {
            memset(x, 0, tokens * sizeof *x);
            memset(s->mass + b, 0, (size_t)(end - b) * sizeof *s->mass);
        }
    }
}

/* The least weight that top-p may keep: all tokens below it together weigh too little. */
static float least_of_top(uint64_t total, uint64_t target, int32_t n)
{
    /* A little less than exact, against rounding. */
    const float bound = (float)((total - target) / (uint64_t)n) / ONE * 0.999999f;
    return float_of(bits_of(bound) + 1);
}

/* Top-p and min-p: copies what may stay to kept, if it fits. Returns the least weight that stays; masses are then those
 * of what stays. */
static float apply_top_p_min_p(const sc_kernels *kernels, candidates *all, float top_p, float min_p, workspace *w)
{
    buckets *s = &w->all;
    const uint64_t total = total_of(s), target = top_p < 1 ? part_of(total, top_p) : total;
    float least = top_p < 1 ? least_of_top(total, target, all->n) : min_p;
    const int32_t count = all->ids ? 0 : gather(all->x, all->n, MASS, least, s, w->kept, w->ids);
    if (count) *all = (candidates){w->kept, w->ids, count};
    if (top_p < 1) {
        const filter top = find_filter(all->x, all->n, MASS, target, w->kept, w->bins);
        drop_ties(all->x, all->n, float_of(top.bits), top.ties, 0);
        least = float_of(top.bits);
    }
    if (min_p > least) least = min_p; /* the largest weight is 1 */
    divide(all->n, s);
    kernels->weight_masses(all->x, (size_t)all->n, (size_t)s->length, least, s->mass);
    return least;
}

static int sample(const sc_kernels *kernels, candidates all, float temperature, int32_t top_k, float top_p,
                  float min_p, const uint64_t *random, int32_t count, int32_t *tokens, workspace *w)
{
    buckets *s = &w->all;
    float least = 0;
    const float max = largest(kernels, all.x, all.n, s);
    if (max == -INFINITY) return 0;
    if (top_k > 0 && top_k < all.n) /* by logit: distinct logits may have equal weights */
        all = apply_top_k(kernels, all, top_k, w);
    weigh(kernels, all, max, temperature, s);
    if (top_p < 1 || min_p > 0) least = apply_top_p_min_p(kernels, &all, top_p, min_p, w);
    for (int32_t i = 0; i < count; i++) {
        const int32_t chosen = draw(all.x, s, least, random[i]);
        tokens[i] = all.ids ? all.ids[chosen] : chosen;
    }
    return 1;
}

int sc_sample(int isa, float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
              const uint64_t *random, int32_t count, int32_t *tokens, void *workspace)
{
    const unsigned long long state = sc_fpenv_default();
    const candidates all = {logits, NULL, n};
    const int done =
        sample(sc_kernels_get(isa), all, temperature, top_k, top_p, min_p, random, count, tokens, workspace);
    sc_fpenv_restore(state);
    return done;
}
