/* LayerNorm of the residual stream: by all threads together, or, for few rows, by each thread for the layer that
 * follows. */
#include "ops.h"

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
    if (op == step->ops || !takes_norm(op) || op->moments) return NULL; /* moments need one h for all threads */
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

uint32_t sc_norm_units(const sc_step *step, const sc_op *op, int stage)
{
    if (stage || (op + 1 < step->ops + step->n_ops && sc_own_norm_of(step, op + 1))) return 0;
    return sc_row_units(norm_rows(step, op));
}

void sc_norm_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index)
{
    const sc_vectors *h = &step->engine->h;
    float *scratch = sc_scratch(step, worker);
    const int32_t rows = norm_rows(step, op);
    (void)stage;
    for (int64_t unit = index; unit >= 0; unit = sc_team_take(worker))
        for (int32_t t = (int32_t)unit * SC_UNIT_ROWS; t < rows && t < ((int32_t)unit + 1) * SC_UNIT_ROWS; t++)
            sc_norm_row(step, op, t, scratch, h->floats + (size_t)t * h->stride, h->blocks + t, (size_t)rows);
}
