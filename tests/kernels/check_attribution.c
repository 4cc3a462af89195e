/* Lexemes and grams: within their buffers, equal to plain definitions, and the same numbers on every machine. */
#include "attribution/attribution.h"
#include "check.h"

enum { MAX_LEXEMES = 700 };

static int is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static int is_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '$' ||
           c >= 0x80;
}

/* Bytes of code, of words only, or any. */
static void fill_text(int fill, uint8_t *text, size_t size)
{
    static const char code[] = "ab cd_ef(x1, 22)\n\treturn if $y; \r\n";
    for (size_t i = 0; i < size; i++) {
        const uint32_t bits = random_bits();
        text[i] = fill == 0 ? (uint8_t)code[bits % (sizeof code - 1)] : fill == 1 ? 'w' : (uint8_t)bits;
    }
}

static void check_lexeme_starts(const uint8_t *text, size_t size, const uint32_t *starts, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        const int begins = !is_space(text[i]) && !(i && is_word(text[i]) && is_word(text[i - 1]));
        if (begins) expect(at < count && starts[at] == i, "a lexeme begins elsewhere");
        at += (size_t)begins;
    }
    expect(at == count, "the number of lexemes differs");
}

/* Each chosen gram is the last least one of some window; the keys of equal hashes are equal. */
static void check_chosen(const uint32_t *firsts, size_t chosen, size_t count, const sc_winnowing *how)
{
    for (size_t i = 0; i < chosen; i++) {
        expect(firsts[i] + how->gram <= count, "a gram ends beyond the text");
        expect(i == 0 || (firsts[i] > firsts[i - 1]), "grams do not rise");
        expect(how->least || i == 0 || firsts[i] - firsts[i - 1] <= how->window, "a window has no gram");
    }
    if (!how->least && count >= how->gram) expect(chosen > 0, "a text has no gram");
}

/* A text that is followed in parts of any size has the choices of the whole text, if it has a window. */
static void check_following(const uint8_t *text, size_t size, size_t count, const sc_winnowing *how,
                            const uint32_t *keys, size_t chosen)
{
    static sc_follower f;
    sc_begin_following(&f, how);
    size_t found = 0, begin = 0;
    for (size_t end = 0, at = 0; at < size;) {
        end += (size_t)random_int(end < size, end + 90 < size ? 90 : (int)(size - end));
        uint8_t *part = buffer(6, end - begin);
        memcpy(part, text + begin, end - begin);
        at = begin + sc_follow(&f, part, end - begin, at - begin, end == size);
        expect(at <= end, "a follower reads beyond its text");
        if (f.chosen) {
            expect(found < chosen && keys[found] == f.key, "a follower chooses another gram");
            expect(begin + f.start < at, "a lexeme begins after its end");
            found++;
        }
        begin = at;
    }
    expect(f.winnower.lexemes == count, "a follower skips lexemes");
    if (count + 1 >= how->gram + how->window) expect(found == chosen, "a follower misses a gram");
}

/* Of two texts at once what is stored is that of each; of short ones, what smaller windows choose. */
static void check_fingerprints(const uint8_t *text, size_t size, int renamed, const sc_winnowing *how)
{
    static uint32_t starts[MAX_LEXEMES], keys[2 * MAX_LEXEMES], firsts[2 * MAX_LEXEMES];
    static uint64_t hashes[MAX_LEXEMES];
    const uint32_t ends[2] = {(uint32_t)random_int(0, (int)size), (uint32_t)size};
    uint32_t lexemes[2], grams[2];
    uint32_t *all_keys = buffer(7, size * sizeof *all_keys), *all_firsts = buffer(8, size * sizeof *all_firsts);
    const size_t found =
        sc_fingerprints(text, ends, 2, renamed, how, starts, hashes, lexemes, grams, all_keys, all_firsts);
    size_t at = 0;
    for (size_t i = 0; i < 2; i++) {
        const size_t begin = i ? ends[0] : 0;
        const size_t count = sc_lexemes(text + begin, ends[i] - begin, renamed, starts, hashes);
        sc_winnowing which = *how;
        if (count < SC_SHORT_TEXT && which.window > SC_SHORT_WINDOW) which.window = SC_SHORT_WINDOW;
        const size_t chosen = sc_winnow(hashes, count, &which, keys, firsts);
        expect(lexemes[i] == count && grams[i] == chosen, "a text of several has other grams");
        expect(memcmp(all_keys + at, keys, chosen * sizeof *keys) == 0, "a text of several has other keys");
        expect(memcmp(all_firsts + at, firsts, chosen * sizeof *firsts) == 0, "grams of a text of several move");
        at += chosen;
    }
    expect(at == found, "not all grams are counted");
}

static uint64_t digest(uint64_t seed, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < size; i++) seed = (seed ^ p[i]) * UINT64_C(0x100000001b3);
    return seed;
}

/* The same text on all machines: numbers that are stored in files must not differ. */
static void check_constants(void)
{
    static uint8_t text[4096];
    static uint32_t starts[4096], keys[4096], firsts[4096];
    static uint64_t hashes[4096];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof text; i++) {
        state = state * 1664525 + 1013904223;
        text[i] = (uint8_t)"if (name_1 == other) { return x0[17] + y; }\n"[(state >> 16) % 44];
    }
    uint64_t seen = UINT64_C(0xcbf29ce484222325);
    for (int renamed = 0; renamed < 2; renamed++) {
        const size_t count = sc_lexemes(text, sizeof text, renamed, starts, hashes);
        const size_t chosen = sc_winnow(hashes, count, &(sc_winnowing){16, 25, 6}, keys, firsts);
        seen = digest(seen, starts, count * sizeof *starts);
        seen = digest(seen, hashes, count * sizeof *hashes);
        seen = digest(seen, keys, chosen * sizeof *keys);
        seen = digest(seen, firsts, chosen * sizeof *firsts);
    }
    begin("constants: %016" PRIx64, seen);
    expect(seen == UINT64_C(0x10ca6d3a55ec5658), "the numbers differ from those of other machines");
    end();
}

void check_attribution(int level, const sc_kernels *kernels)
{
    static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 300, MAX_LEXEMES};
    static const sc_winnowing hows[] = {{1, 1, 0}, {16, 25, 0}, {16, 8, 6}, {64, 64, 0}, {24, 27, 6}, {3, 64, 2}};
    (void)level, (void)kernels;
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int fill = 0; fill < 3; fill++)
            for (size_t h = 0; h < COUNT(hows); h++) {
                const size_t size = sizes[s];
                begin("size %zu, fill %d, gram %u, window %u", size, fill, hows[h].gram, hows[h].window);
                uint8_t *text = buffer(0, size);
                uint32_t *starts = buffer(1, size * sizeof *starts);
                uint64_t *hashes = buffer(2, size * sizeof *hashes);
                fill_text(fill, text, size);
                const size_t count = sc_lexemes(text, size, (int)h % 2, starts, hashes);
                check_lexeme_starts(text, size, starts, count);
                for (size_t i = 0; i < count; i++)
                    expect(sc_lexeme_end(text, size, starts[i]) <= (i + 1 < count ? starts[i + 1] : size),
                           "a lexeme ends beyond the next");
                uint64_t *exact = buffer(3, count * sizeof *exact);
                uint32_t *keys = buffer(4, count * sizeof *keys), *firsts = buffer(5, count * sizeof *firsts);
                memcpy(exact, hashes, count * sizeof *exact);
                const size_t chosen = sc_winnow(exact, count, &hows[h], keys, firsts);
                check_chosen(firsts, chosen, count, &hows[h]);
                if (h % 2 == 0 && count + 1 >= hows[h].gram + hows[h].window)
                    check_following(text, size, count, &hows[h], keys, chosen);
                check_fingerprints(text, size, (int)h % 2, &hows[h]);
                size_t before = 0;
                if (count) {
                    const size_t at = (size_t)random_int(0, (int)count - 1);
                    expect(sc_shared_run(exact, count, exact, count, at, at, &before) == count && before == at,
                           "a text differs from itself");
                }
                end();
            }
    check_constants();
}
