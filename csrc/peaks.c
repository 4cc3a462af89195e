/* The machine's peaks for `santacoder bench`, as in the roofline model (Williams et al., 2009). The team shares the
 * work piece by piece, as in a step, so that a disturbed core slows both alike. */
#include <stdatomic.h>

#include "kernels.h"
#include "santacoder.h"
#include "os/threads.h"

enum { PIECE = 1 << 20 }; /* bytes: long runs of reads for the prefetchers, and enough pieces for any team */

typedef struct {
    const sc_kernels *kernels;
    const char *memory;
    size_t bytes;
    atomic_uint sum;
} peak_job;

static void read_piece(void *argument, size_t piece)
{
    peak_job *job = argument;
    const size_t at = piece * PIECE, left = job->bytes - at;
    atomic_fetch_add(&job->sum, job->kernels->peak_read(job->memory + at, left < PIECE ? left : PIECE));
}

uint32_t sc_peak_read(sc_team *team, int isa, const void *memory, size_t bytes)
{
    peak_job job = {.kernels = sc_kernels_get(isa), .memory = memory, .bytes = bytes / 256 * 256};
    sc_team_for(team, (job.bytes + PIECE - 1) / PIECE, read_piece, &job);
    return job.sum;
}

static void dot_round(void *argument, size_t round)
{
    peak_job *job = argument;
    uint8_t weights[SC_PEAK_QUADS * 64];
    int8_t activations[SC_PEAK_SUMS * 4];
    (void)round;
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (uint8_t)(i % 16);
    for (size_t i = 0; i < sizeof activations; i++) activations[i] = 127;
    atomic_fetch_add(&job->sum, job->kernels->peak_dot(weights, activations));
}

uint32_t sc_peak_dot(sc_team *team, int isa, int64_t rounds)
{
    peak_job job = {.kernels = sc_kernels_get(isa)};
    sc_team_for(team, rounds > 0 ? (size_t)rounds : 0, dot_round, &job);
    return job.sum;
}
