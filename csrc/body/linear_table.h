/* The linear layers of the table: which body runs, by format and number of tokens. */
#ifndef SC_BODY_LINEAR_TABLE_H
#define SC_BODY_LINEAR_TABLE_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif
#include "linear_float.h"
#include "linear_gemm.h"
#include "linear_gemm_tiles.h"
#include "linear_gemv.h"

INLINE void linear_quantized(int format, const char *pair, size_t columns, const sc_act *x, size_t stride,
                             size_t tokens, const char *ahead, float *out)
{
    if (tokens == 1) linear_gemv(format, 1, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 2 && tokens == 2) linear_gemv(format, 2, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 3 && tokens == 3) linear_gemv(format, 3, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 4 && tokens == 4) linear_gemv(format, 4, pair, columns, x, stride, ahead, out);
    else if (GEMM_ON_TILES) linear_gemm_tiles(format, pair, columns, x, stride, tokens, ahead, out);
    else linear_gemm(format, pair, columns, x, stride, tokens, ahead, out);
}

#define LINEAR(name, format)                                                                                        \
    static void name(const void *pair, size_t columns, const void *x, size_t stride, size_t tokens,                 \
                     const void *ahead, float *out)                                                                 \
    {                                                                                                               \
        if (format < SC_Q4_K) linear_float(format, pair, columns, x, stride, tokens, out);                          \
        else linear_quantized(format, pair, columns, x, stride, tokens, ahead, out);                                \
    }
LINEAR(FN(linear_f32), SC_F32)
LINEAR(FN(linear_f16), SC_F16)
LINEAR(FN(linear_bf16), SC_BF16)
LINEAR(FN(linear_q4_k), SC_Q4_K)
LINEAR(FN(linear_q5_k), SC_Q5_K)
LINEAR(FN(linear_q6_k), SC_Q6_K)
LINEAR(FN(linear_q8_0), SC_Q8_0)

/* The slot of the table. */
#define LINEAR_SLOTS                                                                                                   \
    {[SC_F32] = FN(linear_f32), [SC_F16] = FN(linear_f16), [SC_BF16] = FN(linear_bf16), [SC_Q4_K] = FN(linear_q4_k),   \
     [SC_Q5_K] = FN(linear_q5_k), [SC_Q6_K] = FN(linear_q6_k), [SC_Q8_0] = FN(linear_q8_0)}

#endif
