/* All bodies, and the table of one instance. The including file sets the target, the knobs and the primitives. */
#include "knobs.h"

#include "attention.h"
#include "elementwise.h"
#include "fit.h"
#include "gelu.h"
#include "linear_table.h"
#include "norm.h"
#include "peaks.h"
#include "activations.h"
#include "vocabulary.h"

const sc_kernels FN(sc_kernels) = {
    .name = ISA_NAME,
    .chunk = CHUNK,
    .linear = LINEAR_SLOTS,
    .quantize = FN(quantize),
    .quantize_pairs = FN(quantize_pairs),
    .layer_norm = FN(layer_norm),
    .gelu = FN(gelu),
    .add_residual = FN(add_residual),
    .f16_clamped = FN(f16_clamped),
    .widen = FN(widen),
    .scale = FN(scale),
    .attend = {[SC_F32] = FN(attend_f32), [SC_F16] = FN(attend_f16)},
    .attend_merge = FN(attend_merge),
    .logit_maxima = FN(logit_maxima),
    .softmax_weights = FN(softmax_weights),
    .weight_masses = FN(weight_masses),
    .fit_affine = FN(fit_affine),
    .fit_signed = FN(fit_signed),
    .fit_plain = FN(fit_plain),
    .peak_read = FN(peak_read),
    .peak_dot = FN(peak_dot),
};
