/* All bodies and the table of one instance. The including file has set the target, the primitives, ISA_NAME, ISA_TABLE,
 * ISA_CHUNK, TILE_PANELS, TILE_TOKENS, FEW_TOKENS, FLOAT_TOKENS, BODY_MANY, LINEAR_MANY, PREFETCH_BLOCKS, PREFETCH_CACHE,
 * PREFETCH_NEAR, LIMIT_*; for linear_registers.h also UNPACK_IN_TILE. */
#include "exp.h"
#include "activation.h"
#include "prefetch.h"
#include "linear.h"
#include BODY_MANY
#include "linear_table.h"
#include "attention.h"
#include "sampling.h"
#include "fit.h"
#include "peaks.h"

const sc_kernels ISA_TABLE = {
    .name = ISA_NAME,
    .chunk = ISA_CHUNK,
    .linear = {[SC_F32] = linear_f32, [SC_F16] = linear_f16, [SC_BF16] = linear_bf16, [SC_Q4_K] = linear_q4_k,
               [SC_Q5_K] = linear_q5_k, [SC_Q6_K] = linear_q6_k, [SC_Q8_0] = linear_q8_0},
    .quantize = quantize,
    .quantize_pairs = quantize_pairs,
    .layer_norm = layer_norm,
    .gelu = gelu,
    .add_residual = add_residual,
    .f16_clamped = f16_clamped,
    .widen = widen,
    .multiply = multiply,
    .attend = {[SC_F32] = attend_f32, [SC_F16] = attend_f16},
    .attend_merge = attend_merge,
    .logit_maxima = logit_maxima,
    .softmax_weights = softmax_weights,
    .weight_masses = weight_masses,
    .fit_affine = fit_affine,
    .fit_signed = fit_signed,
    .fit_plain = fit_plain,
    .limit_read = limit_read,
    .limit_dot = limit_dot,
};
