/* Dot products for NEON with the dot-product extension: one sdot per four lanes. */
#ifndef SC_VEC_DOT_H
#define SC_VEC_DOT_H

static inline int32x4_t dot4_register_(int32x4_t acc, int8x16_t w, int8x16_t a) { return vdotq_s32(acc, w, a); }
#include "dot_neon_common.h"

#endif
