/* Weights -> GGUF blocks, many at a time. body/fit.h chooses the numbers in a block, so they are the same on every
 * instruction set. This file turns rows into lanes, and lanes into blocks. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "gguf_blocks.h"
#include "half.h"
#include "kernels.h"
#include "os/threads.h"

enum { LANES = SC_LANES, UNIT = SC_QUANTIZE_UNIT };

typedef struct {
    const sc_kernels *kernels;
    int source, target;
    const char *values;
    size_t count, columns;
    const float *importance, *mean;
    char *blocks;
    double *sums;
    float *shifts;
    atomic_int status;
} quantize_job;

/* To the nearest, ties to even. */
static uint16_t bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* `count` values of a tensor from `first` on, as floats. */
static void load_values(const quantize_job *job, size_t first, size_t count, float *to)
{
    const uint16_t *half = (const uint16_t *)job->values + first;
    switch (job->source) {
    case SC_F16:
        for (size_t i = 0; i < count; i++) to[i] = sc_f32_from_f16(half[i]);
        break;
    case SC_BF16:
        for (size_t i = 0; i < count; i++) to[i] = sc_f32_from_bf16(half[i]);
        break;
    default: memcpy(to, (const float *)job->values + first, count * sizeof *to);
    }
}

/* Checks that values fit into a block: f16 scales and values end at 65504; half a unit beyond bf16's last value is
 * infinite. */
static int check_values(const quantize_job *job, const float *x, size_t count)
{
    const float most = job->target == SC_F32 ? INFINITY : job->target == SC_BF16 ? 0x1.FEFFFEp127f : 65504.0f;
    int status = SC_OK;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return SC_NOT_FINITE;
        if (fabsf(x[i]) > most) status = SC_TOO_LARGE;
    }
    return status;
}

/* `size` floats, 16 apart. */
static void copy_strided(float *to, const float *from, size_t size)
{
    for (size_t i = 0; i < size; i++) to[LANES * i] = from[i];
}

/* Lane i of (size, 16) is group first + i, as far as there are any; zeros fill the rest. */
static void to_lanes(const float *x, size_t size, size_t groups, float *lanes)
{
    memset(lanes, 0, size * LANES * sizeof *lanes);
    for (size_t g = 0; g < groups; g++) copy_strided(lanes + g, x + size * g, size);
}

/* The same for what is known of columns (importance, mean); `unknown` if `known` is NULL. */
static void columns_to_lanes(const quantize_job *job, const float *known, float unknown, size_t first, size_t size,
                             size_t groups, float *lanes)
{
    for (size_t i = 0; i < size * LANES; i++) lanes[i] = unknown;
    for (size_t g = 0; known && g < groups; g++)
        copy_strided(lanes + g, known + (first + size * g) % job->columns, size);
}

static void store_scales(const sc_fit *fit, size_t h, uint8_t *to)
{
    const int8_t *s = fit->scale + 8 * h, *m = fit->min + 8 * h;
    for (int j = 0; j < 4; j++) {
        to[j] = (uint8_t)(s[j] | s[j + 4] >> 4 << 6);
        to[j + 4] = (uint8_t)(m[j] | m[j + 4] >> 4 << 6);
        to[j + 8] = (uint8_t)((s[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}

static void store_nibbles(const sc_fit *fit, size_t h, uint8_t *to)
{
    for (size_t g = 0; g < 8; g += 2)
        for (size_t i = 0; i < 32; i++)
            *to++ = (uint8_t)((fit->q[i][8 * h + g] & 15) | (fit->q[i][8 * h + g + 1] & 15) << 4);
}

static void store_q4k(const sc_fit *fit, size_t h, block_q4k *b)
{
    b->d = sc_f16_from_f32(fit->d[h]);
    b->dmin = sc_f16_from_f32(fit->dmin[h]);
    store_scales(fit, h, b->scales);
    store_nibbles(fit, h, b->qs);
}

static void store_q5k(const sc_fit *fit, size_t h, block_q5k *b)
{
    b->d = sc_f16_from_f32(fit->d[h]);
    b->dmin = sc_f16_from_f32(fit->dmin[h]);
    store_scales(fit, h, b->scales);
    store_nibbles(fit, h, b->qs);
    for (size_t i = 0; i < 32; i++) {
        int bits = 0;
        for (size_t g = 0; g < 8; g++) bits |= (fit->q[i][8 * h + g] >> 4) << g;
        b->qh[i] = (uint8_t)bits;
    }
}

static void store_q3k(const sc_fit *fit, block_q3k *b)
{
    memset(b, 0, sizeof *b);
    b->d = sc_f16_from_f32(fit->d[0]);
    for (size_t g = 0; g < 16; g++) {
        const int scale = fit->scale[g] + 32;
        b->scales[g % 8] |= (uint8_t)((scale & 15) << (g < 8 ? 0 : 4));
        b->scales[8 + g % 4] |= (uint8_t)(scale >> 4 << 2 * (g / 4));
        for (size_t i = 0; i < 16; i++) { /* value 16*g + i: 32 values share a bit of hmask, 128 a span of qs */
            const int v = fit->q[i][g] + 4;
            const size_t at = g % 2 * 16 + i, part = g / 2;
            b->qs[part / 4 * 32 + at] |= (uint8_t)((v & 3) << 2 * (part % 4));
            b->hmask[at] |= (uint8_t)(v >> 2 << part);
        }
    }
}

static void store_q6k(const sc_fit *fit, block_q6k *b)
{
    b->d = sc_f16_from_f32(fit->d[0]);
    memcpy(b->scales, fit->scale, sizeof b->scales);
    for (size_t half = 0; half < 2; half++)
        for (size_t i = 0; i < 32; i++) {
            int v[4];
            for (size_t part = 0; part < 4; part++)
                v[part] = fit->q[i % 16][8 * half + 2 * part + i / 16] + 32;
            b->ql[64 * half + i] = (uint8_t)((v[0] & 15) | (v[2] & 15) << 4);
            b->ql[64 * half + 32 + i] = (uint8_t)((v[1] & 15) | (v[3] & 15) << 4);
            b->qh[32 * half + i] = (uint8_t)(v[0] >> 4 | v[1] >> 4 << 2 | v[2] >> 4 << 4 | v[3] >> 4 << 6);
        }
}

static void store_q4_0(const sc_fit *fit, size_t g, block_q4_0 *b)
{
    b->d = sc_f16_from_f32(fit->d[g]);
    for (size_t i = 0; i < 16; i++) b->qs[i] = (uint8_t)((fit->q[i][g] + 8) | (fit->q[i + 16][g] + 8) << 4);
}

static void store_q8_0(const sc_fit *fit, size_t g, block_q8_0 *b)
{
    b->d = sc_f16_from_f32(fit->d[g]);
    for (size_t i = 0; i < 32; i++) b->qs[i] = fit->q[i][g];
}

/* Fits 16 groups of lanes, of which the first `groups` are there, and stores their blocks from `block` on. */
static void quantize_lanes(const quantize_job *job, const float *x, const float *w, const float *mean, size_t groups,
                           size_t block, sc_fit *fit)
{
    const sc_kernels *k = job->kernels;
    switch (job->target) {
    case SC_Q3_K:
        k->fit_signed(x, w, mean, -4, 31, fit);
        store_q3k(fit, (block_q3k *)job->blocks + block);
        break;
    case SC_Q4_K:
        k->fit_affine(x, w, mean, 15, fit);
        for (size_t h = 0; h < groups / 8; h++) store_q4k(fit, h, (block_q4k *)job->blocks + block + h);
        break;
    case SC_Q5_K:
        k->fit_affine(x, w, mean, 31, fit);
        for (size_t h = 0; h < groups / 8; h++) store_q5k(fit, h, (block_q5k *)job->blocks + block + h);
        break;
    case SC_Q6_K:
        k->fit_signed(x, w, mean, -32, 127, fit);
        store_q6k(fit, (block_q6k *)job->blocks + block);
        break;
    case SC_Q4_0:
        k->fit_plain(x, w, mean, -8, 7, fit);
        for (size_t g = 0; g < groups; g++) store_q4_0(fit, g, (block_q4_0 *)job->blocks + block + g);
        break;
    case SC_Q8_0:
        k->fit_plain(x, w, mean, -127, 127, fit);
        for (size_t g = 0; g < groups; g++) store_q8_0(fit, g, (block_q8_0 *)job->blocks + block + g);
        break;
    }
}

/* Turns `count` values, the tensor's values from `first` on, into blocks, up to 16 groups at a time. Returns the
 * squared error. */
static double quantize_values(const quantize_job *job, size_t first, const float *x, size_t count)
{
    const size_t size = job->target == SC_Q6_K || job->target == SC_Q3_K ? 16 : 32;
    const size_t values = job->target == SC_Q8_0 || job->target == SC_Q4_0 ? SC_GROUP : SC_SUPERBLOCK;
    float lanes[32 * LANES], weights[32 * LANES], means[32 * LANES];
    double error = 0;
    sc_fit fit;
    for (size_t at = 0; at < count; at += size * LANES) {
        const size_t groups = (count - at < size * LANES ? count - at : size * LANES) / size;
        to_lanes(x + at, size, groups, lanes);
        columns_to_lanes(job, job->importance, 1, first + at, size, groups, weights);
        columns_to_lanes(job, job->mean, 0, first + at, size, groups, means);
        quantize_lanes(job, lanes, weights, means, groups, (first + at) / values, &fit);
        for (size_t g = 0; g < groups; g++) error += (double)fit.error[g];
        if (job->shifts) memcpy(job->shifts + (first + at) / size, fit.shift, groups * sizeof *fit.shift);
    }
    return error;
}

/* Rounds floats to floats of as many bits or fewer. Returns the squared error. */
static double round_values(const quantize_job *job, size_t first, const float *x, size_t count)
{
    uint16_t *half = (uint16_t *)job->blocks + first;
    double error = 0;
    for (size_t i = 0; i < count; i++) {
        if (job->target == SC_F32) {
            ((float *)job->blocks)[first + i] = x[i];
            continue;
        }
        half[i] = job->target == SC_F16 ? sc_f16_from_f32(x[i]) : bf16_from_f32(x[i]);
        const double miss =
            (double)x[i] - (double)(job->target == SC_F16 ? sc_f32_from_f16(half[i]) : sc_f32_from_bf16(half[i]));
        error += miss * miss;
    }
    return error;
}

static void quantize_unit(void *argument, size_t i)
{
    quantize_job *job = argument;
    float x[UNIT];
    const size_t first = i * UNIT, count = job->count - first < UNIT ? job->count - first : UNIT;
    load_values(job, first, count, x);
    const int status = check_values(job, x, count);
    if (status != SC_OK) {
        int none = SC_OK; /* the first bad unit decides, but NaN takes precedence over size */
        if (!atomic_compare_exchange_strong(&job->status, &none, status) && status == SC_NOT_FINITE)
            atomic_store(&job->status, status);
        return;
    }
    const int floats = job->target == SC_F32 || job->target == SC_F16 || job->target == SC_BF16;
    job->sums[2 * i + 1] = 0;
    for (size_t k = 0; k < count; k++) job->sums[2 * i + 1] += (double)x[k] * (double)x[k];
    job->sums[2 * i] = floats ? round_values(job, first, x, count) : quantize_values(job, first, x, count);
}

int sc_quantize(sc_team *team, int isa, const sc_quantization *q)
{
    quantize_job job = {.kernels = sc_kernels_get(isa),
                        .source = q->source,
                        .target = q->target,
                        .values = q->values,
                        .count = (size_t)q->rows * (size_t)q->columns,
                        .columns = (size_t)q->columns,
                        .importance = q->importance,
                        .mean = q->mean,
                        .blocks = q->blocks,
                        .sums = q->sums,
                        .shifts = q->shifts,
                        .status = SC_OK};
    sc_team_for(team, (job.count + UNIT - 1) / UNIT, quantize_unit, &job);
    return atomic_load(&job.status);
}
