/* Attention over the cache: which tile of queries meets which block of keys, and on what thread. Queries of one KV head
 * that share a block go together, up to 16 to a tile: all heads of one token for multi-query attention, several tokens
 * of one head where each head has its own keys. When there are fewer tiles than threads can use, a tile's blocks are
 * spread over the team and merged afterwards: the same operations in the same order either way. */
#include <math.h>

#include "engine.h"

typedef struct {
    const sc_segment *segment;
    int32_t kv_head, first_head, heads; /* query heads within the KV head's group */
    int32_t row, rows;                  /* rows of the step */
    int32_t blocks;                     /* blocks of the cache that the last row sees */
} tile;

static int32_t divide_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* How the queries of one KV head are cut: heads per tile, and rows per tile where all heads fit. */
static int32_t heads_per_tile(const sc_engine *e)
{
    const int32_t group = e->shape.n_head / e->shape.n_head_kv;
    return group < SC_QUERIES ? group : SC_QUERIES;
}

static int32_t tiles_of(const sc_engine *e, const sc_segment *s)
{
    const int32_t group = e->shape.n_head / e->shape.n_head_kv, heads = heads_per_tile(e);
    return e->shape.n_head_kv * divide_up(group, heads) * divide_up(s->rows, SC_QUERIES / heads);
}

/* Tile number `index` of a segment. Long-sighted tiles come first: they take longest. */
static tile tile_at(const sc_engine *e, const sc_segment *s, int32_t index)
{
    const int32_t group = e->shape.n_head / e->shape.n_head_kv, heads = heads_per_tile(e);
    const int32_t per_row = e->shape.n_head_kv * divide_up(group, heads), rows = SC_QUERIES / heads;
    const int32_t strip = divide_up(s->rows, rows) - 1 - index / per_row, column = index % per_row;
    tile t = {.segment = s, .kv_head = column / divide_up(group, heads)};
    t.first_head = column % divide_up(group, heads) * heads;
    t.heads = group - t.first_head < heads ? group - t.first_head : heads;
    t.row = s->first_row + strip * rows;
    t.rows = s->first_row + s->rows - t.row < rows ? s->first_row + s->rows - t.row : rows;
    t.blocks = divide_up(s->position + t.row + t.rows - s->first_row, SC_KV_BLOCK);
    return t;
}

static int32_t query_head(const sc_engine *e, const tile *t, int32_t i)
{
    return t->kv_head * (e->shape.n_head / e->shape.n_head_kv) + t->first_head + i;
}

/* The tile's queries, scaled by 1/sqrt(head_dim), packed (n, dim). */
static int32_t pack_queries(const sc_engine *e, const tile *t, float *out)
{
    const float scale = 1.0f / sqrtf((float)e->shape.head_dim);
    for (int32_t r = 0; r < t->rows; r++)
        for (int32_t i = 0; i < t->heads; i++) {
            const size_t head = (size_t)(t->row + r) * (size_t)e->shape.n_head + (size_t)query_head(e, t, i);
            for (size_t d = 0; d < e->dim; d++) *out++ = e->q[head * e->dim + d] * scale;
        }
    return t->rows * t->heads;
}

static void attend_block(const sc_engine *e, const sc_op *op, const tile *t, const float *queries, int32_t n, int32_t block,
                         sc_partial *out)
{
    int32_t visible[SC_QUERIES];
    const uint16_t *keys = sc_kv_keys(e, t->segment->blocks[block], op->layer, t->kv_head);
    for (int32_t i = 0; i < n; i++) {
        const int32_t position = t->segment->position + t->row + i / t->heads - t->segment->first_row;
        const int32_t seen = position + 1 - block * SC_KV_BLOCK;
        visible[i] = seen > SC_KV_BLOCK ? SC_KV_BLOCK : seen;
    }
    e->kernels->attend(queries, (size_t)n, e->dim, keys, keys + SC_KV_BLOCK * e->dim, visible, out);
}

/* Divides by the sum of weights and writes each head to its place in a. */
static void finish(const sc_engine *e, const tile *t, const sc_partial *p)
{
    const size_t head_dim = (size_t)e->shape.head_dim;
    for (int32_t i = 0; i < t->rows * t->heads; i++) {
        const size_t row = (size_t)(t->row + i / t->heads), head = (size_t)query_head(e, t, i % t->heads);
        float *out = e->a.floats + row * e->a.width + head * head_dim;
        const float inverse = 1.0f / p->sum[i];
        for (size_t d = 0; d < head_dim; d++) out[d] = p->out[(size_t)i * e->dim + d] * inverse;
    }
}

/* The segment and tile of running number `index` over all segments; 0 when there is none. */
static int find_tile(const sc_step *step, int64_t index, tile *out)
{
    for (int32_t s = 0; s < step->batch->segments; s++) {
        const sc_segment *segment = &step->batch->segment[s];
        const int32_t tiles = tiles_of(step->engine, segment);
        if (index < tiles) {
            *out = tile_at(step->engine, segment, (int32_t)index);
            return 1;
        }
        index -= tiles;
    }
    return 0;
}

static sc_partial *partial_at(const sc_engine *e, size_t index)
{
    return (sc_partial *)(e->partials + index * e->partial_bytes);
}

/* Few tiles: every thread takes blocks of any tile; after a barrier, tiles are merged. */
static void attend_split(const sc_step *step, const sc_op *op, float *queries)
{
    const sc_engine *e = step->engine;
    tile t;
    size_t first = 0; /* partials of earlier tiles */
    int64_t next = sc_team_next(e->team), index = 0;
    for (int32_t i = 0; find_tile(step, i, &t); first += (size_t)t.blocks, i++) {
        int packed = 0;
        for (int32_t b = 0; b < t.blocks; b++, index++) {
            if (index != next) continue;
            if (!packed) packed = pack_queries(e, &t, queries);
            attend_block(e, op, &t, queries, packed, b, partial_at(e, first + (size_t)b));
            next = sc_team_next(e->team);
        }
    }
    sc_team_barrier(e->team);
    next = sc_team_next(e->team);
    first = 0;
    for (int32_t i = 0; find_tile(step, i, &t); first += (size_t)t.blocks, i++) {
        if (i != next) continue;
        for (int32_t b = 1; b < t.blocks; b++)
            e->kernels->attend_merge(partial_at(e, first), partial_at(e, first + (size_t)b), (size_t)(t.rows * t.heads), e->dim);
        finish(e, &t, partial_at(e, first));
        next = sc_team_next(e->team);
    }
}

/* Many tiles: each is one thread's affair. */
static void attend_whole(const sc_step *step, const sc_op *op, float *queries, sc_partial *sum, sc_partial *part)
{
    const sc_engine *e = step->engine;
    tile t;
    while (find_tile(step, sc_team_next(e->team), &t)) {
        const int32_t n = pack_queries(e, &t, queries);
        attend_block(e, op, &t, queries, n, 0, sum);
        for (int32_t b = 1; b < t.blocks; b++) {
            attend_block(e, op, &t, queries, n, b, part);
            e->kernels->attend_merge(sum, part, (size_t)n, e->dim);
        }
        finish(e, &t, sum);
    }
}

void sc_op_attend(const sc_step *step, const sc_op *op, int thread)
{
    const sc_engine *e = step->engine;
    const sc_batch *batch = step->batch;
    float *queries = e->scratch + (size_t)thread * e->scratch_floats;
    char *partials = (char *)(queries + SC_QUERIES * e->dim);
    size_t tiles = 0, blocks = 0;
    for (int32_t s = 0; s < batch->segments; s++) {
        tiles += (size_t)tiles_of(e, &batch->segment[s]);
        blocks += (size_t)tiles_of(e, &batch->segment[s]) *
                  (size_t)divide_up(batch->segment[s].position + batch->segment[s].rows, SC_KV_BLOCK);
    }
    if (tiles < 4 * (size_t)sc_team_size(e->team) && blocks <= e->max_partials)
        attend_split(step, op, queries);
    else
        attend_whole(step, op, queries, (sc_partial *)partials, (sc_partial *)(partials + e->partial_bytes));
    if (!op->quantize) return;
    sc_team_barrier(e->team);
    for (int64_t t; (t = sc_team_next(e->team)) < batch->rows;)
        e->kernels->quantize(e->a.floats + (size_t)t * e->a.width, e->a.width, e->a.blocks + t, (size_t)batch->rows);
}
