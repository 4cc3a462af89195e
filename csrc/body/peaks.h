/* The peaks that `santacoder bench` compares a model with: reads and dot products with nothing else around them. */
#ifndef SC_BODY_PEAKS_H
#define SC_BODY_PEAKS_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "prefetch.h"

/* A round's adds, divided among PEAK_SUMS accumulators; each does PEAK_RUN adds between dot_start and dot_end. */
enum { PEAK_ADDS = SC_PEAK_MACS / 64, PEAK_RUNS = PEAK_ADDS / (PEAK_SUMS * PEAK_RUN) };
_Static_assert(PEAK_RUNS * PEAK_SUMS * PEAK_RUN == PEAK_ADDS, "a round is the same work on every instruction set");
_Static_assert(PEAK_RUN % SC_PEAK_QUADS == 0, "every accumulator meets all quads equally often");
_Static_assert(PEAK_SUMS <= SC_PEAK_SUMS, "each accumulator has activations of its own");

/* The sum of all lanes modulo 2^32. */
INLINE uint32_t sum_lanes(i32x16 x)
{
    float lanes[16];
    uint32_t sum = 0;
    f32_store(lanes, f32_from_bits(x));
    for (int i = 0; i < 16; i++) {
        uint32_t lane;
        memcpy(&lane, lanes + i, sizeof lane);
        sum += lane;
    }
    return sum;
}

static uint32_t FN(peak_read)(const void *memory, size_t bytes)
{
    const char *p = memory;
    i32x16 sum[4];
    UNROLL(4)
    for (int i = 0; i < 4; i++) sum[i] = i32_set1(0);
    for (const char *end = p + bytes; p < end; p += 256) {
        /* Prefetches as a step does, which must not outrun its peak. */
        if (PREFETCH_SUPERBLOCKS) prefetch(p + PREFETCH_SUPERBLOCKS * sizeof(sc_q4k), 256);
        UNROLL(4)
        for (int i = 0; i < 4; i++) sum[i] = i32_add(sum[i], i32_from_bits(f32_load((const float *)p + 16 * i)));
    }
    return sum_lanes(i32_add(i32_add(sum[0], sum[1]), i32_add(sum[2], sum[3])));
}

/* A quad's weights serve all accumulators, whose activations stay in registers, as in a tile of a linear layer. */
static uint32_t FN(peak_dot)(const uint8_t *weights, const int8_t *activations)
{
    i32x16 sum = i32_set1(0);
    u8x64 a[PEAK_SUMS];
    UNROLL(PEAK_SUMS)
    for (int t = 0; t < PEAK_SUMS; t++) a[t] = i8_broadcast4(activations + 4 * t);
    for (int run = 0; run < PEAK_RUNS; run++) {
        dotx16 part[PEAK_SUMS];
        UNROLL(PEAK_SUMS)
        for (int t = 0; t < PEAK_SUMS; t++) part[t] = dot_start(i32_set1(0));
        for (int first = 0; first < PEAK_RUN; first += SC_PEAK_QUADS) {
            UNROLL(PEAK_UNROLL)
            for (int s = 0; s < SC_PEAK_QUADS; s++) {
                NO_LOADS_AHEAD(); /* also keeps the compiler from reusing products in the next run */
                const u8x64 w = u8_load(weights + 64 * s);
                UNROLL(PEAK_SUMS)
                for (int t = 0; t < PEAK_SUMS; t++) part[t] = dot_add(part[t], w, a[t]);
            }
        }
        UNROLL(PEAK_SUMS)
        for (int t = 0; t < PEAK_SUMS; t++) sum = i32_add(sum, dot_end(i32_set1(0), part[t]));
    }
    return sum_lanes(sum);
}

#endif
