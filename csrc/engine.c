/* The forward pass: memory, and the loop over operations that every thread of the team runs together. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "embedding.h"

enum { PAGE = 4096 };

size_t sc_kv_block_bytes(const sc_shape *shape)
{
    const size_t dim = sc_pad32((size_t)shape->head_dim);
    return (size_t)shape->n_layer * (size_t)shape->n_head_kv * 2 * sc_kv_half_bytes(shape->cache, dim);
}

/* Gives out pieces of one allocation; with `base` NULL it only adds up their sizes. */
typedef struct {
    char *base;
    size_t used;
} arena;

static void *arena_take(arena *a, size_t bytes)
{
    void *piece = a->base ? a->base + a->used : NULL;
    a->used += (bytes + 63) / 64 * 64;
    return piece;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Pieces that are never in use together lie in one place: each begins at `start`, and the longest one counts. */
typedef struct {
    size_t start, end;
} overlay;

static overlay overlay_begin(const arena *a) { return (overlay){a->used, a->used}; }

static void overlay_next(arena *a, overlay *o)
{
    o->end = larger(o->end, a->used);
    a->used = o->start;
}

static void overlay_end(arena *a, const overlay *o) { a->used = larger(o->end, a->used); }

static void take_floats(arena *a, sc_vectors *v, size_t width, size_t rows)
{
    v->width = sc_pad32(width);
    v->stride = (v->width / 16 | 1) * 16;
    v->floats = arena_take(a, rows * v->stride * sizeof(float));
}

static void take_blocks(arena *a, sc_vectors *v, size_t rows)
{
    v->blocks = arena_take(a, rows * ((v->width + SC_BLOCK - 1) / SC_BLOCK) * sizeof(sc_act));
}

static void take_all(sc_engine *e, arena *a, size_t threads, int float_hidden)
{
    const size_t rows = (size_t)e->max_rows, heads = (size_t)e->shape.n_head;
    take_floats(a, &e->x, (size_t)e->shape.n_embd, rows);
    overlay o = overlay_begin(a); /* h takes one form at a time */
    take_floats(a, &e->h, (size_t)e->shape.n_embd, rows);
    overlay_next(a, &o);
    take_blocks(a, &e->h, rows);
    overlay_end(a, &o);
    take_floats(a, &e->a, heads * (size_t)e->shape.head_dim, rows);
    take_blocks(a, &e->a, rows);
    o = overlay_begin(a); /* q is read for the last time before u is written, and the other way round */
    take_floats(a, &e->q, heads * e->dim, rows);
    overlay_next(a, &o);
    take_floats(a, &e->u, (size_t)e->shape.n_ff, float_hidden ? rows : 0);
    overlay_next(a, &o);
    take_blocks(a, &e->u, rows);
    overlay_end(a, &o);
    e->scratch = arena_take(a, threads * e->scratch_floats * sizeof(float));
    e->partials = arena_take(a, e->max_partials * e->partial_bytes);
}

/* A page that is there cannot fail to come during a step, and the model's memory is known once it is loaded. */
static void touch_pages(char *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += PAGE) ((volatile char *)memory)[i] = 0;
}

sc_engine *sc_engine_new(const sc_shape *shape, int isa, int32_t rows, int float_hidden, sc_team *team)
{
    sc_engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    const size_t threads = (size_t)sc_team_wanted(team);
    arena a = {NULL, 0};
    e->shape = *shape;
    e->kernels = sc_kernels_get(isa);
    e->team = team;
    e->max_rows = rows;
    e->dim = sc_pad32((size_t)shape->head_dim);
    e->partial_bytes = sizeof(sc_partial) + SC_QUERIES * e->dim * sizeof(float);
    e->max_partials = threads * SC_THREAD_PARTIALS;
    /* A linear layer needs (rows, 32), for each pair of a block of activations; split attention its queries; a norm one row. */
    const size_t linear = SC_GROUPS * sc_pair_outputs((size_t)rows), attention = SC_QUERIES * e->dim;
    e->scratch_floats = larger(larger(linear, attention), sc_pad32((size_t)shape->n_embd));
    e->scratch_floats = (e->scratch_floats + 15) / 16 * 16;
    take_all(e, &a, threads, float_hidden);
    e->memory_bytes = a.used;
    e->memory = a.base = sc_allocate(a.used);
    if (!a.base) {
        free(e);
        return NULL;
    }
    touch_pages(a.base, a.used);
    a.used = 0;
    take_all(e, &a, threads, float_hidden);
    return e;
}

void sc_engine_free(sc_engine *e)
{
    if (!e) return;
    sc_release(e->memory, e->memory_bytes);
    free(e);
}

static int32_t position_of(const sc_batch *batch, int32_t row)
{
    int32_t s = 0;
    while (row >= batch->segment[s].first_row + batch->segment[s].rows) s++;
    return batch->segment[s].position + row - batch->segment[s].first_row;
}

static void op_embed(const sc_step *step, const sc_op *op, int thread)
{
    const sc_engine *e = step->engine;
    const size_t n = (size_t)e->shape.n_embd;
    float *position = e->scratch + (size_t)thread * e->scratch_floats;
    for (int64_t t; (t = sc_team_next(e->team)) < step->batch->rows;) {
        float *x = e->x.floats + (size_t)t * e->x.stride;
        sc_embedding_row(op->matrix, (size_t)step->batch->tokens[t], x);
        sc_embedding_row(op->positions, (size_t)position_of(step->batch, (int32_t)t), position);
        for (size_t i = 0; i < n; i++) x[i] += position[i];
        memset(x + n, 0, (e->x.width - n) * sizeof *x); /* an overflow in an earlier step may have left NaN there */
    }
}

static void op_norm(const sc_step *step, const sc_op *op, int thread)
{
    const sc_engine *e = step->engine;
    const sc_batch *batch = step->batch;
    const int last = op->kind == SC_OP_NORM_LAST;
    const int32_t rows = last ? batch->outputs : batch->rows;
    for (int64_t t; (t = sc_team_next(e->team)) < rows;) {
        const float *x = e->x.floats + (size_t)(last ? batch->output_rows[t] : t) * e->x.stride;
        float *h = op->quantize ? e->scratch + (size_t)thread * e->scratch_floats : e->h.floats + (size_t)t * e->h.stride;
        e->kernels->layer_norm(x, op->weight, op->bias, e->shape.epsilon, (size_t)e->shape.n_embd, e->h.width, h);
        if (op->quantize) e->kernels->quantize(h, e->h.width, e->h.blocks + t, (size_t)rows);
    }
}

static void run_ops(void *argument, int thread)
{
    const sc_step *step = argument;
    for (int32_t i = 0; i < step->n_ops; i++) {
        const sc_op *op = &step->ops[i];
        switch (op->kind) {
        case SC_OP_EMBED: op_embed(step, op, thread); break;
        case SC_OP_NORM:
        case SC_OP_NORM_LAST: op_norm(step, op, thread); break;
        case SC_OP_ATTEND: sc_op_attend(step, op, thread); break;
        default: sc_op_linear(step, op, thread); break;
        }
        if (i + 1 < step->n_ops) sc_team_barrier(step->engine->team);
    }
}

void sc_run(sc_engine *engine, const sc_op *ops, int32_t n_ops, const sc_batch *batch)
{
    sc_step step = {engine, ops, n_ops, batch};
    sc_team_run(engine->team, run_ops, &step);
}
