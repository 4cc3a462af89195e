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

/* Lexemes around a[i] and b[j] that are the same in both: returns how many, and writes how many of them come before.
 * i < n and j < m; none if those two differ. */
size_t sc_shared_run(const uint64_t *a, size_t n, const uint64_t *b, size_t m, size_t i, size_t j, size_t *before);

/* cffi stops here. */

#endif
