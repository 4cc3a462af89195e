/* The operations of the forward pass. Each is one or more phases of the team, its stages. `units` returns how many
 * units a stage has, 0 if the operation has no such stage; `run` does unit `index`, then others while there are any. */
#ifndef SC_OPS_H
#define SC_OPS_H

#include "state.h"

enum { SC_STAGES = 2 };

/* SC_OP_EMBED. */
uint32_t sc_embed_units(const sc_step *step, const sc_op *op, int stage);
void sc_embed_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index);

/* SC_OP_NORM, SC_OP_NORM_LAST. */
uint32_t sc_norm_units(const sc_step *step, const sc_op *op, int stage);
void sc_norm_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index);

/* SC_OP_ATTEND. */
uint32_t sc_attend_units(const sc_step *step, const sc_op *op, int stage);
void sc_attend_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index);

/* All others. */
uint32_t sc_linear_units(const sc_step *step, const sc_op *op, int stage);
void sc_linear_run(const sc_step *step, const sc_op *op, int stage, sc_worker *worker, uint32_t index);

/* The norm whose result a linear layer takes, if every thread computes it for itself; else NULL. */
const sc_op *sc_own_norm_of(const sc_step *step, const sc_op *op);
/* Computes one row of a norm into h, as int8 blocks `stride` apart or as floats; scratch holds a row. */
void sc_norm_row(const sc_step *step, const sc_op *norm, int32_t row, float *scratch, float *floats, sc_act *blocks,
                 size_t stride);

#endif
