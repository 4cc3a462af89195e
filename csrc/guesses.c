/* Where runs of tokens last occurred, for guesses at what follows (Saxena 2023, "Prompt Lookup Decoding").
 *
 * A hash table holds, for runs of 1 to 16 tokens, the place behind the latest occurrence. Only places are stored: what
 * they stand for is in the text itself, and is compared. All lengths share one table with linear probing. When the
 * text is full, its older half is dropped. A reader beside a writer, as after a fork, may find less, but reads within
 * bounds. */
#include <stdlib.h>
#include <string.h>

#include "santacoder.h"

enum { LENGTHS = 8, KIND_BITS = 3, FIRST_TEXT = 2048, FIRST_SLOTS = 8 }; /* slots a token: no growth */
static const int32_t LENGTH[LENGTHS] = {1, 2, 3, 4, 6, 8, 12, SC_GUESS_RUN};

struct sc_guesses {
    int32_t *text;
    uint32_t *slots; /* place << KIND_BITS | kind of run; 0 is free, since no run ends before its first token */
    int32_t most, length, room;
    uint32_t size, used;
};

sc_guesses *sc_guesses_new(int32_t most)
{
    sc_guesses *guesses = calloc(1, sizeof *guesses);
    if (!guesses) return NULL;
    guesses->most = most;
    guesses->room = most < FIRST_TEXT ? most : FIRST_TEXT;
    guesses->size = (uint32_t)guesses->room * FIRST_SLOTS + 2 * LENGTHS;
    guesses->text = malloc((size_t)guesses->room * sizeof *guesses->text);
    guesses->slots = calloc(guesses->size, sizeof *guesses->slots);
    if (guesses->text && guesses->slots) return guesses;
    sc_guesses_free(guesses);
    return NULL;
}

void sc_guesses_free(sc_guesses *guesses)
{
    if (!guesses) return;
    free(guesses->text);
    free(guesses->slots);
    free(guesses);
}

int32_t sc_guesses_length(const sc_guesses *guesses) { return guesses ? guesses->length : 0; }

int64_t sc_guesses_bytes(const sc_guesses *guesses)
{
    return guesses ? 4 * ((int64_t)guesses->room + guesses->size) : 0;
}

/* Hashes of the runs that end before `end`: hash[kind] of LENGTH[kind] tokens. Returns how many kinds there are: runs
 * neither begin before `first` nor hold a gap. */
static int32_t hash_runs(const int32_t *end, int32_t most, uint64_t *hash)
{
    uint64_t h = 0x9E3779B97F4A7C15u;
    int32_t kind = 0;
    for (int32_t i = 1; i <= most && kind < LENGTHS && end[-i] >= 0; i++) {
        h = (h ^ (uint32_t)end[-i]) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
        if (i == LENGTH[kind]) hash[kind++] = h;
    }
    return kind;
}

static uint32_t first_slot(const sc_guesses *guesses, uint64_t hash, int32_t kind)
{
    const uint64_t h = (hash + (uint64_t)kind) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(((h >> 32) * guesses->size) >> 32);
}

/* The slot of a run that ends before `end`, or the free one where it belongs. */
static uint32_t find_slot(const sc_guesses *guesses, const int32_t *end, uint64_t hash, int32_t kind)
{
    const int32_t length = LENGTH[kind];
    uint32_t at = first_slot(guesses, hash, kind);
    for (;; at = at + 1 < guesses->size ? at + 1 : 0) {
        const uint32_t slot = guesses->slots[at];
        const int32_t place = (int32_t)(slot >> KIND_BITS);
        if (!slot) return at;
        if ((int32_t)(slot & ((1 << KIND_BITS) - 1)) != kind || place > guesses->length || place < length) continue;
        if (!memcmp(guesses->text + place - length, end - length, (size_t)length * sizeof *end)) return at;
    }
}

/* Enters the runs that end at a place that a token follows. There are enough free slots. */
static void enter(sc_guesses *guesses, int32_t place)
{
    uint64_t hash[LENGTHS];
    const int32_t *end = guesses->text + place;
    const int32_t kinds = hash_runs(end, place, hash);
    for (int32_t kind = 0; kind < kinds; kind++) {
        const uint32_t at = find_slot(guesses, end, hash[kind], kind);
        guesses->used += !guesses->slots[at];
        guesses->slots[at] = (uint32_t)place << KIND_BITS | (uint32_t)kind;
    }
}

/* Enters all runs of the text again, into `size` slots. Returns 0 when there is no memory. */
static int rebuild(sc_guesses *guesses, uint32_t size)
{
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots) return 0;
    free(guesses->slots);
    guesses->slots = slots;
    guesses->size = size;
    guesses->used = 0;
    for (int32_t place = 1; place < guesses->length; place++)
        if (guesses->text[place] >= 0) enter(guesses, place);
    return 1;
}

static int make_room(sc_guesses *guesses)
{
    if (guesses->length == guesses->most) {
        const int32_t kept = guesses->most / 2;
        memmove(guesses->text, guesses->text + guesses->length - kept, (size_t)kept * sizeof *guesses->text);
        guesses->length = kept;
        return rebuild(guesses, guesses->size);
    }
    if (guesses->length == guesses->room) {
        const int64_t wanted = guesses->room + guesses->room / 2 + 1;
        const int32_t room = wanted < guesses->most ? (int32_t)wanted : guesses->most;
        int32_t *text = realloc(guesses->text, (size_t)room * sizeof *text);
        if (!text) return 0;
        guesses->text = text;
        guesses->room = room;
    }
    if (guesses->used + LENGTHS > guesses->size / 8 * 7) return rebuild(guesses, guesses->size + guesses->size / 2);
    return 1;
}

int sc_guesses_add(sc_guesses *guesses, const int32_t *tokens, int32_t count)
{
    if (!guesses) return 0;
    for (int32_t i = 0; i < count; i++) {
        if (!make_room(guesses)) return 0;
        if (guesses->length && tokens[i] >= 0) enter(guesses, guesses->length);
        guesses->text[guesses->length++] = tokens[i];
    }
    return 1;
}

int32_t sc_guesses_find(const sc_guesses *guesses, const int32_t *tokens, int32_t count, int32_t *matched)
{
    uint64_t hash[LENGTHS];
    const int32_t *end = tokens + count;
    *matched = 0;
    if (!guesses) return 0;
    for (int32_t kind = hash_runs(end, count, hash) - 1; kind >= 0; kind--) {
        const uint32_t slot = guesses->slots[find_slot(guesses, end, hash[kind], kind)];
        const int32_t place = (int32_t)(slot >> KIND_BITS);
        if (!slot || place >= guesses->length) continue;
        int32_t length = LENGTH[kind];
        while (length < count && length < place && guesses->text[place - length - 1] == end[-length - 1]) length++;
        *matched = length;
        return place;
    }
    return 0;
}

int32_t sc_guesses_copy(const sc_guesses *guesses, int32_t place, int32_t *tokens, int32_t count)
{
    int32_t copied = 0;
    while (copied < count && copied < guesses->length - place && guesses->text[place + copied] >= 0) {
        tokens[copied] = guesses->text[place + copied];
        copied++;
    }
    return copied;
}
