/* Linear layers: pairs of panels shared out over the team, each finished on the spot by whatever follows the layer. */
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
            const int32_t position = seg->position + t - seg->first_row, slot = position % SC_KV_BLOCK;
            uint16_t half[SC_PAIR], *keys = sc_kv_keys(e, seg->blocks[position / SC_KV_BLOCK], op->layer, at.head);
            e->kernels->f16_clamped(from, SC_PAIR, half);
            if (at.part == 2) {
                uint16_t *values = keys + SC_KV_BLOCK * e->dim;
                /* Weight 0 times NaN would reach queries that do not see this key; the key itself carries NaN on. */
                for (int32_t i = first; i < first + count; i++)
                    if ((half[i] & 0x7FFF) > 0x7C00) half[i] = 0;
                memcpy(values + (size_t)slot * e->dim + at.d, half + first, (size_t)count * sizeof *half);
            } else {
                for (int32_t i = 0; i < count; i++) keys[SC_KV_BLOCK * (at.d + i) + slot] = half[first + i];
            }
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

static void store_gelu(const sc_engine *e, const sc_op *op, size_t row, size_t rows, float *acc)
{
    e->kernels->gelu(acc, op->bias + row, rows);
    for (size_t t = 0; t < rows; t++) {
        if (op->quantize)
            e->kernels->quantize_group(acc + t * SC_PAIR, e->u.blocks + row / SC_BLOCK * rows + t,
                                       (int)(row % SC_BLOCK / SC_GROUP));
        else
            memcpy(e->u.floats + t * e->u.stride + row, acc + t * SC_PAIR, SC_PAIR * sizeof *acc);
    }
}

static void store_add(const sc_engine *e, const sc_op *op, size_t row, size_t rows, const float *restrict acc)
{
    const float *restrict bias = op->bias + row;
    for (size_t t = 0; t < rows; t++) {
        float *restrict x = e->x.floats + t * e->x.stride + row;
        for (size_t i = 0; i < SC_PAIR; i++) x[i] += acc[t * SC_PAIR + i] + bias[i];
    }
}

static void store_logits(const sc_step *step, const sc_op *op, size_t row, size_t rows, const float *acc)
{
    const size_t width = (size_t)op->matrix->rows, n = width - row < SC_PAIR ? width - row : SC_PAIR;
    for (size_t t = 0; t < rows; t++) memcpy(step->batch->logits + t * width + row, acc + t * SC_PAIR, n * sizeof *acc);
}

static void store(const sc_step *step, const sc_op *op, size_t row, size_t rows, float *acc)
{
    switch (op->kind) {
    case SC_OP_QKV:
        add_bias(acc, op->bias + row, rows);
        store_qkv(step, op, (int32_t)row, acc);
        break;
    case SC_OP_UP: store_gelu(step->engine, op, row, rows, acc); break;
    case SC_OP_LOGITS: store_logits(step, op, row, rows, acc); break;
    default: store_add(step->engine, op, row, rows, acc); break;
    }
}

static const sc_vectors *input_of(const sc_engine *e, int32_t kind)
{
    return kind == SC_OP_ADD_ATTN ? &e->a : kind == SC_OP_ADD_FFN ? &e->u : &e->h;
}

/* Pairs first..last-1, which a thread takes together. */
typedef struct {
    size_t first, last;
} share;

/* The share of running number `index`. Few rows: every thread takes half of its part of what is left, so that its reads
 * of the weights run on, down to one unit, so that all end at once. Many rows, where weights are a small part of what is
 * read: units. */
static share share_of(size_t index, size_t threads, size_t pairs, size_t unit, int many)
{
    size_t first = 0, size = unit;
    for (; !many && first < pairs; index -= threads) {
        const size_t half = (pairs - first) / unit / (2 * threads) * unit;
        size = half > unit ? half : unit;
        if (index < threads || size == unit) break;
        first += threads * size;
    }
    first += index * size;
    return (share){first, first + size < pairs ? first + size : pairs};
}

void sc_op_linear(const sc_step *step, const sc_op *op, int thread)
{
    const sc_engine *e = step->engine;
    const sc_matrix *m = op->matrix;
    const sc_vectors *in = input_of(e, op->kind);
    const int floats = m->format < SC_Q4_K;
    const size_t rows = (size_t)(op->kind == SC_OP_LOGITS ? step->batch->outputs : step->batch->rows);
    const size_t pairs = ((size_t)m->rows + SC_PAIR - 1) / SC_PAIR, columns = (size_t)m->columns;
    const size_t pair_bytes = sc_pair_bytes(m->format, columns), threads = (size_t)sc_team_size(e->team);
    /* Quantised outputs go by whole blocks of activations, so that no two threads write to one cache line. */
    const size_t unit = op->kind == SC_OP_UP && op->quantize ? SC_GROUPS : 1;
    float *acc = e->scratch + (size_t)thread * e->scratch_floats;
    while (rows) {
        share s = share_of((size_t)sc_team_next(e->team), threads, pairs, unit, rows >= SC_MANY_ROWS);
        if (s.first >= pairs) return;
        for (; s.first < s.last; s.first++) {
            e->kernels->linear[m->format]((const char *)m->panels + s.first * pair_bytes, columns,
                                          floats ? (const void *)in->floats : (const void *)in->blocks,
                                          floats ? in->stride : rows, rows, acc);
            store(step, op, s.first * SC_PAIR, rows, acc);
        }
    }
}
