/* The forward pass: memory, and operations as phases of the team. */
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
    const size_t fine = rows < SC_FINE_ROWS ? rows : SC_FINE_ROWS;
    e->hidden = arena_take(a, e->u.width / SC_PAIR * sc_pair_outputs(fine) * sizeof(float));
    overlay_end(a, &o);
    e->missing = arena_take(a, (e->u.width + SC_BLOCK - 1) / SC_BLOCK * sizeof *e->missing);
    e->scratch = arena_take(a, threads * e->scratch_floats * sizeof(float));
    e->norms = arena_take(a, threads * e->norm_bytes);
    e->partials = arena_take(a, e->max_partials * e->partial_bytes);
    e->attended = arena_take(a, e->max_partials * sizeof *e->attended);
    e->merges = arena_take(a, SC_SPLIT_TILES * SC_TILE_MERGES * threads * sizeof *e->merges);
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
    const size_t width = sc_pad32((size_t)shape->n_embd), blocks = (width + SC_BLOCK - 1) / SC_BLOCK;
    e->norm_bytes = sizeof(sc_own_norm) + SC_OWN_NORM * larger((width / 16 | 1) * 16 * sizeof(float), blocks * sizeof(sc_act));
    e->norm_bytes = (e->norm_bytes + 63) / 64 * 64;
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

static void embed_row(const sc_step *step, const sc_op *op, int32_t t, float *position)
{
    const sc_engine *e = step->engine;
    const size_t n = (size_t)e->shape.n_embd;
    float *x = e->x.floats + (size_t)t * e->x.stride;
    sc_embedding_row(op->matrix, (size_t)step->batch->tokens[t], x);
    sc_embedding_row(op->positions, (size_t)position_of(step->batch, t), position);
    for (size_t i = 0; i < n; i++) x[i] += position[i];
    memset(x + n, 0, (e->x.width - n) * sizeof *x); /* an overflow in an earlier step may have left NaN there */
}

static int is_norm(const sc_op *op) { return op->kind == SC_OP_NORM || op->kind == SC_OP_NORM_LAST; }

static int takes_norm(const sc_op *op)
{
    return op->kind == SC_OP_QKV || op->kind == SC_OP_UP || op->kind == SC_OP_LOGITS;
}

static int32_t norm_rows(const sc_step *step, const sc_op *norm)
{
    return norm->kind == SC_OP_NORM_LAST ? step->batch->outputs : step->batch->rows;
}

const sc_op *sc_own_norm_of(const sc_step *step, const sc_op *op)
{
    if (op == step->ops || !takes_norm(op) || op->moments) return NULL; /* moments are taken of one h for all */
    const sc_op *norm = op - 1;
    return is_norm(norm) && norm_rows(step, norm) <= SC_OWN_NORM ? norm : NULL;
}

void sc_norm_row(const sc_step *step, const sc_op *norm, int32_t row, float *scratch, float *floats, sc_act *blocks,
                 size_t stride)
{
    const sc_engine *e = step->engine;
    const int32_t from = norm->kind == SC_OP_NORM_LAST ? step->batch->output_rows[row] : row;
    float *h = norm->quantize ? scratch : floats;
    e->kernels->layer_norm(e->x.floats + (size_t)from * e->x.stride, norm->weight, norm->bias, e->shape.epsilon,
                           (size_t)e->shape.n_embd, e->h.width, h);
    if (norm->quantize) e->kernels->quantize(h, e->h.width, blocks, stride);
}

/* Rows of an embedding or a norm that go together: a row is a microsecond or two. */
enum { ROWS = 2 };

static uint32_t row_units(int32_t rows) { return (uint32_t)(rows + ROWS - 1) / ROWS; }

/* Rows of an embedding or a norm for all. */
static void run_rows(const sc_step *step, const sc_op *op, sc_worker *worker, uint32_t index)
{
    const sc_engine *e = step->engine;
    const int32_t rows = op->kind == SC_OP_EMBED ? step->batch->rows : norm_rows(step, op);
    float *scratch = e->scratch + (size_t)sc_worker_thread(worker) * e->scratch_floats;
    for (int64_t unit = index; unit >= 0; unit = sc_team_take(worker))
        for (int32_t t = (int32_t)unit * ROWS; t < rows && t < ((int32_t)unit + 1) * ROWS; t++) {
            if (op->kind == SC_OP_EMBED) embed_row(step, op, t, scratch);
            else sc_norm_row(step, op, t, scratch, e->h.floats + (size_t)t * e->h.stride, e->h.blocks + t, (size_t)rows);
        }
}

static uint32_t units_of(const sc_step *step, const sc_op *op, int stage)
{
    switch (op->kind) {
    case SC_OP_EMBED: return stage ? 0 : row_units(step->batch->rows);
    case SC_OP_NORM:
    case SC_OP_NORM_LAST:
        if (stage || (op + 1 < step->ops + step->n_ops && sc_own_norm_of(step, op + 1))) return 0;
        return row_units(norm_rows(step, op));
    case SC_OP_ATTEND: return sc_attend_units(step, op, stage);
    default: return sc_linear_units(step, op, stage);
    }
}

static int is_linear(const sc_op *op) { return op->kind != SC_OP_EMBED && op->kind != SC_OP_ATTEND && !is_norm(op); }

static int open_phase(void *argument, sc_phase *phase)
{
    const sc_step *step = argument;
    int stage = phase->units ? phase->stage + 1 : 0; /* no units: the job begins */
    for (int32_t op = phase->op; op < step->n_ops; op++, stage = 0)
        for (; stage < SC_STAGES; stage++) {
            const uint32_t units = units_of(step, step->ops + op, stage);
            if (!units) continue;
            *phase = (sc_phase){op, stage, units, is_linear(step->ops + op)};
            return 1;
        }
    return 0;
}

static void run_phase(void *argument, const sc_phase *phase, sc_worker *worker, uint32_t index)
{
    const sc_step *step = argument;
    const sc_op *op = &step->ops[phase->op];
    if (op->kind == SC_OP_ATTEND) sc_attend_run(step, op, phase->stage, worker, index);
    else if (is_linear(op)) sc_linear_run(step, op, phase->stage, worker, index);
    else run_rows(step, op, worker, index);
}

void sc_run(sc_engine *engine, const sc_op *ops, int32_t n_ops, const sc_batch *batch)
{
    static const sc_job job = {open_phase, run_phase};
    sc_step step = {engine, ops, n_ops, batch};
    sc_team_run(engine->team, &job, &step);
}
