/* The kernels of another instance that this one has in its table: see SHARED in knobs.h. */
#ifndef SC_BODY_SHARED_H
#define SC_BODY_SHARED_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

#define SHARE(slot, name) extern __typeof__(*((sc_kernels *)0)->slot) FROM(name);
SHARE(quantize, quantize)
SHARE(quantize_pairs, quantize_pairs)
SHARE(layer_norm, layer_norm)
SHARE(gelu, gelu)
SHARE(add_residual, add_residual)
SHARE(f16_clamped, f16_clamped)
SHARE(widen, widen)
SHARE(scale, scale)
SHARE(attend[SC_F32], attend_f32)
SHARE(attend[SC_F16], attend_f16)
SHARE(attend_merge, attend_merge)
SHARE(logit_maxima, logit_maxima)
SHARE(softmax_weights, softmax_weights)
SHARE(weight_masses, weight_masses)
SHARE(fit_affine, fit_affine)
SHARE(fit_signed, fit_signed)
SHARE(fit_plain, fit_plain)
#undef SHARE

#endif
