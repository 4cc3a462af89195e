/* A number that threads sleep on until it changes. */
#ifndef SC_BELL_H
#define SC_BELL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#if defined __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef struct {
    _Alignas(64) _Atomic uint32_t value;
    atomic_int sleepers;
#if !defined __linux__
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
} sc_bell;

/* In a forked child too, whatever the threads of the parent were doing with it. */
static inline void sc_bell_reset(sc_bell *b, uint32_t value)
{
    atomic_store(&b->value, value);
    atomic_store(&b->sleepers, 0);
#if !defined __linux__
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
#endif
}

/* Raises the value, counted modulo 2^32; a ringer that comes late, after others, changes nothing. The value and the sleepers
 * are ordered on both sides: either the sleeper sees the value, or the ringer the sleeper. */
static inline void sc_bell_ring(sc_bell *b, uint32_t value)
{
    uint32_t old = atomic_load(&b->value);
    do
        if ((int32_t)(value - old) <= 0) return;
    while (!atomic_compare_exchange_weak(&b->value, &old, value));
    if (!atomic_load(&b->sleepers)) return;
#if defined __linux__
    syscall(SYS_futex, &b->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); /* no mutex that a stalled thread may hold */
#else
    pthread_mutex_lock(&b->mutex);
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->mutex);
#endif
}

/* Sleeps while the value is `seen`; may return early. */
static inline void sc_bell_sleep(sc_bell *b, uint32_t seen)
{
    atomic_fetch_add(&b->sleepers, 1);
#if defined __linux__
    if (atomic_load(&b->value) == seen) syscall(SYS_futex, &b->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    pthread_mutex_lock(&b->mutex);
    while (atomic_load(&b->value) == seen) pthread_cond_wait(&b->changed, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
#endif
    atomic_fetch_sub(&b->sleepers, 1);
}

#endif
