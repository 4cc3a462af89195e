/* Text to lexemes. One pass, the same for every language: see attribution.h. */
#include <string.h>

#include "attribution.h"

enum { SPACE, WORD, SIGN };

/* The kind of each byte. */
static const uint8_t kinds[256] = {
#define SIGNS4 SIGN, SIGN, SIGN, SIGN
#define WORDS2 WORD, WORD
#define WORDS10 WORDS2, WORDS2, WORDS2, WORDS2, WORDS2
#define WORDS26 WORDS10, WORDS10, WORDS2, WORDS2, WORDS2
#define WORDS32 WORDS26, WORDS2, WORDS2, WORDS2
    SIGNS4, SIGNS4, SIGN, SPACE, SPACE, SPACE, SPACE, SPACE, SIGN, SIGN, /* 0: \t \n \v \f \r */
    SIGNS4, SIGNS4, SIGNS4, SIGNS4,                                      /* 16 */
    SPACE, SIGN, SIGN, SIGN, WORD, SIGN, SIGN, SIGN, SIGNS4, SIGNS4,     /* 32: blank, $ */
    WORDS10, SIGN, SIGN, SIGNS4, SIGN,                                   /* 48: digits; 64: @ */
    WORDS26, SIGNS4, WORD, SIGN,                                         /* 65: A-Z; 95: _ */
    WORDS26, SIGNS4, SIGN,                                               /* 97: a-z */
    WORDS32, WORDS32, WORDS32, WORDS32                                   /* 128 */
};

/* Words that `renamed` keeps, by length: those of Python, JavaScript and Java, each padded with blanks. */
#define MAX_KEYWORD 12
static const char *const keywords[MAX_KEYWORD + 1] = {
    "", "",
    "as do if in is of or ",
    "and any def del for get int let new not set try var ",
    "None True byte case char elif else enum from long null pass this true void when with ",
    "async await break catch class const endif false False final float raise short super throw while yield ",
    "assert delete double except export global import lambda native public return static switch throws typeof ",
    "boolean default extends finally package private ",
    "abstract continue debugger function nonlocal strictfp volatile ",
    "interface protected transient undefined ",
    "implements instanceof ",
    "",
    "synchronized ",
};

static uint64_t load(const uint8_t *p, size_t available, size_t wanted)
{
    uint64_t word = 0;
    if (available >= 8) {
        memcpy(&word, p, 8);
        return wanted < 8 ? word & ((UINT64_C(1) << (8 * wanted)) - 1) : word;
    }
    memcpy(&word, p, wanted < available ? wanted : available);
    return word;
}

/* Eight bytes at a time, the last padded with zeros: each is mixed in by a multiplication. */
static uint64_t hash(const uint8_t *p, size_t available, size_t length)
{
    uint64_t h = length * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t at = 0; at < length; at += 8) {
        h = (h ^ load(p + at, available - at, length - at)) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
    }
    return h;
}

static int is_keyword(const uint8_t *p, size_t length)
{
    if (length > MAX_KEYWORD) return 0;
    for (const char *word = keywords[length]; *word; word += length + 1)
        if (memcmp(word, p, length) == 0) return 1;
    return 0;
}

/* What stands for all names, and for all numbers. */
#define A_NAME UINT64_C(0x1d8e4e27c47d124f)
#define A_NUMBER UINT64_C(0xeb44accab455d165)

static uint64_t renamed_hash(const uint8_t *p, size_t available, size_t length)
{
    if (*p >= '0' && *p <= '9') return A_NUMBER;
    return is_keyword(p, length) ? hash(p, available, length) : A_NAME;
}

size_t sc_lexeme_end(const uint8_t *text, size_t size, size_t start)
{
    size_t end = start + 1;
    if (kinds[text[start]] == WORD)
        while (end < size && kinds[text[end]] == WORD) end++;
    return end;
}

int sc_next_lexeme(const uint8_t *text, size_t size, size_t at, sc_lexeme *lexeme)
{
    while (at < size && kinds[text[at]] == SPACE) at++;
    if (at == size) return 0;
    lexeme->start = at;
    lexeme->end = sc_lexeme_end(text, size, at);
    lexeme->is_word = kinds[text[at]] == WORD;
    lexeme->hash = hash(text + at, size - at, lexeme->end - at);
    return 1;
}

size_t sc_lexemes(const uint8_t *text, size_t size, int renamed, uint32_t *starts, uint64_t *hashes)
{
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        const int kind = kinds[text[at]];
        if (kind == SPACE) {
            at++;
            continue;
        }
        const size_t end = sc_lexeme_end(text, size, at);
        starts[count] = (uint32_t)at;
        hashes[count++] = renamed && kind == WORD ? renamed_hash(text + at, size - at, end - at)
                                                  : hash(text + at, size - at, end - at);
        at = end;
    }
    return count;
}
