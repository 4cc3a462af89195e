/* The thread team, as the rest of the C side uses it. */
#ifndef SC_THREADS_H
#define SC_THREADS_H

#include "santacoder.h"

/* Runs job(argument, thread) on every thread of the team at once, the caller being thread 0; returns when all are done.
 * Floating point is in its default state on every thread meanwhile (round to nearest, subnormals kept). */
typedef void sc_job(void *argument, int thread);
void sc_team_run(sc_team *team, sc_job *job, void *argument);
/* Within a job: threads that take part. */
int sc_team_size(const sc_team *team);
/* Within a job: waits for all threads, and starts the shared counter anew. */
void sc_team_barrier(sc_team *team);
/* Within a job: the next index of the shared counter. Who takes which index may vary; the work must not. */
int64_t sc_team_next(sc_team *team);

#endif
