/* The thread team under delays at every step of its protocol: jobs of random phases, each unit of which must be done once,
 * after all units of the phases before it, and taken from its owner only by a thread that holds none. `stress_threads SEED JOBS PERMILLE SHORTEST LONGEST CPUS`
 * delays so many of a thousand steps by so many microseconds, as if there were as many CPUs. Built with SC_DELAYS. */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "delays.h"
#include "os/threads.h"

enum { MOST_PHASES = 24, MOST_UNITS = 60, LONGEST_RUN = 90 };

static unsigned long long seed;

typedef struct {
    sc_team *team;
    int phases;
    sc_phase phase[MOST_PHASES];
    atomic_uint times[MOST_PHASES][MOST_UNITS];
    atomic_uint done[MOST_PHASES];
    int opened, single; /* not atomic: the protocol orders them */
} plan;

static void fail(const char *what, int phase, unsigned unit)
{
    printf("seed %llu: %s, phase %d, unit %u\n", seed, what, phase, unit);
    fflush(stdout);
    abort();
}

static int open_phase(void *argument, sc_phase *phase)
{
    plan *p = argument;
    const int next = phase->units ? phase->op + 1 : 0;
    if (next != p->opened) fail("opened out of turn", next, 0);
    if (next && atomic_load(&p->done[next - 1]) != p->phase[next - 1].units) fail("opened too early", next, 0);
    p->opened = next + 1;
    if (next == p->phases) return 0;
    *phase = p->phase[next];
    return 1;
}

static int64_t take(const plan *p, const sc_phase *phase, sc_worker *worker)
{
    const int64_t unit = sc_team_take(worker);
    if (phase->own && unit >= 0 && unit < sc_team_size(p->team) && unit != sc_worker_thread(worker))
        fail("taken from its owner", phase->op, (unsigned)unit);
    return unit;
}

static void run_phase(void *argument, const sc_phase *phase, sc_worker *worker, uint32_t index)
{
    plan *p = argument;
    const int at = phase->op;
    for (int64_t unit = index; unit >= 0;) {
        if (unit >= phase->units) fail("no such unit", at, (unsigned)unit);
        if (p->opened != at + 1) fail("run in another phase", at, (unsigned)unit);
        const int64_t ahead = delays_draw(2) ? take(p, phase, worker) : -2; /* some take the next unit before they do this one */
        if (atomic_fetch_add(&p->times[at][unit], 1)) fail("done twice", at, (unsigned)unit);
        sc_test_delay();
        atomic_fetch_add(&p->done[at], 1);
        unit = ahead == -2 ? take(p, phase, worker) : ahead;
    }
}

static void *calls(void *argument)
{
    static const sc_job job = {open_phase, run_phase};
    plan *p = malloc(sizeof *p);
    for (int jobs = *(int *)argument; jobs > 0;) {
        sc_team *team = sc_team_new(1 + (int)delays_draw(6));
        for (int i = 1 + (int)delays_draw(40); i > 0 && jobs > 0; i--, jobs--) {
            memset(p, 0, sizeof *p);
            p->team = team;
            p->phases = (int)delays_draw(MOST_PHASES);
            for (int k = 0; k < p->phases; k++)
                p->phase[k] = (sc_phase){k, 0, 1 + delays_draw(delays_draw(4) ? 8 : MOST_UNITS), (int)delays_draw(2)};
            sc_team_run(team, &job, p);
            for (int k = 0; k < p->phases; k++)
                if (atomic_load(&p->done[k]) != p->phase[k].units) fail("left undone", k, 0);
            if (p->opened != p->phases + 1) fail("not closed", p->opened, 0);
            memset(p, 0xEE, sizeof *p); /* whoever looks at it now is too late */
        }
        sc_team_free(team);
    }
    free(p);
    return NULL;
}

int main(int count, char **values)
{
    if (count != 7) return 2;
    seed = strtoull(values[1], NULL, 10);
    int jobs = atoi(values[2]);
    delays_set(seed, (unsigned)atoi(values[3]), (unsigned)atoi(values[4]), (unsigned)atoi(values[5]), atoi(values[6]));
    alarm(LONGEST_RUN); /* the signal ends a process that hangs */
    pthread_t callers[2]; /* teams of two callers at once */
    for (int i = 0; i < 2; i++) pthread_create(&callers[i], NULL, calls, &jobs);
    for (int i = 0; i < 2; i++) pthread_join(callers[i], NULL);
    printf("%d jobs, %llu delays\n", 2 * jobs, delays_so_far());
    return 0;
}
