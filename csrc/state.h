/* The working memory of the forward pass, and a step in flight: everything that the operations read and write. */
#ifndef SC_STATE_H
#define SC_STATE_H

#include <stdatomic.h>

#include "kernels.h"
#include "os/threads.h"
#include "santacoder.h"

/* Activations between two layers, as floats (rows, stride) or as int8 blocks (width/256, rows), whichever the next
 * matrix takes. */
typedef struct {
    size_t width;  /* of a row, a multiple of 32 */
    size_t stride; /* floats from row to row: an odd number of cache lines, so that a column's rows spread over the
                    * cache */
    float *floats;
    sc_act *blocks;
} sc_vectors;

enum {
    SC_THREAD_PARTIALS = 256,
    SC_OWN_NORM = 4,   /* most rows of a norm that every thread computes for itself: a phase for all costs as much */
    SC_UNIT_ROWS = 2,   /* rows of an embedding or a norm per unit: a row takes a microsecond or two */
    SC_SPLIT_TILES = 4, /* tiles per thread from which on none is split over the team */
    SC_TILE_MERGES = 4,
    SC_FINE_ROWS = 16,  /* most rows with which the hidden layer is shared out by pairs, not by blocks, */
    SC_FINE_TEAM = 4    /* in teams larger than this */
};

/* Queries of a split tile, whose blocks are merged one after the other. */
typedef struct {
    _Alignas(64) _Atomic uint32_t next; /* the next block, times two; odd while a thread is merging */
    sc_softmax state;                   /* of the blocks so far; the first partial has their sums */
} sc_merge;

struct sc_engine {
    sc_shape shape;
    const sc_kernels *kernels;
    sc_team *team;
    int32_t max_rows;
    size_t dim;        /* head_dim padded to a multiple of 32 */
    sc_vectors x, h, a, u;
    sc_vectors q;      /* (n_head, dim) per row */
    float *hidden;     /* outputs of the hidden layer's pairs, for up to SC_FINE_ROWS rows */
    atomic_uchar *missing; /* per block of activations of the hidden layer: pairs that are not yet in `hidden` */
    float *scratch;    /* per thread: scratch_floats */
    size_t scratch_floats;
    char *norms;       /* per thread: norm_bytes; a sc_own_norm and its rows */
    size_t norm_bytes;
    char *partials;    /* split attention: one sc_partial per tile and block, SC_THREAD_PARTIALS per thread */
    size_t partial_bytes, max_partials;
    atomic_uchar *attended; /* per partial: whether it is complete */
    sc_merge *merges;       /* SC_TILE_MERGES per split tile */
    void *memory;
    size_t memory_bytes;
};

/* A norm's rows that a thread has computed for itself. */
typedef struct {
    _Alignas(64) uint64_t phase; /* the phase in which it computed them */
} sc_own_norm;

/* One step in flight: everything a thread needs. */
typedef struct {
    sc_engine *engine;
    const sc_op *ops;
    int32_t n_ops;
    const sc_batch *batch;
} sc_step;

static inline size_t sc_pad32(size_t n) { return (n + 31) / 32 * 32; }

static inline uint32_t sc_row_units(int32_t rows) { return (uint32_t)(rows + SC_UNIT_ROWS - 1) / SC_UNIT_ROWS; }

/* Working memory of the thread that holds a unit: scratch_floats. */
static inline float *sc_scratch(const sc_step *step, const sc_worker *worker)
{
    return step->engine->scratch + (size_t)sc_worker_thread(worker) * step->engine->scratch_floats;
}

/* Floats from one pair's outputs (rows, 32) to the next's: an odd number of cache lines. */
static inline size_t sc_pair_outputs(size_t rows) { return rows * SC_PAIR + 16; }

/* Bytes of the keys, or of the values, of one layer and KV head in a KV block; dim is the padded head_dim. */
static inline size_t sc_kv_half_bytes(int format, size_t dim)
{
    return SC_KV_BLOCK * dim * (format == SC_F32 ? sizeof(float) : sizeof(uint16_t));
}

/* Keys (dim, 64) of a layer and KV head within a KV block; values (64, dim) follow. */
static inline char *sc_kv_keys(const sc_engine *e, void *kv_block, int32_t layer, int32_t kv_head)
{
    const size_t index = (size_t)layer * (size_t)e->shape.n_head_kv + (size_t)kv_head;
    return (char *)kv_block + index * 2 * sc_kv_half_bytes(e->shape.cache, e->dim);
}

#endif
