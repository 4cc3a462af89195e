/* Hashes of lexemes to the grams that stand for a text: winnowing (Schleimer, Wilkerson and Aiken, 2003), in which a
 * window's choice depends only on that window, so that two texts that share a window share its choice. */
#include <string.h>

#include "attribution.h"

#define BASE UINT64_C(0x5851f42d4c957f2d) /* of the rolling hash, modulo 2^64 */
#define NEVER UINT64_MAX                  /* the hash of a gram that must not be chosen */

_Static_assert(SC_MAX_GRAM < 256, "a counter holds all lexemes of a gram");

/* The lexemes of a gram are counted by 12 bits of their hashes. */
static void count_in(sc_winnower *w, uint64_t hash) { w->different += w->counts[hash >> 52]++ == 0; }
static void count_out(sc_winnower *w, uint64_t hash) { w->different -= --w->counts[hash >> 52] == 0; }

/* The finalizer of splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void put(sc_winnower *w, uint64_t gram, uint64_t hash)
{
    w->grams[gram % w->window] = hash;
    if (gram == 0 || hash <= w->minimum) {
        w->best = gram;
        w->minimum = hash;
    } else if (gram - w->best >= w->window) {
        w->minimum = NEVER;
        for (uint64_t each = gram + 1 - w->window; each <= gram; each++)
            if (w->grams[each % w->window] <= w->minimum) {
                w->best = each;
                w->minimum = w->grams[each % w->window];
            }
    }
}

static void start(sc_winnower *w, const sc_winnowing *how, uint64_t window)
{
    memset(w, 0, sizeof *w);
    w->gram = how->gram;
    w->least = how->least;
    w->window = window;
    w->last = UINT64_MAX;
    w->leaving = 1;
    for (uint32_t i = 0; i < how->gram; i++) w->leaving *= BASE;
}

/* Goes on by a lexeme, `left` being the one a gram before it; returns whether its window chooses another gram. */
static int take(sc_winnower *w, uint64_t hash, uint64_t left)
{
    const uint64_t i = w->lexemes++;
    w->rolling = w->rolling * BASE + hash;
    count_in(w, hash);
    if (i >= w->gram) {
        w->rolling -= left * w->leaving;
        count_out(w, left);
    }
    if (i + 1 < w->gram) return 0;
    const uint64_t gram = i + 1 - w->gram;
    put(w, gram, w->different < w->least ? NEVER : mix(w->rolling));
    if (gram + 1 < w->window || w->best == w->last || w->minimum == NEVER) return 0;
    w->last = w->best;
    return 1;
}

/* Least hashes are not uniform, their hashes are. */
static uint32_t key_of(const sc_winnower *w) { return (uint32_t)(mix(w->minimum) >> 32); }

size_t sc_winnow(const uint64_t *hashes, size_t count, const sc_winnowing *how, uint32_t *keys, uint32_t *firsts)
{
    if (count < how->gram) return 0;
    const size_t grams = count - how->gram + 1;
    sc_winnower w;
    start(&w, how, grams < how->window ? grams : how->window);
    size_t chosen = 0;
    for (size_t i = 0; i < count; i++)
        if (take(&w, hashes[i], i >= how->gram ? hashes[i - how->gram] : 0)) {
            keys[chosen] = key_of(&w);
            firsts[chosen++] = (uint32_t)w.best;
        }
    return chosen;
}

size_t sc_fingerprints(const uint8_t *texts, const uint32_t *ends, size_t count, int renamed, const sc_winnowing *how,
                       uint32_t *starts, uint64_t *hashes, uint32_t *lexemes, uint32_t *grams, uint32_t *keys,
                       uint32_t *firsts)
{
    sc_winnowing narrow = *how;
    if (narrow.window > SC_SHORT_WINDOW) narrow.window = SC_SHORT_WINDOW;
    size_t at = 0, chosen = 0;
    for (size_t i = 0; i < count; at = ends[i++]) {
        const size_t n = sc_lexemes(texts + at, ends[i] - at, renamed, starts, hashes);
        lexemes[i] = (uint32_t)n;
        grams[i] = (uint32_t)sc_winnow(hashes, n, n < SC_SHORT_TEXT ? &narrow : how, keys + chosen, firsts + chosen);
        chosen += grams[i];
    }
    return chosen;
}

void sc_begin_following(sc_follower *f, const sc_winnowing *how)
{
    memset(f, 0, sizeof *f);
    start(&f->winnower, how, how->window);
}

size_t sc_follow(sc_follower *f, const uint8_t *text, size_t size, size_t at, int ended)
{
    sc_lexeme lexeme;
    f->paused = f->chosen = f->is_due = 0;
    while (!f->paused) {
        if (!sc_next_lexeme(text, size, at, &lexeme)) return size;
        if (lexeme.is_word && lexeme.end == size && !ended) return lexeme.start;
        uint64_t *place = &f->recent[f->winnower.lexemes % f->winnower.gram];
        f->chosen = take(&f->winnower, lexeme.hash, *place);
        *place = lexeme.hash;
        f->is_due = f->due && --f->due == 0;
        f->paused = f->chosen || f->is_due;
        at = lexeme.end;
    }
    f->key = key_of(&f->winnower);
    f->start = lexeme.start;
    return at;
}
