/* The start of the residual stream: rows of the embeddings of tokens and positions. */
#include <string.h>

#include "ops.h"
#include "rows.h"

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
    sc_row_unpack(op->matrix, (size_t)step->batch->tokens[t], x);
    sc_row_unpack(op->positions, (size_t)position_of(step->batch, t), position);
    for (size_t i = 0; i < n; i++) x[i] += position[i];
    memset(x + n, 0, (e->x.width - n) * sizeof *x); /* an overflow in an earlier step may have left NaN there */
}

uint32_t sc_embed_units(const sc_step *step, const sc_op *op, int stage)
{
    (void)op;
    return stage ? 0 : sc_row_units(step->batch->rows);
}

void sc_embed_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index)
{
    float *position = sc_scratch(step, worker);
    const int32_t rows = step->batch->rows;
    (void)stage;
    for (int64_t unit = index; unit >= 0; unit = sc_team_take(worker))
        for (int32_t t = (int32_t)unit * SC_UNIT_ROWS; t < rows && t < ((int32_t)unit + 1) * SC_UNIT_ROWS; t++)
            embed_row(step, op, t, position);
}
