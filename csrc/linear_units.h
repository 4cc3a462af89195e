/* How a linear layer is cut into units for the team. Bits do not depend on it: no output is split between units. */
#ifndef SC_LINEAR_UNITS_H
#define SC_LINEAR_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "os/threads.h"

enum {
    SC_MANY_ROWS = 128,        /* from here on, weights are a small part of what is read */
    SC_UNIT_MACS = 1 << 27,    /* most multiply-adds of a unit with many rows: a few hundred microseconds */
    SC_TAIL_BUNDLES = 2,       /* bundles per thread, at the end, that are cut finer: the tail */
    SC_TAIL_ROWS = 128,        /* most rows of a unit of the tail, if the tail is not all */
    SC_UNPACK_ROWS = 12,       /* unpacking weights, once per unit, takes as long as multiplying this many rows */
    SC_SPREAD = 4,             /* threads end up to 1/SC_SPREAD of a unit apart */
    SC_TILE_ROWS = 16,         /* rows go in whole tiles */
    SC_LEAST_BYTES = 16 << 10  /* least weights of a unit with few rows: a microsecond of reading, as a handover
                                * costs */
};

/* A layer: pairs of panels, in bundles of `unit`, and the rows that meet them. */
typedef struct {
    uint32_t pairs, unit, rows, threads;
    uint32_t least;                 /* few rows: least pairs of a unit */
    uint32_t front;                 /* many rows: bundles before the tail */
    uint32_t front_rows, tail_rows; /* rows of a unit before and in the tail */
} sc_sharing;

/* Pairs first..last-1, rows begin..end-1. */
typedef struct {
    uint32_t first, last, begin, end;
} sc_share;

static inline uint32_t sc_divide_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

static inline uint32_t sc_smaller(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

static inline uint64_t sc_larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static inline int sc_is_many(const sc_sharing *s) { return s->rows >= SC_MANY_ROWS; }

/* Rows that a limit allows: whole tiles, at least one. */
static inline uint32_t sc_tile_rows(uint64_t limit, uint32_t rows)
{
    const uint64_t whole = limit / SC_TILE_ROWS * SC_TILE_ROWS;
    return sc_smaller(whole < SC_TILE_ROWS ? SC_TILE_ROWS : whole, rows);
}

/* Rows of a unit in a tail of `bundles`: the size with which threads of equal speed would finish earliest. */
static inline uint32_t sc_tail_rows(const sc_sharing *s, uint32_t bundles, uint32_t least)
{
    const uint32_t most = s->front ? sc_smaller(SC_TAIL_ROWS, s->front_rows) : s->front_rows;
    uint32_t found = least;
    uint64_t best = UINT64_MAX;
    for (uint32_t next = least; next < most + SC_TILE_ROWS; next += SC_TILE_ROWS) {
        const uint32_t size = sc_smaller(next, most);
        const uint64_t rounds = sc_divide_up(bundles * sc_divide_up(s->rows, size), s->threads);
        const uint64_t time = (SC_SPREAD * rounds + 1) * (size + SC_UNPACK_ROWS);
        if (time >= best) continue;
        best = time;
        found = size;
    }
    return found;
}

/* Raises `unit`, 1 or SC_GROUPS, for a layer that has more pairs than there can be units. */
static inline sc_sharing sc_share_out(uint32_t pairs, uint32_t unit, uint32_t rows, uint32_t threads, size_t columns,
                                      size_t pair_bytes)
{
    sc_sharing s = {.pairs = rows ? pairs : 0, .unit = unit, .rows = rows, .threads = threads, .least = unit};
    if (!s.pairs) return s;
    while (sc_divide_up(pairs, s.unit) > SC_MAX_UNITS / 4 && s.unit < SC_GROUPS) s.unit *= 2;
    s.least = s.unit;
    if (!sc_is_many(&s)) {
        while (s.least * pair_bytes * rows < SC_LEAST_BYTES) s.least += s.unit;
        return s;
    }
    const uint32_t bundles = sc_divide_up(pairs, s.unit);
    /* Fewer rows per unit would make too many units. */
    const uint64_t fit = (uint64_t)rows * bundles / (SC_MAX_UNITS / 8) + SC_TILE_ROWS;
    s.front_rows = sc_tile_rows(sc_larger(SC_UNIT_MACS / ((uint64_t)s.unit * SC_PAIR * columns), fit), rows);
    if (threads == 1) { /* no other thread to wait for */
        s.front = bundles;
        return s;
    }
    s.front = bundles > SC_TAIL_BUNDLES * threads ? bundles - SC_TAIL_BUNDLES * threads : 0;
    s.tail_rows = sc_tail_rows(&s, bundles - s.front, sc_tile_rows(fit, s.front_rows));
    return s;
}

/* Few rows: factoring (Hummel et al., 1992). Every thread takes half of its part of what is left, so that its reads of
 * the weights stay long, down to the least unit, so that all end at about the same time. Returns the size of the shares
 * from pair `first` on. */
static inline uint32_t sc_few_size(const sc_sharing *s, uint32_t first)
{
    const uint32_t half = (s->pairs - first) / s->unit / (2 * s->threads) * s->unit;
    return half > s->least ? half : s->least;
}

/* Units of the layer. */
static inline uint32_t sc_shares(const sc_sharing *s)
{
    if (sc_is_many(s)) {
        const uint32_t tail = sc_divide_up(s->pairs, s->unit) - s->front;
        return s->front * sc_divide_up(s->rows, s->front_rows) +
               (tail ? tail * sc_divide_up(s->rows, s->tail_rows) : 0);
    }
    uint32_t first = 0, shares = 0;
    while (first < s->pairs) {
        const uint32_t size = sc_few_size(s, first);
        if (size == s->least) return shares + sc_divide_up(s->pairs - first, size);
        shares += s->threads;
        first += s->threads * size;
    }
    return shares;
}

/* Unit number `index`. With few rows, all shares of a round have the same size. */
static inline sc_share sc_share_at(const sc_sharing *s, uint32_t index)
{
    if (sc_is_many(s)) {
        const uint32_t in_front = s->front * sc_divide_up(s->rows, s->front_rows);
        const uint32_t at = index < in_front ? index : index - in_front;
        const uint32_t rows = index < in_front ? s->front_rows : s->tail_rows, cuts = sc_divide_up(s->rows, rows);
        const uint32_t first = (at / cuts + (index < in_front ? 0 : s->front)) * s->unit, begin = at % cuts * rows;
        return (sc_share){first, sc_smaller(first + s->unit, s->pairs), begin, sc_smaller(begin + rows, s->rows)};
    }
    uint32_t first = 0, size = sc_few_size(s, 0);
    while (index >= s->threads && size > s->least && first < s->pairs) {
        index -= s->threads;
        first += s->threads * size;
        size = sc_few_size(s, first);
    }
    first += index * size;
    return (sc_share){first, sc_smaller((uint64_t)first + size, s->pairs), 0, s->rows};
}

#endif
