/* Affinities (csrc/os/posix.c) on a machine of 1500 CPUs, which stands in for the system's calls. Aborts where one is
 * wrong. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/platform.h"

enum { CPUS = 1500, BYTES = 192 };

static unsigned char mask[BYTES], first[BYTES]; /* of the calling thread; what it set first */
static int calls, meddles;        /* sched_setaffinity's; whether another process changes what the first one set */

static void clear(int cpu) { mask[cpu / 8] &= (unsigned char)~(1 << cpu % 8); }
static int has(const unsigned char *set, int cpu) { return set[cpu / 8] >> cpu % 8 & 1; }

static void only(int cpu)
{
    memset(mask, 0, sizeof mask);
    mask[cpu / 8] = (unsigned char)(1 << cpu % 8);
}

static void all(void)
{
    memset(mask, 255, sizeof mask);
    for (int cpu = CPUS; cpu < 8 * BYTES; cpu++) clear(cpu);
    calls = 0;
}

/* As Linux does, which refuses a set that is too small. */
int sched_getaffinity(pid_t thread, size_t bytes, cpu_set_t *set)
{
    (void)thread;
    if (bytes < BYTES) return errno = EINVAL, -1;
    memset(set, 0, bytes);
    memcpy(set, mask, BYTES);
    return 0;
}

int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *set)
{
    (void)thread;
    (void)bytes;
    memcpy(mask, set, BYTES);
    if (++calls == 1) memcpy(first, mask, BYTES);
    if (calls == 1 && meddles) only(7);
    return 0;
}

static void expect(int holds, const char *what)
{
    if (holds) return;
    printf("%s\n", what);
    fflush(stdout);
    abort();
}

int main(void)
{
    const _Atomic int32_t cpus[] = {1100, 3, -1, 1400};
    all();
    expect(sc_cpus_allowed() == CPUS, "not all CPUs are counted");
    expect(sc_cpu_leave(cpus, 4, 0) && calls == 2 && sc_cpus_allowed() == CPUS, "the affinity is not taken back");
    expect(has(first, 1100) && !has(first, 3) && !has(first, 1400) && has(first, 5), "other CPUs are left");
    meddles = 1;
    all();
    expect(sc_cpu_leave(cpus, 4, 0) && calls == 1 && has(mask, 7) && sc_cpus_allowed() == 1,
           "what another process set is lost");
    calls = 0;
    only(3);
    expect(!sc_cpu_leave(cpus, 4, 0) && calls == 0 && has(mask, 3), "a thread leaves its only CPU");
    return 0;
}
