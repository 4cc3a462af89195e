#define _GNU_SOURCE
#include "delays.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned long long seed;
static unsigned permille, shortest, longest;
static int cpus = 1;
static atomic_ullong delays, threads;
static _Thread_local unsigned long long state;

void delays_set(unsigned long long new_seed, unsigned new_permille, unsigned new_shortest, unsigned new_longest, int new_cpus)
{
    seed = new_seed;
    permille = new_permille;
    shortest = new_shortest;
    longest = new_longest;
    cpus = new_cpus;
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *text = getenv("DELAYS");
    if (text && sscanf(text, "%llu %u %u %u %d", &seed, &permille, &shortest, &longest, &cpus) != 5) abort();
}

__attribute__((destructor)) static void report(void)
{
    if (getenv("DELAYS")) fprintf(stderr, "%llu delays\n", atomic_load(&delays));
}

unsigned delays_draw(unsigned below)
{
    if (!state) state = seed * 0x9E3779B97F4A7C15u + (atomic_fetch_add(&threads, 1) + 1) * 0xD1B54A32D192ED03u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % below;
}

unsigned long long delays_so_far(void) { return atomic_load(&delays); }

void sc_test_delay(void)
{
    if (delays_draw(1000) >= permille) return;
    const struct timespec t = {0, (long)(shortest + delays_draw(longest - shortest + 1)) * 1000};
    atomic_fetch_add(&delays, 1);
    nanosleep(&t, NULL);
}

/* Replaces the C library's in programs linked with this: a team has no more active threads than CPUs. */
int sched_getaffinity(pid_t thread, size_t bytes, cpu_set_t *set)
{
    (void)thread;
    CPU_ZERO_S(bytes, set);
    for (int i = 0; i < cpus; i++) CPU_SET_S((size_t)i, bytes, set);
    return 0;
}

int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *set)
{
    (void)thread;
    (void)bytes;
    (void)set;
    return 0;
}
