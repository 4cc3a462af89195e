/* The thread team, as the rest of the C side uses it. A job is a sequence of phases; a phase is a number of units that
 * any thread may do, in any order, at the same time. A phase ends when its last unit is done, and the next begins at
 * once: no phase waits for a thread that holds no unit, and the caller can do all of them. Meanwhile floating point is
 * in its default state on every thread (round to nearest, subnormals kept). */
#ifndef SC_THREADS_H
#define SC_THREADS_H

#include "../santacoder.h"

enum { SC_MAX_UNITS = 1 << 19 };

/* A thread that holds units of a phase. */
typedef struct sc_worker sc_worker;

typedef struct {
    int32_t op, stage; /* what the units are, in the job's own numbers */
    uint32_t units;    /* 1..SC_MAX_UNITS */
    int own;           /* unit i is first offered to thread i, which may have prefetched it */
} sc_phase;

typedef struct {
    /* Turns the description of a phase (zeros before the first) into that of the next phase that has units. All units
     * before it are done and none is under way. Returns 0 when there is no next phase. */
    int (*open)(void *argument, sc_phase *phase);
    /* Does unit `index`, then others of the phase as long as sc_team_take gives any. */
    void (*run)(void *argument, const sc_phase *phase, sc_worker *worker, uint32_t index);
} sc_job;

/* Runs a job; returns when its last phase is over. One caller at a time. */
void sc_team_run(sc_team *team, const sc_job *job, void *argument);

/* Calls unit(argument, i) for 0 <= i < count, in a phase of its own. */
void sc_team_for(sc_team *team, size_t count, void (*unit)(void *argument, size_t index), void *argument);

/* Threads that take part in the job. Workers have numbers 0..size-1, or more for one that is about to leave. */
int sc_team_size(const sc_team *team);
/* Within a unit: the number of its thread, below the number asked for and unique in the team. */
int sc_worker_thread(const sc_worker *worker);
/* A number that no other phase of any job has, never 0. */
uint64_t sc_worker_phase(const sc_worker *worker);
/* Claims another unit of the phase, beside those in hand, that no other thread owns. Returns -1 when none is left, or
 * the thread must let go of all. */
int64_t sc_team_take(sc_worker *worker);

#endif
