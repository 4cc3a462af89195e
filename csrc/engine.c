/* The forward pass: memory, and operations as phases of the team. */
#include <stdlib.h>

#include "ops.h"

enum { PAGE = 4096 };

size_t sc_kv_block_bytes(const sc_shape *shape)
{
    const size_t dim = sc_pad32((size_t)shape->head_dim);
    return (size_t)shape->n_layer * (size_t)shape->n_head_kv * 2 * sc_kv_half_bytes(shape->cache, dim);
}

/* Hands out pieces of one allocation; with `base` NULL it only adds up their sizes. */
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

/* Pieces that are never in use at the same time overlap: each begins at `start`, and the longest one counts. */
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
    v->blocks = arena_take(a, rows * ((v->width + SC_SUPERBLOCK - 1) / SC_SUPERBLOCK) * sizeof(sc_act));
}

static void take_all(sc_engine *e, arena *a, size_t threads, int float_hidden)
{
    const size_t rows = (size_t)e->max_rows, heads = (size_t)e->shape.n_head;
    take_floats(a, &e->x, (size_t)e->shape.n_embd, rows);
    overlay o = overlay_begin(a); /* h has one form at a time */
    take_floats(a, &e->h, (size_t)e->shape.n_embd, rows);
    overlay_next(a, &o);
    take_blocks(a, &e->h, rows);
    overlay_end(a, &o);
    take_floats(a, &e->a, heads * (size_t)e->shape.head_dim, rows);
    take_blocks(a, &e->a, rows);
    o = overlay_begin(a); /* q is read for the last time before u is written, and u before q */
    take_floats(a, &e->q, heads * e->dim, rows);
    overlay_next(a, &o);
    take_floats(a, &e->u, (size_t)e->shape.n_ff, float_hidden ? rows : 0);
    overlay_next(a, &o);
    take_blocks(a, &e->u, rows);
    const size_t fine = rows < SC_FINE_ROWS ? rows : SC_FINE_ROWS;
    e->hidden = arena_take(a, e->u.width / SC_PAIR * sc_pair_outputs(fine) * sizeof(float));
    overlay_end(a, &o);
    e->missing = arena_take(a, (e->u.width + SC_SUPERBLOCK - 1) / SC_SUPERBLOCK * sizeof *e->missing);
    e->scratch = arena_take(a, threads * e->scratch_floats * sizeof(float));
    e->norms = arena_take(a, threads * e->norm_bytes);
    e->partials = arena_take(a, e->max_partials * e->partial_bytes);
    e->attended = arena_take(a, e->max_partials * sizeof *e->attended);
    e->merges = arena_take(a, SC_SPLIT_TILES * SC_TILE_MERGES * threads * sizeof *e->merges);
}

/* Faults in all pages now, so that no step can fail for lack of memory, and the model's memory is known once it is
 * loaded. */
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
    /* A linear layer needs (rows, 32) for each pair of a block of activations; split attention, its queries; a norm,
     * one row. */
    const size_t linear = SC_GROUPS * sc_pair_outputs((size_t)rows), attention = SC_QUERIES * e->dim;
    e->scratch_floats = larger(larger(linear, attention), sc_pad32((size_t)shape->n_embd));
    e->scratch_floats = (e->scratch_floats + 15) / 16 * 16;
    const size_t width = sc_pad32((size_t)shape->n_embd), blocks = (width + SC_SUPERBLOCK - 1) / SC_SUPERBLOCK;
    e->norm_bytes =
        sizeof(sc_own_norm) + SC_OWN_NORM * larger((width / 16 | 1) * 16 * sizeof(float), blocks * sizeof(sc_act));
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

int32_t sc_engine_chunk(int isa) { return sc_kernels_get(isa)->chunk; }

static uint32_t units_of(const sc_step *step, const sc_op *op, int stage)
{
    switch (op->kind) {
    case SC_OP_EMBED: return sc_embed_units(step, op, stage);
    case SC_OP_NORM:
    case SC_OP_NORM_LAST: return sc_norm_units(step, op, stage);
    case SC_OP_ATTEND: return sc_attend_units(step, op, stage);
    default: return sc_linear_units(step, op, stage);
    }
}

static int is_linear(const sc_op *op)
{
    return op->kind != SC_OP_EMBED && op->kind != SC_OP_ATTEND && op->kind != SC_OP_NORM && op->kind != SC_OP_NORM_LAST;
}

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
    switch (op->kind) {
    case SC_OP_EMBED: sc_embed_run(step, op, phase->stage, worker, index); break;
    case SC_OP_NORM:
    case SC_OP_NORM_LAST: sc_norm_run(step, op, phase->stage, worker, index); break;
    case SC_OP_ATTEND: sc_attend_run(step, op, phase->stage, worker, index); break;
    default: sc_linear_run(step, op, phase->stage, worker, index);
    }
}

void sc_run(sc_engine *engine, const sc_op *ops, int32_t n_ops, const sc_batch *batch)
{
    static const sc_job job = {open_phase, run_phase};
    sc_step step = {engine, ops, n_ops, batch};
    sc_team_run(engine->team, &job, &step);
}
