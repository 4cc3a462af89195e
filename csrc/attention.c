/* Attention over the cache: which tile of queries meets which block of keys, and on what thread. Queries of one KV head
 * that share a block go together, up to 16 to a tile: all heads of one token for multi-query attention, several tokens
 * of one head where each head has its own keys. When there are fewer tiles than threads can use, a tile's blocks are
 * spread over the team and merged afterwards: the same operations in the same order either way. */
#include <math.h>
#include <string.h>

#include "engine.h"

/* Queries whose blocks one thread merges at a time. */
enum { SC_MERGE = 4 };

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
    for (int32_t r = 0; r < t->rows; r++) {
        const float *q = e->q.floats + (size_t)(t->row + r) * e->q.stride + (size_t)query_head(e, t, 0) * e->dim;
        for (int32_t i = 0; i < t->heads; i++, q += e->dim, out += e->dim)
            for (size_t d = 0; d < e->dim; d++) out[d] = d < (size_t)e->shape.head_dim ? q[d] * scale : 0;
    }
    return t->rows * t->heads;
}

static const char *keys_of(const sc_engine *e, const sc_op *op, const tile *t, int32_t block)
{
    return sc_kv_keys(e, t->segment->blocks[block], op->layer, t->kv_head);
}

static void attend_block(const sc_engine *e, const tile *t, const float *queries, int32_t block, const char *keys,
                         const char *ahead, sc_partial *out)
{
    const int32_t n = t->rows * t->heads;
    int32_t visible[SC_QUERIES];
    for (int32_t i = 0; i < n; i++) {
        const int32_t position = t->segment->position + t->row + i / t->heads - t->segment->first_row;
        const int32_t seen = position + 1 - block * SC_KV_BLOCK;
        visible[i] = seen > SC_KV_BLOCK ? SC_KV_BLOCK : seen;
    }
    e->kernels->attend[e->shape.cache](queries, (size_t)n, e->dim, keys, keys + sc_kv_half_bytes(&e->shape), visible, ahead,
                                       out);
}

/* Whether heads are quantised one by one: a head is whole groups. */
static int quantize_heads(const sc_engine *e, const sc_op *op) { return op->quantize && e->shape.head_dim % SC_GROUP == 0; }

/* Divides queries first..last-1 by their sums of weights and puts each head in its place in a. `from` is used up. */
static void finish(const sc_step *step, const sc_op *op, const tile *t, const float *sum, float *from, int32_t first,
                   int32_t last)
{
    const sc_engine *e = step->engine;
    const size_t head_dim = (size_t)e->shape.head_dim, rows = (size_t)step->batch->rows;
    for (int32_t i = first; i < last; i++) {
        const size_t row = (size_t)(t->row + i / t->heads), at = (size_t)query_head(e, t, i % t->heads) * head_dim;
        float *head = from + (size_t)i * e->dim;
        const float inverse = 1.0f / sum[i];
        for (size_t d = 0; d < head_dim; d++) head[d] *= inverse;
        if (!quantize_heads(e, op)) {
            memcpy(e->a.floats + row * e->a.stride + at, head, head_dim * sizeof *head);
            continue;
        }
        for (size_t d = 0; d < head_dim; d += SC_GROUP)
            e->kernels->quantize_group(head + d, e->a.blocks + (at + d) / SC_BLOCK * rows + row,
                                       (int)((at + d) % SC_BLOCK / SC_GROUP));
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

static sc_partial *partial_at(const sc_engine *e, int64_t index)
{
    return (sc_partial *)(e->partials + (size_t)index * e->partial_bytes);
}

/* A block of a tile, with its running number over all tiles, which is also the number of its partial. */
typedef struct {
    tile t;
    int32_t tile_index, block;
    int64_t number;
    const char *keys;
} piece;

static int find_piece(const sc_step *step, const sc_op *op, int64_t number, piece *out)
{
    int64_t before = 0;
    for (int32_t i = 0; find_tile(step, i, &out->t); before += out->t.blocks, i++) {
        if (number - before >= out->t.blocks) continue;
        out->tile_index = i;
        out->block = (int32_t)(number - before);
        out->number = number;
        out->keys = keys_of(step->engine, op, &out->t, out->block);
        return 1;
    }
    return 0;
}

/* Few tiles: every thread takes blocks of any tile, and after a barrier merges some queries of a tile. */
static void attend_split(const sc_step *step, const sc_op *op, float *queries)
{
    const sc_engine *e = step->engine;
    piece now, next;
    int32_t packed = -1;
    for (int more = find_piece(step, op, sc_team_next(e->team), &now); more; now = next) {
        more = find_piece(step, op, sc_team_next(e->team), &next);
        if (packed != now.tile_index) pack_queries(e, &now.t, queries);
        packed = now.tile_index;
        attend_block(e, &now.t, queries, now.block, now.keys, more ? next.keys : NULL, partial_at(e, now.number));
    }
    sc_team_barrier(e->team);
    int64_t first = 0, item = sc_team_next(e->team), items = 0;
    for (int32_t i = 0; find_tile(step, i, &now.t); first += now.t.blocks, i++) {
        sc_partial *out = partial_at(e, first);
        for (int32_t q = 0, n = now.t.rows * now.t.heads; q < n; q += SC_MERGE, items++) {
            if (items != item) continue;
            const int32_t end = q + SC_MERGE < n ? q + SC_MERGE : n;
            sc_softmax state = out->state; /* a copy: other threads start from it too */
            for (int32_t b = 1; b < now.t.blocks; b++)
                e->kernels->attend_merge(&state, out->out, partial_at(e, first + b), (size_t)q, (size_t)end, e->dim);
            finish(step, op, &now.t, state.sum, out->out, q, end);
            item = sc_team_next(e->team);
        }
    }
}

/* Many tiles: each is one thread's affair. */
static void attend_whole(const sc_step *step, const sc_op *op, float *queries, sc_partial *sum, sc_partial *part)
{
    const sc_engine *e = step->engine;
    tile t;
    while (find_tile(step, sc_team_next(e->team), &t)) {
        const int32_t n = pack_queries(e, &t, queries);
        const char *keys = keys_of(e, op, &t, 0);
        for (int32_t b = 0; b < t.blocks; b++) {
            const char *ahead = b + 1 < t.blocks ? keys_of(e, op, &t, b + 1) : NULL;
            attend_block(e, &t, queries, b, keys, ahead, b ? part : sum);
            if (b) e->kernels->attend_merge(&sum->state, sum->out, part, 0, (size_t)n, e->dim);
            keys = ahead;
        }
        finish(step, op, &t, sum->state.sum, sum->out, 0, n);
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
    if (!op->quantize || quantize_heads(e, op)) return;
    sc_team_barrier(e->team);
    for (int64_t t; (t = sc_team_next(e->team)) < batch->rows;)
        e->kernels->quantize(e->a.floats + (size_t)t * e->a.stride, e->a.width, e->a.blocks + t, (size_t)batch->rows);
}
