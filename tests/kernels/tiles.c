/* The linear layers as AMX runs them, on tile registers in plain C (csrc/vec/tiles.h): the check tool runs this part of
 * csrc/body on every machine. */
#define UNROLL(n)
#include "check.h"

#define ISA tiles
#define GEMM_ON_TILES 1
#include "vec/scalar.h"
#include "body/knobs.h"
#include "body/linear_table.h"

const sc_kernels sc_kernels_tiles = {.name = ISA_NAME, .linear = LINEAR_SLOTS};
