/* A number that threads sleep on until it changes. */
#ifndef SC_BELL_H
#define SC_BELL_H

#include "platform.h"

typedef struct {
    _Alignas(64) _Atomic uint32_t value;
    atomic_int asleep;
    sc_sleepers sleepers;
} sc_bell;

/* Also works in a forked child, whatever the parent's threads were doing with it. */
static inline void sc_bell_reset(sc_bell *b, uint32_t value)
{
    atomic_store(&b->value, value);
    atomic_store(&b->asleep, 0);
    sc_sleepers_reset(&b->sleepers);
}

/* Raises the value, counted modulo 2^32. A late ringer, after others, changes nothing. The value and the number of
 * sleepers are ordered on both sides: either the sleeper sees the value, or the ringer sees the sleeper. */
static inline void sc_bell_ring(sc_bell *b, uint32_t value)
{
    uint32_t old = atomic_load(&b->value);
    do
        if ((int32_t)(value - old) <= 0) return;
    while (!atomic_compare_exchange_weak(&b->value, &old, value));
    if (atomic_load(&b->asleep)) sc_sleepers_wake(&b->sleepers, &b->value);
}

/* Sleeps while the value is `seen`; may return early. */
static inline void sc_bell_sleep(sc_bell *b, uint32_t seen)
{
    atomic_fetch_add(&b->asleep, 1);
    sc_sleepers_wait(&b->sleepers, &b->value, seen);
    atomic_fetch_sub(&b->asleep, 1);
}

#endif
