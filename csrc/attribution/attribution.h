/* Where a text comes from: lexemes, the hashes of runs of them that stand for it in an index, and runs that two texts
 * share. Python has checked every number; nothing here allocates, prints or raises. Texts have less than 2^31 bytes.
 * Every result depends only on the text, not on the machine. */
#ifndef SC_ATTRIBUTION_H
#define SC_ATTRIBUTION_H

#include <stddef.h>
#include <stdint.h>

/* cffi reads the declarations from here on. */

/* A lexeme is a run of letters, digits, "_", "$" and bytes from 0x80 on, or any other byte except white space, which
 * only separates. Writes each one's first byte and hash, and returns their number, at most `size`, for which both
 * arrays have room. `renamed`: all names share one hash, and so do all numbers; keywords keep their own. */
size_t sc_lexemes(const uint8_t *text, size_t size, int renamed, uint32_t *starts, uint64_t *hashes);

/* The end of the lexeme that begins at `start`. */
size_t sc_lexeme_end(const uint8_t *text, size_t size, size_t start);

enum { SC_MAX_GRAM = 64, SC_MAX_WINDOW = 64 };
/* How runs of lexemes, called grams, are chosen: in each window of `window` consecutive grams of `gram` lexemes, the
 * last of those with the least hash, of those that hold `least` different lexemes or more. A text with fewer grams is
 * one window. 1..SC_MAX_GRAM, 1..SC_MAX_WINDOW. */
typedef struct {
    uint32_t gram, window, least;
} sc_winnowing;
/* Writes the key of each chosen gram, and the index of its first lexeme, rising; returns their number, at most `count`,
 * for which both arrays have room. */
size_t sc_winnow(const uint64_t *hashes, size_t count, const sc_winnowing *how, uint32_t *keys, uint32_t *firsts);

/* The few grams that are chosen of a short text may be in thousands of others, which differ by a name. So of texts with
 * fewer than SC_SHORT_TEXT lexemes windows of SC_SHORT_WINDOW choose: all grams that larger ones would, and more. */
enum { SC_SHORT_TEXT = 128, SC_SHORT_WINDOW = 8 };
/* What is stored of `count` texts, each from the end of the one before: writes how many lexemes and grams each has, and
 * these grams as above, one text after another; returns how many in all. `starts`, `hashes`: room for the lexemes of
 * the longest one; `keys`, `firsts`: for those of all. */
size_t sc_fingerprints(const uint8_t *texts, const uint32_t *ends, size_t count, int renamed, const sc_winnowing *how,
                       uint32_t *starts, uint64_t *hashes, uint32_t *lexemes, uint32_t *grams, uint32_t *keys,
                       uint32_t *firsts);

/* Where winnowing stands in a text. */
typedef struct {
    uint64_t lexemes;                /* that were read */
    uint64_t rolling, leaving;       /* the hash of the last gram; what a lexeme that leaves it is multiplied by */
    uint64_t grams[SC_MAX_WINDOW];   /* hashes of the last ones, in a ring */
    uint64_t window, best, minimum;  /* in grams; the last gram with the least hash; that hash */
    uint64_t last;                   /* the gram that was chosen last */
    uint32_t gram, least, different; /* the last of the last gram */
    uint8_t counts[4096];            /* of the lexemes of the last gram, by 12 bits of their hashes */
} sc_winnower;

/* The same for a text that is still written. */
typedef struct {
    sc_winnower winnower;
    uint64_t recent[SC_MAX_GRAM]; /* hashes of the last lexemes, in a ring */
    size_t start;                 /* of the lexeme that was read last */
    uint32_t due;                 /* how many lexemes to read; 0 for all */
    uint32_t key;                 /* of the gram that was chosen */
    int paused, chosen, is_due;   /* whether reading paused, and why */
} sc_follower;

/* Begins a text. */
void sc_begin_following(sc_follower *f, const sc_winnowing *how);

/* Reads lexemes from byte `at` of a part of the text, whose words before have all been read: pauses after one that
 * makes its window choose a gram, or with which `due` becomes 0. The word at the end is read only if the text has
 * `ended`: it may go on. Returns the end of the lexeme after which it paused, or else where the word begins, or `size`.
 * A text of less than a window has no choices yet. */
size_t sc_follow(sc_follower *f, const uint8_t *text, size_t size, size_t at, int ended);

/* Lexemes around a[i] and b[j] that are the same in both: returns how many, and writes how many of them come before.
 * i < n and j < m; none if those two differ. */
size_t sc_shared_run(const uint64_t *a, size_t n, const uint64_t *b, size_t m, size_t i, size_t j, size_t *before);

/* cffi stops here. */

typedef struct {
    size_t start, end; /* bytes */
    uint64_t hash;
    int is_word;
} sc_lexeme;

/* The first lexeme from byte `at` on; returns 0 if there is none. */
int sc_next_lexeme(const uint8_t *text, size_t size, size_t at, sc_lexeme *lexeme);

#endif
