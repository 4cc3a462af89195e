/* Linear layers: pairs of panels and rows shared out over the team. Each output is finished on the spot by whatever
 * follows the layer. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "ops.h"
#include "linear_units.h"

/* Adds the bias of a pair's 32 outputs. */
static void add_bias(float *restrict acc, const float *restrict bias, size_t rows)
{
    for (size_t t = 0; t < rows; t++)
        for (size_t i = 0; i < SC_PAIR; i++) acc[t * SC_PAIR + i] += bias[i];
}

/* The head that an output row of a qkv layer belongs to. All queries come first, then keys, then values. */
typedef struct {
    int32_t kind, head, d; /* kind 0 query, 1 key, 2 value */
} qkv_place;

static qkv_place place_of(const sc_shape *s, int32_t row)
{
    const int32_t queries = s->n_head * s->head_dim, keys = s->n_head_kv * s->head_dim;
    if (row < queries) return (qkv_place){0, row / s->head_dim, row % s->head_dim};
    row -= queries;
    return (qkv_place){1 + row / keys, row % keys / s->head_dim, row % s->head_dim};
}

/* Stores `count` floats of a position in a block of the cache. A value that is not finite, times weight 0, would reach
 * queries that do not see its key, so values are made finite. A key passes NaN on. */
static void store_floats(const sc_engine *e, qkv_place at, char *keys, int32_t slot, const float *from, int32_t count)
{
    float *k = (float *)keys;
    float *v = (float *)(keys + sc_kv_half_bytes(e->shape.cache, e->dim)) + (size_t)slot * e->dim + at.d;
    for (int32_t i = 0; i < count; i++) {
        if (at.kind == 1) k[SC_KV_BLOCK * (at.d + i) + slot] = from[i];
        else v[i] = isnan(from[i]) ? 0 : from[i] > FLT_MAX ? FLT_MAX : from[i] < -FLT_MAX ? -FLT_MAX : from[i];
    }
}

/* The same in f16, for `count` of a pair's outputs from `first` on. */
static void store_halves(const sc_engine *e, qkv_place at, char *keys, int32_t slot, const float *from, int32_t first,
                         int32_t count)
{
    uint16_t half[SC_PAIR], *k = (uint16_t *)keys, *v = (uint16_t *)(keys + sc_kv_half_bytes(e->shape.cache, e->dim));
    e->kernels->f16_clamped(from, SC_PAIR, half);
    if (at.kind == 1) {
        for (int32_t i = 0; i < count; i++) k[SC_KV_BLOCK * (at.d + i) + slot] = half[first + i];
        return;
    }
    for (int32_t i = first; i < first + count; i++)
        if ((half[i] & 0x7FFF) > 0x7C00) half[i] = 0;
    memcpy(v + (size_t)slot * e->dim + at.d, half + first, (size_t)count * sizeof *half);
}

/* Outputs (rows, 32) of a pair, for rows begin..begin+rows-1 of the step. */
typedef struct {
    float *acc;
    size_t begin, rows;
} outputs;

/* Stores `count` outputs from `first` on, all of one head, in q or the cache. */
static void store_run(const sc_step *step, const sc_op *op, qkv_place at, const outputs *o, int32_t first,
                      int32_t count)
{
    const sc_engine *e = step->engine;
    const sc_batch *batch = step->batch;
    const int32_t begin = (int32_t)o->begin, end = begin + (int32_t)o->rows;
    for (int32_t s = 0; s < batch->segments; s++) {
        const sc_segment *seg = &batch->segment[s];
        const int32_t stop = seg->first_row + seg->rows;
        for (int32_t t = seg->first_row > begin ? seg->first_row : begin; t < stop && t < end; t++) {
            const float *from = o->acc + (size_t)(t - begin) * SC_PAIR;
            if (at.kind == 0) {
                float *q = e->q.floats + (size_t)t * e->q.stride + (size_t)at.head * e->dim;
                memcpy(q + at.d, from + first, (size_t)count * sizeof *from);
                continue;
            }
            const int32_t position = seg->position + t - seg->first_row;
            char *keys = sc_kv_keys(e, seg->kv_blocks[position / SC_KV_BLOCK], op->layer, at.head);
            if (e->shape.cache == SC_F32) store_floats(e, at, keys, position % SC_KV_BLOCK, from + first, count);
            else store_halves(e, at, keys, position % SC_KV_BLOCK, from, first, count);
        }
    }
}

static void store_qkv(const sc_step *step, const sc_op *op, int32_t row, const outputs *o)
{
    const sc_shape *shape = &step->engine->shape;
    for (int32_t first = 0, count; first < SC_PAIR && row + first < op->matrix->rows; first += count) {
        const qkv_place at = place_of(shape, row + first);
        count = shape->head_dim - at.d;
        if (count > SC_PAIR - first) count = SC_PAIR - first;
        store_run(step, op, at, o, first, count);
    }
}

/* Pairs of a block of activations of the hidden layer. The last block may have fewer than eight. */
static size_t pairs_of_block(const sc_engine *e, size_t block)
{
    const size_t left = e->u.width / SC_PAIR - block * SC_GROUPS;
    return left < SC_GROUPS ? left : SC_GROUPS;
}

/* Whether single pairs of the hidden layer are units, although it is quantized in blocks of eight pairs. A small team
 * shares blocks evenly enough, at less cost. */
static int is_fine(const sc_step *step, const sc_op *op)
{
    return op->kind == SC_OP_UP && op->quantize && step->batch->rows <= SC_FINE_ROWS &&
           sc_team_size(step->engine->team) > SC_FINE_TEAM;
}

/* The thread that stores the last pair of a block of activations quantizes it. Pairs are `next` floats apart. */
static void store_gelu(const sc_step *step, const sc_op *op, size_t row, const outputs *o)
{
    const sc_engine *e = step->engine;
    const size_t block = row / SC_SUPERBLOCK, pair = row % SC_SUPERBLOCK / SC_PAIR, next = sc_pair_outputs(o->rows);
    const size_t pairs = pairs_of_block(e, block);
    e->kernels->gelu(o->acc, op->bias + row, o->rows);
    if (!op->quantize)
        for (size_t t = 0; t < o->rows; t++)
            memcpy(e->u.floats + (o->begin + t) * e->u.stride + row, o->acc + t * SC_PAIR, SC_PAIR * sizeof *o->acc);
    else if (is_fine(step, op) ? atomic_fetch_sub(&e->missing[block], 1) == 1 : pair == pairs - 1)
        e->kernels->quantize_pairs(o->acc - pair * next, next, (int)pairs, o->rows,
                                   e->u.blocks + block * (size_t)step->batch->rows + o->begin);
}

static void store_logits(const sc_step *step, const sc_op *op, size_t row, const outputs *o)
{
    const size_t width = (size_t)op->matrix->rows, n = width - row < SC_PAIR ? width - row : SC_PAIR;
    for (size_t t = 0; t < o->rows; t++)
        memcpy(step->batch->logits + (o->begin + t) * width + row, o->acc + t * SC_PAIR, n * sizeof *o->acc);
}

static void store(const sc_step *step, const sc_op *op, size_t row, const outputs *o)
{
    const sc_engine *e = step->engine;
    float *x = e->x.floats + o->begin * e->x.stride + row;
    switch (op->kind) {
    case SC_OP_QKV:
        add_bias(o->acc, op->bias + row, o->rows);
        store_qkv(step, op, (int32_t)row, o);
        break;
    case SC_OP_UP: store_gelu(step, op, row, o); break;
    case SC_OP_LOGITS: store_logits(step, op, row, o); break;
    default: e->kernels->add_residual(x, e->x.stride, o->acc, op->bias + row, o->rows); break;
    }
}

static size_t rows_of(const sc_step *step, const sc_op *op)
{
    return (size_t)(op->kind == SC_OP_LOGITS ? step->batch->outputs : step->batch->rows);
}

static sc_sharing sharing_of(const sc_step *step, const sc_op *op)
{
    const sc_matrix *m = op->matrix;
    const uint32_t pairs = sc_divide_up((uint32_t)m->rows, SC_PAIR);
    /* Quantized outputs of many rows go in whole blocks of activations: their pairs share a scale, and tokens share a
     * cache line. */
    const uint32_t unit = op->kind == SC_OP_UP && op->quantize && !is_fine(step, op) ? SC_GROUPS : 1;
    return sc_share_out(pairs, unit, (uint32_t)rows_of(step, op), (uint32_t)sc_team_size(step->engine->team),
                        (size_t)m->columns, sc_pair_bytes(m->format, (size_t)m->columns));
}

static const char *pair_at(const sc_matrix *m, uint32_t pair)
{
    return (const char *)m->panels + pair * sc_pair_bytes(m->format, (size_t)m->columns);
}

/* Where this thread will begin in the next linear layer after `op`; anywhere if there is none. */
static const char *next_layer(const sc_step *step, const sc_op *op, int thread)
{
    const char *none = op->matrix->panels;
    while (++op < step->ops + step->n_ops) {
        if (op->kind == SC_OP_NORM || op->kind == SC_OP_NORM_LAST || op->kind == SC_OP_ATTEND) continue;
        const sc_sharing s = sharing_of(step, op);
        const sc_share share = sc_share_at(&s, (uint32_t)thread);
        return pair_at(op->matrix, share.first < s.pairs ? share.first : 0);
    }
    return none;
}

/* The input of a layer: blocks, `stride` apart for each token, or floats, `stride` from token to token. */
typedef struct {
    const float *floats;
    const sc_act *blocks;
    size_t stride;
} input;

/* The rows of a norm that this thread computes for itself, once per phase. */
static input own_input(const sc_step *step, const sc_op *norm, size_t rows, sc_worker *worker, float *scratch)
{
    const sc_engine *e = step->engine;
    sc_own_norm *own = (sc_own_norm *)(void *)(e->norms + (size_t)sc_worker_thread(worker) * e->norm_bytes);
    float *floats = (float *)(void *)(own + 1);
    sc_act *blocks = (sc_act *)(void *)(own + 1);
    if (own->phase != sc_worker_phase(worker)) {
        for (size_t t = 0; t < rows; t++)
            sc_norm_row(step, norm, (int32_t)t, scratch, floats + t * e->h.stride, blocks + t, rows);
        own->phase = sc_worker_phase(worker);
    }
    return norm->quantize ? (input){NULL, blocks, rows} : (input){floats, NULL, e->h.stride};
}

static input input_of(const sc_step *step, const sc_op *op, size_t rows, sc_worker *worker, float *scratch)
{
    const sc_engine *e = step->engine;
    const sc_op *norm = sc_own_norm_of(step, op);
    if (norm) return own_input(step, norm, rows, worker, scratch);
    const sc_vectors *in = op->kind == SC_OP_ADD_ATTN ? &e->a : op->kind == SC_OP_ADD_FFN ? &e->u : &e->h;
    return op->matrix->format < SC_Q4_K ? (input){in->floats, NULL, in->stride} : (input){NULL, in->blocks, rows};
}

/* Adds the layer's inputs, and their squares, to its moments. A unit is MOMENTS columns; rows go in order. */
enum { MOMENTS = 64 };

static void add_moments(const sc_step *step, const sc_op *op, uint32_t unit, const input *in)
{
    const size_t columns = (size_t)op->matrix->columns, rows = rows_of(step, op), first = unit * (size_t)MOMENTS;
    for (size_t t = 0; t < rows; t++)
        for (size_t c = first; c < columns && c < first + MOMENTS; c++) {
            const double x = (double)in->floats[t * in->stride + c];
            op->moments[c] += x;
            op->moments[columns + c] += x * x;
        }
}

/* Runs one pair for the rows of a share. */
static void run_pair(const sc_step *step, const sc_op *op, const input *in, const sc_share *share, uint32_t pair,
                     const char *ahead, float *acc)
{
    const sc_matrix *m = op->matrix;
    const outputs o = {acc, share->begin, share->end - share->begin};
    const void *x =
        in->floats ? (const void *)(in->floats + o.begin * in->stride) : (const void *)(in->blocks + o.begin);
    /* The bias was last read a token ago; the weights since then have evicted it from the cache. */
    if (op->bias)
        for (size_t b = 0; b < SC_PAIR; b += 16) __builtin_prefetch(op->bias + pair * SC_PAIR + b);
    step->engine->kernels->linear[m->format](pair_at(m, pair), (size_t)m->columns, x, in->stride, o.rows, ahead, acc);
    store(step, op, (size_t)pair * SC_PAIR, &o);
}

enum { MULTIPLY = 1 }; /* the stage after the moments */

uint32_t sc_linear_units(const sc_step *step, const sc_op *op, int stage)
{
    if (!rows_of(step, op) || stage > MULTIPLY) return 0;
    if (stage < MULTIPLY) return op->moments ? sc_divide_up((uint32_t)op->matrix->columns, MOMENTS) : 0;
    if (is_fine(step, op))
        for (size_t block = 0; block * SC_SUPERBLOCK < step->engine->u.width; block++)
            atomic_store(&step->engine->missing[block], (unsigned char)pairs_of_block(step->engine, block));
    const sc_sharing s = sharing_of(step, op);
    return sc_shares(&s);
}

/* The next share is taken before the last pair of this one, which prefetches it. */
void sc_linear_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index)
{
    const int thread = sc_worker_thread(worker);
    float *scratch = sc_scratch(step, worker);
    const input in = input_of(step, op, rows_of(step, op), worker, scratch);
    if (stage < MULTIPLY) {
        for (int64_t i = index; i >= 0; i = sc_team_take(worker)) add_moments(step, op, (uint32_t)i, &in);
        return;
    }
    const sc_sharing s = sharing_of(step, op);
    const char *after = next_layer(step, op, thread);
    sc_share now = sc_share_at(&s, index);
    for (int64_t taken = 0; taken >= 0;) {
        sc_share next = now;
        for (uint32_t i = now.first; i < now.last; i++) {
            const char *ahead = i + 1 < now.last ? pair_at(op->matrix, i + 1) : after;
            if (i + 1 == now.last && (taken = sc_team_take(worker)) >= 0) {
                next = sc_share_at(&s, (uint32_t)taken);
                ahead = pair_at(op->matrix, next.first);
            }
            const size_t outputs = sc_pair_outputs(now.end - now.begin);
            float *acc = is_fine(step, op) ? step->engine->hidden + i * outputs : scratch + i % s.unit * outputs;
            run_pair(step, op, &in, &now, i, ahead, acc);
        }
        now = next;
    }
}
