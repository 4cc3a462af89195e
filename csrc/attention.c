/* Attention over the cache: which tile of queries meets which block of keys, and on what thread. Queries of one KV head
 * that share a block go together, up to 16 to a tile: all heads of one token for multi-query attention (Shazeer, 2019),
 * several tokens of one head where each head has its own keys. Tiles of a prompt go in strips, for which a block is
 * converted to f32 once. When there are fewer tiles than threads can use, a tile's blocks are spread over the team and
 * merged as they come. All of these do the same operations in the same order: those of online softmax (Milakov and
 * Gimelshein, 2018). */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "os/stall.h"

enum {
    SC_MERGE = 4,      /* queries whose blocks one thread merges at a time, in teams larger than: */
    SC_MERGE_TEAM = 4, /* attending to a block takes as long as merging five */
    SC_STRIP = 8 /* most tiles in a strip: each has 8 KB of queries and 8 KB of sums, which must stay in L2 */
};
_Static_assert(SC_MERGE * SC_TILE_MERGES == SC_QUERIES, "every query of a tile is merged");

typedef struct {
    const sc_segment *segment;
    int32_t kv_head, first_head, heads; /* query heads within the KV head's kv_group */
    int32_t row, rows;                  /* rows of the step */
    int32_t kv_blocks;                  /* blocks that the last row sees */
} tile;

static int32_t divide_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* Heads per tile; where all heads of the KV head fit, a tile holds several rows. */
static int32_t heads_per_tile(const sc_engine *e)
{
    const int32_t kv_group = e->shape.n_head / e->shape.n_head_kv;
    return kv_group < SC_QUERIES ? kv_group : SC_QUERIES;
}

/* Tiles of each KV head of a segment. */
static int32_t tiles_of(const sc_engine *e, const sc_segment *s)
{
    const int32_t kv_group = e->shape.n_head / e->shape.n_head_kv, heads = heads_per_tile(e);
    return divide_up(kv_group, heads) * divide_up(s->rows, SC_QUERIES / heads);
}

/* Tile number `index` of a segment and KV head. Tiles that see the longest context come first (longest job first). */
static tile tile_at(const sc_engine *e, const sc_segment *s, int32_t kv_head, int32_t index)
{
    const int32_t kv_group = e->shape.n_head / e->shape.n_head_kv, heads = heads_per_tile(e);
    const int32_t columns = divide_up(kv_group, heads), rows = SC_QUERIES / heads;
    const int32_t first = (divide_up(s->rows, rows) - 1 - index / columns) * rows;
    tile t = {.segment = s, .kv_head = kv_head, .first_head = index % columns * heads, .row = s->first_row + first};
    t.heads = kv_group - t.first_head < heads ? kv_group - t.first_head : heads;
    t.rows = s->rows - first < rows ? s->rows - first : rows;
    t.kv_blocks = divide_up(s->position + first + t.rows, SC_KV_BLOCK);
    return t;
}

static int32_t queries_of(const tile *t) { return t->rows * t->heads; }

static int32_t query_head(const sc_engine *e, const tile *t, int32_t i)
{
    return t->kv_head * (e->shape.n_head / e->shape.n_head_kv) + t->first_head + i;
}

/* The tile's queries, scaled by 1/sqrt(head_dim), packed (n, dim). */
static void pack_queries(const sc_engine *e, const tile *t, float *out)
{
    const size_t head_dim = (size_t)e->shape.head_dim;
    const float scale = 1.0f / sqrtf((float)head_dim);
    for (int32_t r = 0; r < t->rows; r++) {
        const float *q = e->q.floats + (size_t)(t->row + r) * e->q.stride + (size_t)query_head(e, t, 0) * e->dim;
        for (int32_t i = 0; i < t->heads; i++, q += e->dim, out += e->dim) {
            e->kernels->scale(q, e->dim, scale, out);
            memset(out + head_dim, 0, (e->dim - head_dim) * sizeof *out);
        }
    }
}

static const char *keys_of(const sc_engine *e, const sc_op *op, const tile *t, int32_t kv_block)
{
    return sc_kv_keys(e, t->segment->kv_blocks[kv_block], op->layer, t->kv_head);
}

/* Keys of a KV block, followed by its values, in the cache's format or as a strip widened them. */
typedef struct {
    int format;
    const char *keys, *ahead; /* ahead: what is read next, or NULL */
} kv_view;

static void attend_kv_block(const sc_engine *e, const tile *t, const float *queries, int32_t kv_block, kv_view kv,
                            sc_partial *out)
{
    const int32_t n = queries_of(t);
    int32_t visible[SC_QUERIES];
    for (int32_t i = 0; i < n; i++) {
        const int32_t position = t->segment->position + t->row + i / t->heads - t->segment->first_row;
        const int32_t seen = position + 1 - kv_block * SC_KV_BLOCK;
        visible[i] = seen > SC_KV_BLOCK ? SC_KV_BLOCK : seen;
    }
    const char *values = kv.keys + sc_kv_half_bytes(kv.format, e->dim);
    e->kernels->attend[kv.format](queries, (size_t)n, e->dim, kv.keys, values, visible, kv.ahead, out);
}

/* Whether finish() also quantizes: SC_MERGE queries, whole groups each, are heads of one row and fill blocks of
 * activations. */
static int quantize_heads(const sc_engine *e, const sc_op *op)
{
    const int32_t head_dim = e->shape.head_dim, kv_group = e->shape.n_head / e->shape.n_head_kv;
    return op->quantize && head_dim % SC_GROUP == 0 && SC_MERGE * head_dim % SC_SUPERBLOCK == 0 &&
           kv_group % SC_MERGE == 0;
}

/* Divides queries first..last-1 by their sums of weights and puts each head in its place in a. Overwrites `from`. */
static void finish(const sc_step *step, const sc_op *op, const tile *t, const float *sum, float *from, int32_t first,
                   int32_t last)
{
    const sc_engine *e = step->engine;
    const size_t head_dim = (size_t)e->shape.head_dim, rows = (size_t)step->batch->rows;
    for (int32_t i = first; i < last; i++) {
        const size_t row = (size_t)(t->row + i / t->heads), at = (size_t)query_head(e, t, i % t->heads) * head_dim;
        float *head = from + (size_t)i * e->dim;
        e->kernels->scale(head, e->dim, 1.0f / sum[i], head);
        if (!quantize_heads(e, op)) {
            memcpy(e->a.floats + row * e->a.stride + at, head, head_dim * sizeof *head);
        } else if (i % SC_MERGE == SC_MERGE - 1) {
            const size_t before = (SC_MERGE - 1) * head_dim;
            e->kernels->quantize(head - before, SC_MERGE * head_dim,
                                 e->a.blocks + (at - before) / SC_SUPERBLOCK * rows + row, rows);
        }
    }
}

/* Tiles of one segment and KV head that one thread takes together, the one that sees the longest context first. */
typedef struct {
    tile tiles[SC_STRIP];
    int32_t n;
} strip;

/* Finds strip number `index` over all segments: `size` tiles or as many as are left. Returns 0 if there is none. */
static int find_strip(const sc_step *step, int64_t index, int32_t size, strip *out)
{
    const int32_t heads = step->engine->shape.n_head_kv;
    for (int32_t s = 0; s < step->batch->segments; s++) {
        const sc_segment *segment = &step->batch->segment[s];
        const int32_t tiles = tiles_of(step->engine, segment), strips = heads * divide_up(tiles, size);
        if (index < strips) {
            const int32_t first = (int32_t)index / heads * size;
            out->n = tiles - first < size ? tiles - first : size;
            for (int32_t i = 0; i < out->n; i++)
                out->tiles[i] = tile_at(step->engine, segment, (int32_t)index % heads, first + i);
            return 1;
        }
        index -= strips;
    }
    return 0;
}

static int find_tile(const sc_step *step, int64_t index, tile *out)
{
    strip one;
    if (!find_strip(step, index, 1, &one)) return 0;
    *out = one.tiles[0];
    return 1;
}

static sc_partial *partial_at(const sc_engine *e, int64_t index)
{
    return (sc_partial *)(e->partials + (size_t)index * e->partial_bytes);
}

/* A KV block of a tile. `number` counts over all tiles, and is also the number of its partial. */
typedef struct {
    tile t;
    int32_t tile_index, kv_block;
    int64_t number;
    const char *keys;
} tile_block;

static int find_tile_block(const sc_step *step, const sc_op *op, int64_t number, tile_block *out)
{
    int64_t before = 0;
    for (int32_t i = 0; find_tile(step, i, &out->t); before += out->t.kv_blocks, i++) {
        if (number - before >= out->t.kv_blocks) continue;
        out->tile_index = i;
        out->kv_block = (int32_t)(number - before);
        out->number = number;
        out->keys = keys_of(step->engine, op, &out->t, out->kv_block);
        return 1;
    }
    return 0;
}

/* Queries of a tile that are merged together. */
static int32_t merged_queries(const sc_step *step)
{
    return sc_team_size(step->engine->team) > SC_MERGE_TEAM ? SC_MERGE : SC_QUERIES;
}

/* Merges blocks in their order. A thread that has attended to a block merges all that are ready and next in turn,
 * unless another thread is merging: that one looks again after it has let go, so no block is left over. */
static void merge_queries(const sc_step *step, const sc_op *op, const tile *t, int64_t start, sc_merge *m,
                          int32_t first, int32_t last)
{
    const sc_engine *e = step->engine;
    const uint32_t kv_blocks = (uint32_t)t->kv_blocks;
    sc_partial *out = partial_at(e, start);
    uint32_t next = atomic_load(&m->next);
    while (!(next & 1) && next / 2 < kv_blocks && atomic_load(&e->attended[start + next / 2])) {
        if (!atomic_compare_exchange_strong(&m->next, &next, next | 1)) continue;
        uint32_t kv_block = next / 2;
        for (; kv_block < kv_blocks && atomic_load(&e->attended[start + kv_block]); kv_block++) {
            const sc_partial *part = partial_at(e, start + kv_block);
            if (!kv_block) m->state = part->state;
            else e->kernels->attend_merge(&m->state, out->out, part, (size_t)first, (size_t)last, e->dim);
        }
        if (kv_block == kv_blocks) finish(step, op, t, m->state.sum, out->out, first, last);
        next = 2 * kv_block;
        SC_STALL();
        atomic_store(&m->next, next);
        SC_STALL();
    }
}

/* Marks a KV block of a tile as attended to, and merges what is ready. */
static void merge_tile(const sc_step *step, const sc_op *op, const tile_block *p)
{
    const sc_engine *e = step->engine;
    const int32_t n = queries_of(&p->t), size = merged_queries(step);
    sc_merge *m = e->merges + (size_t)p->tile_index * SC_TILE_MERGES;
    atomic_store(&e->attended[p->number], 1);
    SC_STALL();
    for (int32_t q = 0; q < n; q += size, m++)
        merge_queries(step, op, &p->t, p->number - p->kv_block, m, q, q + size < n ? q + size : n);
}

/* Attends to KV blocks of any tile. */
static void attend_split(const sc_step *step, const sc_op *op, sc_worker *worker, uint32_t index)
{
    const sc_engine *e = step->engine;
    float *queries = sc_scratch(step, worker);
    tile_block now, next;
    int32_t packed = -1;
    for (int more = find_tile_block(step, op, index, &now); more; now = next) {
        const int64_t taken = sc_team_take(worker);
        more = taken >= 0 && find_tile_block(step, op, taken, &next);
        if (packed != now.tile_index) pack_queries(e, &now.t, queries);
        packed = now.tile_index;
        attend_kv_block(e, &now.t, queries, now.kv_block, (kv_view){e->shape.cache, now.keys, more ? next.keys : NULL},
                        partial_at(e, now.number));
        merge_tile(step, op, &now);
    }
}

/* A thread's memory for a strip, in place of the partials of split tiles. */
typedef struct {
    char *sums;     /* a partial per tile: all blocks so far */
    float *queries; /* (SC_STRIP, SC_QUERIES, dim) */
    float *wide;    /* keys and values of a KV block */
    sc_partial *part;
} strip_memory;

/* There is room for the sums and queries of all tiles, the block and `part`: a partial is larger than a tile's queries,
 * and a block no larger than a strip's queries. */
_Static_assert(3 * SC_STRIP + 1 <= (int)SC_THREAD_PARTIALS && SC_STRIP * SC_QUERIES >= 2 * SC_KV_BLOCK,
               "strips have room");

static strip_memory strip_memory_of(const sc_engine *e, int thread)
{
    strip_memory m = {.sums = e->partials + (size_t)thread * SC_THREAD_PARTIALS * e->partial_bytes};
    m.queries = (float *)(m.sums + SC_STRIP * e->partial_bytes);
    m.wide = m.queries + SC_STRIP * SC_QUERIES * e->dim;
    m.part = (sc_partial *)(m.wide + SC_STRIP * SC_QUERIES * e->dim);
    return m;
}

static sc_partial *sum_at(const sc_engine *e, const strip_memory *m, int32_t i)
{
    return (sc_partial *)(m->sums + (size_t)i * e->partial_bytes);
}

/* KV block `kv_block` as the tiles of a strip read it: in f32, if several do. Then `ahead` is NULL, since widening has
 * prefetched the next block. */
static kv_view view_of(const sc_step *step, const sc_op *op, const strip *s, int32_t kv_block, float *wide)
{
    const sc_engine *e = step->engine;
    const char *ahead = kv_block + 1 < s->tiles[0].kv_blocks ? keys_of(e, op, &s->tiles[0], kv_block + 1) : NULL;
    const kv_view kv = {e->shape.cache, keys_of(e, op, &s->tiles[0], kv_block), ahead};
    if (kv.format == SC_F32 || s->n == 1) return kv;
    e->kernels->widen((const uint16_t *)(const void *)kv.keys, 2 * SC_KV_BLOCK * e->dim, ahead, wide);
    return (kv_view){SC_F32, (const char *)wide, NULL};
}

static void attend_strip(const sc_step *step, const sc_op *op, const strip *s, const strip_memory *m)
{
    const sc_engine *e = step->engine;
    const size_t tile_floats = SC_QUERIES * e->dim;
    for (int32_t i = 0; i < s->n; i++) pack_queries(e, &s->tiles[i], m->queries + (size_t)i * tile_floats);
    for (int32_t b = 0; b < s->tiles[0].kv_blocks; b++) {
        const kv_view kv = view_of(step, op, s, b, m->wide);
        for (int32_t i = 0; i < s->n && b < s->tiles[i].kv_blocks; i++) {
            const tile *t = &s->tiles[i];
            sc_partial *sum = sum_at(e, m, i);
            attend_kv_block(e, t, m->queries + (size_t)i * tile_floats, b, kv, b ? m->part : sum);
            if (b) e->kernels->attend_merge(&sum->state, sum->out, m->part, 0, (size_t)queries_of(t), e->dim);
        }
    }
    for (int32_t i = 0; i < s->n; i++) {
        sc_partial *sum = sum_at(e, m, i);
        finish(step, op, &s->tiles[i], sum->state.sum, sum->out, 0, queries_of(&s->tiles[i]));
    }
}

/* How the attention of a step is shared out. */
typedef struct {
    size_t tiles, kv_blocks; /* kv_blocks: over all tiles, as if all rows of a segment saw the same number */
    int split;
    int32_t strip;           /* tiles of a strip */
} plan;

static plan plan_of(const sc_step *step)
{
    const sc_engine *e = step->engine;
    const size_t team = (size_t)sc_team_size(e->team);
    plan p = {0};
    for (int32_t s = 0; s < step->batch->segments; s++) {
        const sc_segment *segment = &step->batch->segment[s];
        const size_t some = (size_t)(e->shape.n_head_kv * tiles_of(e, segment));
        const int32_t kv_blocks = divide_up(segment->position + segment->rows, SC_KV_BLOCK);
        p.tiles += some;
        p.kv_blocks += some * (size_t)kv_blocks;
    }
    p.split = p.tiles < SC_SPLIT_TILES * team && p.kv_blocks <= e->max_partials;
    /* At least SC_SPLIT_TILES strips per thread, so that all threads end at about the same time. */
    const size_t share = p.tiles / (SC_SPLIT_TILES * team);
    p.strip = share < 1 ? 1 : share < SC_STRIP ? (int32_t)share : SC_STRIP;
    return p;
}

static uint32_t count_strips(const sc_step *step, int32_t size)
{
    uint32_t n = 0;
    for (int32_t s = 0; s < step->batch->segments; s++)
        n += (uint32_t)(step->engine->shape.n_head_kv *
                        divide_up(tiles_of(step->engine, &step->batch->segment[s]), size));
    return n;
}

/* Counts the KV blocks of split tiles, and marks none as attended to. */
static uint32_t count_tile_blocks(const sc_step *step)
{
    const sc_engine *e = step->engine;
    uint32_t n = 0;
    tile t;
    for (int32_t i = 0; find_tile(step, i, &t); i++) {
        for (int32_t m = 0; m < SC_TILE_MERGES; m++) atomic_store(&e->merges[i * SC_TILE_MERGES + m].next, 0);
        for (int32_t b = 0; b < t.kv_blocks; b++) atomic_store_explicit(&e->attended[n++], 0, memory_order_relaxed);
    }
    return n;
}

enum { ATTEND, QUANTIZE }; /* stages */

uint32_t sc_attend_units(const sc_step *step, const sc_op *op, int stage)
{
    const plan p = plan_of(step);
    switch (stage) {
    case ATTEND: return p.split ? count_tile_blocks(step) : count_strips(step, p.strip);
    default: return op->quantize && !quantize_heads(step->engine, op) ? (uint32_t)step->batch->rows : 0;
    }
}

void sc_attend_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index)
{
    const sc_engine *e = step->engine;
    const size_t rows = (size_t)step->batch->rows;
    if (stage == QUANTIZE) {
        for (int64_t t = index; t >= 0; t = sc_team_take(worker))
            e->kernels->quantize(e->a.floats + (size_t)t * e->a.stride, e->a.width, e->a.blocks + t, rows);
        return;
    }
    const plan p = plan_of(step);
    if (p.split) {
        attend_split(step, op, worker, index);
    } else {
        const strip_memory m = strip_memory_of(e, sc_worker_thread(worker));
        strip s;
        for (int64_t i = index; i >= 0 && find_strip(step, i, p.strip, &s); i = sc_team_take(worker))
            attend_strip(step, op, &s, &m);
    }
}
