/* Hashes of lexemes to the grams that stand for a text: winnowing (Schleimer, Wilkerson and Aiken, 2003), in which a
 * window's choice depends only on that window, so that two texts that share a window share its choice. */
#include <string.h>

#include "attribution.h"

#define BASE UINT64_C(0x5851f42d4c957f2d) /* of the rolling hash, modulo 2^64 */
#define NEVER UINT64_MAX                  /* the hash of a gram that must not be chosen */

/* The lexemes of a gram, counted by 12 bits of their hashes. */
enum { COUNTERS = 4096 };
typedef struct {
    uint8_t of[COUNTERS];
    uint32_t different;
} variety;
_Static_assert(SC_MAX_GRAM < 256, "a counter holds all lexemes of a gram");

static void count_in(variety *v, uint64_t hash) { v->different += v->of[hash >> 52]++ == 0; }
static void count_out(variety *v, uint64_t hash) { v->different -= --v->of[hash >> 52] == 0; }

/* The finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The last grams, in a ring, and the one that their window chooses. */
typedef struct {
    uint64_t hashes[SC_MAX_WINDOW];
    size_t window;    /* in grams */
    size_t best;      /* the last gram with the least hash */
    uint64_t minimum; /* its hash */
} ring;

static void put(ring *r, size_t gram, uint64_t hash)
{
    r->hashes[gram % r->window] = hash;
    if (gram == 0 || hash <= r->minimum) {
        r->best = gram;
        r->minimum = hash;
    } else if (gram - r->best >= r->window) {
        r->minimum = NEVER;
        for (size_t each = gram + 1 - r->window; each <= gram; each++)
            if (r->hashes[each % r->window] <= r->minimum) {
                r->best = each;
                r->minimum = r->hashes[each % r->window];
            }
    }
}

size_t sc_winnow(const uint64_t *hashes, size_t count, const sc_winnowing *how, uint32_t *keys, uint32_t *firsts)
{
    const size_t gram = how->gram;
    if (count < gram) return 0;
    const size_t grams = count - gram + 1;
    ring r = {.window = grams < how->window ? grams : how->window};
    variety seen = {.different = 0};
    uint64_t rolling = 0, leaving = 1; /* BASE^gram: what the lexeme that leaves is multiplied by */
    for (size_t i = 0; i < gram; i++) leaving *= BASE;
    size_t chosen = 0, last = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        rolling = rolling * BASE + hashes[i];
        count_in(&seen, hashes[i]);
        if (i >= gram) {
            rolling -= hashes[i - gram] * leaving;
            count_out(&seen, hashes[i - gram]);
        }
        if (i + 1 < gram) continue;
        const size_t at = i + 1 - gram;
        put(&r, at, seen.different < how->least ? NEVER : mix(rolling));
        if (at + 1 < r.window || r.best == last || r.minimum == NEVER) continue;
        last = r.best;
        keys[chosen] = (uint32_t)(mix(r.minimum) >> 32); /* least hashes are not uniform, their hashes are */
        firsts[chosen++] = (uint32_t)last;
    }
    return chosen;
}
