/* The thread team, as the rest of the C side uses it. A job is a sequence of phases, a phase a number of units that any
 * thread may do, in any order, at the same time. A phase ends when its last unit is done, and the next begins at once:
 * no phase waits for a thread that has no unit in hand, and the caller can do all of them. Floating point is in its
 * default state on every thread meanwhile (round to nearest, subnormals kept). */
#ifndef SC_THREADS_H
#define SC_THREADS_H

#include "../santacoder.h"

enum { SC_MAX_UNITS = 1 << 19 };

/* A thread that holds units of a phase. */
typedef struct sc_worker sc_worker;

typedef struct {
    int32_t op, stage; /* what the units are: the job's own numbers */
    uint32_t units;    /* 1..SC_MAX_UNITS */
    int own;           /* unit i is first offered to thread i, which may have prefetched it */
} sc_phase;

typedef struct {
    /* Makes the description of a phase (zeros before the first) that of the next one that has units, while all units
     * before it are done and none is under way; returns 0 when there is none. */
    int (*open)(void *argument, sc_phase *phase);
    /* Does unit `index`, and after it others of the phase as long as sc_team_take gives any. */
    void (*run)(void *argument, const sc_phase *phase, sc_worker *worker, uint32_t index);
} sc_job;

/* Runs a job; returns when its last phase is over. One caller at a time. */
void sc_team_run(sc_team *team, const sc_job *job, void *argument);

/* Calls unit(argument, i) for 0 <= i < count, a phase of its own. */
void sc_team_for(sc_team *team, size_t count, void (*unit)(void *argument, size_t index), void *argument);

/* Threads that take part in the job; those of workers are 0..size-1, or more for one that is about to leave. */
int sc_team_size(const sc_team *team);
/* Within a unit. The thread, at most the number asked for; it is the only one with this number. */
int sc_worker_thread(const sc_worker *worker);
/* A number that no other phase of any job has, never 0. */
uint64_t sc_worker_phase(const sc_worker *worker);
/* Another unit of the phase to do, beside those in hand, or -1: none is left, or the thread is to let go of all. */
int64_t sc_team_take(sc_worker *worker);

#endif
