/* Linear layers: pairs of panels shared out over the team, each finished on the spot by whatever follows the layer. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine.h"

enum { SC_MANY_ROWS = 128 };

/* Adds the bias of a pair's 32 outputs. */
static void add_bias(float *restrict acc, const float *restrict bias, size_t rows)
{
    for (size_t t = 0; t < rows; t++)
        for (size_t i = 0; i < SC_PAIR; i++) acc[t * SC_PAIR + i] += bias[i];
}

/* Output `row` of a qkv layer belongs to this head: all queries come first, then keys, then values. */
typedef struct {
    int32_t part, head, d; /* part 0 query, 1 key, 2 value */
} qkv_place;

static qkv_place place_of(const sc_shape *s, int32_t row)
{
    const int32_t queries = s->n_head * s->head_dim, keys = s->n_head_kv * s->head_dim;
    if (row < queries) return (qkv_place){0, row / s->head_dim, row % s->head_dim};
    row -= queries;
    return (qkv_place){1 + row / keys, row % keys / s->head_dim, row % s->head_dim};
}

/* `count` floats of a position into a block of the cache. Weight 0 times a value that is not finite would reach queries that
 * do not see this key, so values are made finite; a key itself carries NaN on. */
static void store_floats(const sc_engine *e, qkv_place at, char *keys, int32_t slot, const float *from, int32_t count)
{
    float *k = (float *)keys, *v = (float *)(keys + sc_kv_half_bytes(e->shape.cache, e->dim)) + (size_t)slot * e->dim + at.d;
    for (int32_t i = 0; i < count; i++) {
        if (at.part == 1) k[SC_KV_BLOCK * (at.d + i) + slot] = from[i];
        else v[i] = isnan(from[i]) ? 0 : fminf(FLT_MAX, fmaxf(-FLT_MAX, from[i]));
    }
}

/* The same in f16 for `count` of a pair's outputs from `first`. */
static void store_halves(const sc_engine *e, qkv_place at, char *keys, int32_t slot, const float *from, int32_t first,
                         int32_t count)
{
    uint16_t half[SC_PAIR], *k = (uint16_t *)keys, *v = (uint16_t *)(keys + sc_kv_half_bytes(e->shape.cache, e->dim));
    e->kernels->f16_clamped(from, SC_PAIR, half);
    if (at.part == 1) {
        for (int32_t i = 0; i < count; i++) k[SC_KV_BLOCK * (at.d + i) + slot] = half[first + i];
        return;
    }
    for (int32_t i = first; i < first + count; i++)
        if ((half[i] & 0x7FFF) > 0x7C00) half[i] = 0;
    memcpy(v + (size_t)slot * e->dim + at.d, half + first, (size_t)count * sizeof *half);
}

/* `count` outputs from `first`, all of one head, into q or the cache. */
static void store_run(const sc_step *step, const sc_op *op, qkv_place at, const float *acc, int32_t first, int32_t count)
{
    const sc_engine *e = step->engine;
    const sc_batch *batch = step->batch;
    for (int32_t s = 0; s < batch->segments; s++) {
        const sc_segment *seg = &batch->segment[s];
        for (int32_t t = seg->first_row; t < seg->first_row + seg->rows; t++) {
            const float *from = acc + (size_t)t * SC_PAIR;
            if (at.part == 0) {
                float *q = e->q.floats + (size_t)t * e->q.stride + (size_t)at.head * e->dim;
                memcpy(q + at.d, from + first, (size_t)count * sizeof *from);
                continue;
            }
            const int32_t position = seg->position + t - seg->first_row;
            char *keys = sc_kv_keys(e, seg->blocks[position / SC_KV_BLOCK], op->layer, at.head);
            if (e->shape.cache == SC_F32) store_floats(e, at, keys, position % SC_KV_BLOCK, from + first, count);
            else store_halves(e, at, keys, position % SC_KV_BLOCK, from, first, count);
        }
    }
}

static void store_qkv(const sc_step *step, const sc_op *op, int32_t row, const float *acc)
{
    const sc_shape *shape = &step->engine->shape;
    for (int32_t first = 0, count; first < SC_PAIR && row + first < op->matrix->rows; first += count) {
        const qkv_place at = place_of(shape, row + first);
        count = shape->head_dim - at.d;
        if (count > SC_PAIR - first) count = SC_PAIR - first;
        store_run(step, op, at, acc, first, count);
    }
}

/* The hidden layer is quantised when the last pair of a block of activations is there; `acc` follows those of the others. */
static void store_gelu(const sc_engine *e, const sc_op *op, size_t row, size_t rows, float *acc)
{
    const size_t pair = row % SC_BLOCK / SC_PAIR;
    e->kernels->gelu(acc, op->bias + row, rows);
    if (!op->quantize)
        for (size_t t = 0; t < rows; t++)
            memcpy(e->u.floats + t * e->u.stride + row, acc + t * SC_PAIR, SC_PAIR * sizeof *acc);
    else if (pair == SC_GROUPS - 1 || row + SC_PAIR == e->u.width)
        e->kernels->quantize_pairs(acc - pair * sc_pair_outputs(rows), sc_pair_outputs(rows), (int)pair + 1, rows,
                                   e->u.blocks + row / SC_BLOCK * rows);
}

static void store_logits(const sc_step *step, const sc_op *op, size_t row, size_t rows, const float *acc)
{
    const size_t width = (size_t)op->matrix->rows, n = width - row < SC_PAIR ? width - row : SC_PAIR;
    for (size_t t = 0; t < rows; t++) memcpy(step->batch->logits + t * width + row, acc + t * SC_PAIR, n * sizeof *acc);
}

static void store(const sc_step *step, const sc_op *op, size_t row, size_t rows, float *acc)
{
    const sc_engine *e = step->engine;
    switch (op->kind) {
    case SC_OP_QKV:
        add_bias(acc, op->bias + row, rows);
        store_qkv(step, op, (int32_t)row, acc);
        break;
    case SC_OP_UP: store_gelu(e, op, row, rows, acc); break;
    case SC_OP_LOGITS: store_logits(step, op, row, rows, acc); break;
    default: e->kernels->add_residual(e->x.floats + row, e->x.stride, acc, op->bias + row, rows); break;
    }
}

static const sc_vectors *input_of(const sc_engine *e, int32_t kind)
{
    return kind == SC_OP_ADD_ATTN ? &e->a : kind == SC_OP_ADD_FFN ? &e->u : &e->h;
}

/* A linear layer as the team shares it out. */
typedef struct {
    const char *panels;
    size_t rows, pairs, pair_bytes;
    size_t threads, unit; /* unit: so many pairs at least go together */
    int many;
} layer;

static layer layer_of(const sc_step *step, const sc_op *op)
{
    const sc_matrix *m = op->matrix;
    layer l = {.panels = m->panels, .pair_bytes = sc_pair_bytes(m->format, (size_t)m->columns)};
    l.rows = (size_t)(op->kind == SC_OP_LOGITS ? step->batch->outputs : step->batch->rows);
    l.pairs = l.rows ? ((size_t)m->rows + SC_PAIR - 1) / SC_PAIR : 0;
    l.threads = (size_t)sc_team_size(step->engine->team);
    /* Quantised outputs go by whole blocks of activations. */
    l.unit = op->kind == SC_OP_UP && op->quantize ? SC_GROUPS : 1;
    l.many = l.rows >= SC_MANY_ROWS;
    return l;
}

/* Pairs first..last-1, which a thread takes together. */
typedef struct {
    size_t first, last;
} share;

/* The share of running number `index`. Few rows: every thread takes half of its part of what is left, so that its reads
 * of the weights run on, down to one unit, so that all end at once. Many rows, where weights are a small part of what is
 * read: units. */
static share share_of(const layer *l, size_t index)
{
    size_t first = 0, size = l->unit;
    for (; !l->many && first < l->pairs; index -= l->threads) {
        const size_t half = (l->pairs - first) / l->unit / (2 * l->threads) * l->unit;
        size = half > l->unit ? half : l->unit;
        if (index < l->threads || size == l->unit) break;
        first += l->threads * size;
    }
    first += index * size;
    return (share){first, first + size < l->pairs ? first + size : l->pairs};
}

/* Where this thread will begin in the linear layer that follows `op`; anywhere if none does. */
static const char *next_layer(const sc_step *step, const sc_op *op, int thread)
{
    const char *none = op->matrix->panels;
    while (++op < step->ops + step->n_ops) {
        if (op->kind == SC_OP_NORM || op->kind == SC_OP_NORM_LAST || op->kind == SC_OP_ATTEND) continue;
        const layer l = layer_of(step, op);
        const share s = share_of(&l, (size_t)thread);
        return l.panels + (s.first < l.pairs ? s.first * l.pair_bytes : 0);
    }
    return none;
}

/* Adds the layer's inputs, and their squares, to its moments: every thread takes some columns, rows in their order. */
static void add_moments(const sc_step *step, const sc_op *op, const sc_vectors *in, size_t rows, int thread)
{
    const size_t columns = (size_t)op->matrix->columns, threads = (size_t)sc_team_size(step->engine->team);
    const size_t first = columns * (size_t)thread / threads, last = columns * ((size_t)thread + 1) / threads;
    for (size_t t = 0; t < rows; t++)
        for (size_t c = first; c < last; c++) {
            const double x = (double)in->floats[t * in->stride + c];
            op->moments[c] += x;
            op->moments[columns + c] += x * x;
        }
}

/* Each thread's first share is its own, so that the layer before can prefetch it; a counter gives out the others. */
void sc_op_linear(const sc_step *step, const sc_op *op, int thread)
{
    const sc_engine *e = step->engine;
    const layer l = layer_of(step, op);
    const sc_vectors *in = input_of(e, op->kind);
    const int format = op->matrix->format, floats = format < SC_Q4_K;
    const void *x = floats ? (const void *)in->floats : (const void *)in->blocks;
    const char *after = next_layer(step, op, thread);
    float *scratch = e->scratch + (size_t)thread * e->scratch_floats;
    if (op->moments) add_moments(step, op, in, l.rows, thread);
    for (share now = share_of(&l, (size_t)thread), next; now.first < l.pairs; now = next) {
        next = share_of(&l, l.threads + (size_t)sc_team_next(e->team));
        for (size_t i = now.first; i < now.last; i++) {
            const size_t then = i + 1 < now.last ? i + 1 : next.first;
            float *acc = scratch + i % l.unit * sc_pair_outputs(l.rows);
            const char *ahead = then < l.pairs ? l.panels + then * l.pair_bytes : after;
            /* The bias was read a token ago: the weights since have swept it out of the cache. */
            if (op->bias)
                for (size_t b = 0; b < SC_PAIR; b += 16) __builtin_prefetch(op->bias + i * SC_PAIR + b);
            e->kernels->linear[format](l.panels + i * l.pair_bytes, (size_t)op->matrix->columns, x,
                                       floats ? in->stride : l.rows, l.rows, ahead, acc);
            store(step, op, i * SC_PAIR, l.rows, acc);
        }
    }
}
