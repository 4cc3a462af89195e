/* All bodies, and the table of one instance. The including file sets the target, the knobs and the primitives. */
#include "knobs.h"

#include "linear_table.h"
#include "peaks.h"
#ifdef SHARED
#include "shared.h"
#else
#include "activations.h"
#include "attention.h"
#include "elementwise.h"
#include "fit.h"
#include "gelu.h"
#include "norm.h"
#include "vocabulary.h"
#endif

const sc_kernels FN(sc_kernels) = {
    .name = ISA_NAME,
    .chunk = CHUNK,
    .linear = LINEAR_SLOTS,
    .quantize = FROM(quantize),
    .quantize_pairs = FROM(quantize_pairs),
    .layer_norm = FROM(layer_norm),
    .gelu = FROM(gelu),
    .add_residual = FROM(add_residual),
    .f16_clamped = FROM(f16_clamped),
    .widen = FROM(widen),
    .scale = FROM(scale),
    .attend = {[SC_F32] = FROM(attend_f32), [SC_F16] = FROM(attend_f16)},
    .attend_merge = FROM(attend_merge),
    .logit_maxima = FROM(logit_maxima),
    .softmax_weights = FROM(softmax_weights),
    .weight_masses = FROM(weight_masses),
    .fit_affine = FROM(fit_affine),
    .fit_signed = FROM(fit_signed),
    .fit_plain = FROM(fit_plain),
    .peak_read = FN(peak_read),
    .peak_dot = FN(peak_dot),
};
