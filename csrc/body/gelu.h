/* GELU in its tanh form (Hendrycks and Gimpel, 2016). */
#ifndef SC_BODY_GELU_H
#define SC_BODY_GELU_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "exp.h"

/* 0.5*x*(1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) * (x + 0.044715*x^3). */
INLINE f32x16 f32_gelu(f32x16 x)
{
    const f32x16 cubic = f32_fma(f32_mul(f32_mul(x, x), f32_set1(0.044715f)), x, x);
    const f32x16 u2 = f32_mul(cubic, f32_set1(-1.59576912f));
    const f32x16 e = f32_exp(f32_min(f32_set1(80.0f), u2));
    return f32_div(x, f32_add(f32_set1(1.0f), e));
}

/* Finishes a pair of the ffn_up layer: bias and GELU in place over (tokens, 32). */
void FN(gelu)(float *x, const float *bias, size_t tokens)
{
    for (size_t t = 0; t < tokens; t++, x += SC_PAIR) {
        f32_store(x, f32_gelu(f32_add(f32_load(x), f32_load(bias))));
        f32_store(x + 16, f32_gelu(f32_add(f32_load(x + 16), f32_load(bias + 16))));
    }
}

#endif
