/* The machine's own limits, for `santacoder bench`: work shared out over the team piece by piece, as in a step, so that
 * a disturbed core slows both alike. */
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
} limit;

static void read_piece(void *argument, size_t piece)
{
    limit *l = argument;
    const size_t at = piece * PIECE;
    atomic_fetch_add(&l->sum, l->kernels->limit_read(l->memory + at, l->bytes - at < PIECE ? l->bytes - at : PIECE));
}

uint32_t sc_limit_read(sc_team *team, int isa, const void *memory, size_t bytes)
{
    limit l = {.kernels = sc_kernels_get(isa), .memory = memory, .bytes = bytes / 256 * 256};
    sc_team_for(team, (l.bytes + PIECE - 1) / PIECE, read_piece, &l);
    return l.sum;
}

static void dot_round(void *argument, size_t round)
{
    limit *l = argument;
    uint8_t weights[SC_LIMIT_STEPS * 64];
    int8_t activations[SC_LIMIT_SUMS * 4];
    (void)round;
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (uint8_t)(i % 16);
    for (size_t i = 0; i < sizeof activations; i++) activations[i] = 127;
    atomic_fetch_add(&l->sum, l->kernels->limit_dot(weights, activations));
}

uint32_t sc_limit_dot(sc_team *team, int isa, int64_t rounds)
{
    limit l = {.kernels = sc_kernels_get(isa)};
    sc_team_for(team, rounds > 0 ? (size_t)rounds : 0, dot_round, &l);
    return l.sum;
}
