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
#include "linear_gemv_halves.h"
#include "linear_gemv_small.h"

/* Many tokens. */
INLINE void linear_many(int format, int stored, const char *pair, size_t columns, const sc_act *x, size_t stride,
                        size_t tokens, const char *ahead, float *out)
{
    if (GEMM_ON_TILES) linear_gemm_tiles(format, stored, pair, columns, x, stride, tokens, ahead, out);
    else linear_gemm(format, stored, pair, columns, x, stride, tokens, ahead, out);
}

/* One body for all types that are unpacked to the form of Q8_0, and one for those in the form of Q6_K. */
static NOINLINE void FN(linear_many_q8_0)(int stored, const char *pair, size_t columns, const sc_act *x, size_t stride,
                                          size_t tokens, const char *ahead, float *out)
{
    linear_many(SC_Q8_0, stored, pair, columns, x, stride, tokens, ahead, out);
}

static NOINLINE void FN(linear_many_q6_k)(int stored, const char *pair, size_t columns, const sc_act *x, size_t stride,
                                          size_t tokens, const char *ahead, float *out)
{
    linear_many(SC_Q6_K, stored, pair, columns, x, stride, tokens, ahead, out);
}

/* Many tokens of a type that has the body of Q6_K or Q8_0. */
INLINE void linear_carried(int format, const char *pair, size_t columns, const sc_act *x, size_t stride, size_t tokens,
                           const char *ahead, float *out)
{
    if (format == SC_Q6_K || format == SC_Q2_K || format == SC_Q3_K)
        FN(linear_many_q6_k)(format, pair, columns, x, stride, tokens, ahead, out);
    else FN(linear_many_q8_0)(format, pair, columns, x, stride, tokens, ahead, out);
}

INLINE void linear_few(int format, int tokens, const char *pair, size_t columns, const sc_act *x, size_t stride,
                       const char *ahead, float *out)
{
    if (format == SC_Q2_K || format == SC_Q3_K)
        linear_gemv_halves(format, tokens, pair, columns, x, stride, ahead, out);
    else if (sc_is_small(format) || format == SC_IQ4_XS)
        linear_gemv_small(format, tokens, pair, columns, x, stride, ahead, out);
    else linear_gemv(format, tokens, pair, columns, x, stride, ahead, out);
}

INLINE void linear_quantized(int format, const char *pair, size_t columns, const sc_act *x, size_t stride,
                             size_t tokens, const char *ahead, float *out)
{
    if (tokens == 1) linear_few(format, 1, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 2 && tokens == 2) linear_few(format, 2, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 3 && tokens == 3) linear_few(format, 3, pair, columns, x, stride, ahead, out);
    else if (GEMV_TOKENS >= 4 && tokens == 4) linear_few(format, 4, pair, columns, x, stride, ahead, out);
    else if (is_affine(format)) linear_many(format, format, pair, columns, x, stride, tokens, ahead, out);
    else linear_carried(format, pair, columns, x, stride, tokens, ahead, out);
}

/* One kernel of a type: floats, a type of blocks, or one that is unpacked to another's form. */
#define SIGNATURE(name)                                                                                             \
    void name(const void *pair, size_t columns, const void *x, size_t stride, size_t tokens, const void *ahead,     \
              float *out)
#define QUANTIZED(name, format)                                                                                     \
    SIGNATURE(FN(name)) { linear_quantized(format, pair, columns, x, stride, tokens, ahead, out); }
#ifdef SHARED
#define FLOATS(name, format) extern SIGNATURE(FROM(name));
#else
#define FLOATS(name, format)                                                                                        \
    SIGNATURE(FN(name))                                                                                             \
    {                                                                                                               \
        (void)ahead;                                                                                                \
        linear_float(format, pair, columns, x, stride, tokens, out);                                                \
    }
#endif
/* Three tokens go as two and one: less code, for types that are not the usual ones. */
#define IN_TWO_PARTS(name)                                                                                          \
    if (tokens == 3 && GEMV_TOKENS >= 3) {                                                                          \
        FN(name)(pair, columns, x, stride, 2, ahead, out);                                                          \
        FN(name)(pair, columns, (const sc_act *)x + 2, stride, 1, ahead, out + 2 * SC_PAIR);                        \
        return;                                                                                                     \
    }
#if FEW_SHARED
#define CARRIED(name, format)                                                                                       \
    extern SIGNATURE(FROM(name));                                                                                   \
    SIGNATURE(FN(name))                                                                                             \
    {                                                                                                               \
        if (tokens <= GEMV_TOKENS) FROM(name)(pair, columns, x, stride, tokens, ahead, out);                        \
        else linear_carried(format, pair, columns, x, stride, tokens, ahead, out);                                  \
    }
#else
#define CARRIED(name, format)                                                                                       \
    SIGNATURE(FN(name))                                                                                             \
    {                                                                                                               \
        IN_TWO_PARTS(name)                                                                                          \
        linear_quantized(format, pair, columns, x, stride, tokens, ahead, out);                                     \
    }
#endif

FLOATS(linear_f32, SC_F32)
FLOATS(linear_f16, SC_F16)
FLOATS(linear_bf16, SC_BF16)
QUANTIZED(linear_q4_k, SC_Q4_K)
QUANTIZED(linear_q5_k, SC_Q5_K)
QUANTIZED(linear_q6_k, SC_Q6_K)
QUANTIZED(linear_q8_0, SC_Q8_0)
CARRIED(linear_q4_0, SC_Q4_0)
CARRIED(linear_q4_1, SC_Q4_1)
CARRIED(linear_q5_0, SC_Q5_0)
CARRIED(linear_q5_1, SC_Q5_1)
CARRIED(linear_iq4_nl, SC_IQ4_NL)
CARRIED(linear_q2_k, SC_Q2_K)
CARRIED(linear_q3_k, SC_Q3_K)
CARRIED(linear_iq4_xs, SC_IQ4_XS)

/* The slot of the table. */
#define LINEAR_SLOTS                                                                                                   \
    {[SC_F32] = FROM(linear_f32), [SC_F16] = FROM(linear_f16), [SC_BF16] = FROM(linear_bf16),                          \
     [SC_Q4_K] = FN(linear_q4_k),                                                                                      \
     [SC_Q5_K] = FN(linear_q5_k), [SC_Q6_K] = FN(linear_q6_k), [SC_Q8_0] = FN(linear_q8_0),                            \
     [SC_Q4_0] = FN(linear_q4_0), [SC_Q4_1] = FN(linear_q4_1), [SC_Q5_0] = FN(linear_q5_0),                            \
     [SC_Q5_1] = FN(linear_q5_1), [SC_IQ4_NL] = FN(linear_iq4_nl), [SC_Q2_K] = FN(linear_q2_k),                        \
     [SC_Q3_K] = FN(linear_q3_k), [SC_IQ4_XS] = FN(linear_iq4_xs)}

#endif
