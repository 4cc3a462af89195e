/* The machine's own limits, for `santacoder bench`: work shared out over the team piece by piece, as in a step, so that
 * a disturbed core slows both alike. */
#include <stdatomic.h>

#include "kernels.h"
#include "santacoder.h"
#include "threads.h"

enum { PIECE = 1 << 20 }; /* bytes: long runs of reads for the prefetchers, and enough pieces for any team */

typedef struct {
    sc_team *team;
    const sc_kernels *kernels;
    const char *memory;
    size_t bytes;
    int64_t rounds;
    atomic_uint sum;
} limit;

static void read_job(void *argument, int thread)
{
    limit *l = argument;
    uint32_t sum = 0;
    (void)thread;
    for (size_t at; (at = (size_t)sc_team_next(l->team) * PIECE) < l->bytes;)
        sum += l->kernels->limit_read(l->memory + at, l->bytes - at < PIECE ? l->bytes - at : PIECE);
    atomic_fetch_add(&l->sum, sum);
}

uint32_t sc_limit_read(sc_team *team, int isa, const void *memory, size_t bytes)
{
    limit l = {.team = team, .kernels = sc_kernels_get(isa), .memory = memory, .bytes = bytes / 256 * 256};
    sc_team_run(team, read_job, &l);
    return l.sum;
}

static void dot_job(void *argument, int thread)
{
    limit *l = argument;
    uint8_t weights[SC_LIMIT_STEPS * 64];
    int8_t activations[SC_LIMIT_SUMS * 4];
    uint32_t sum = 0;
    (void)thread;
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (uint8_t)(i % 16);
    for (size_t i = 0; i < sizeof activations; i++) activations[i] = 127;
    while (sc_team_next(l->team) < l->rounds) sum += l->kernels->limit_dot(weights, activations);
    atomic_fetch_add(&l->sum, sum);
}

uint32_t sc_limit_dot(sc_team *team, int isa, int64_t rounds)
{
    limit l = {.team = team, .kernels = sc_kernels_get(isa), .rounds = rounds};
    sc_team_run(team, dot_job, &l);
    return l.sum;
}
