/* Which body multiplies how many tokens: the functions of the table for quantised formats. */
#ifndef SC_BODY_LINEAR_TABLE_H
#define SC_BODY_LINEAR_TABLE_H

INLINE void linear_quantised(int format, const char *pair, size_t columns, const sc_act *x, size_t stride,
                             size_t tokens, const char *ahead, float *out)
{
    if (tokens == 1) linear_few(format, 1, pair, columns, x, stride, ahead, out);
    else if (FEW_TOKENS >= 2 && tokens == 2) linear_few(format, 2, pair, columns, x, stride, ahead, out);
    else if (FEW_TOKENS >= 3 && tokens == 3) linear_few(format, 3, pair, columns, x, stride, ahead, out);
    else if (FEW_TOKENS >= 4 && tokens == 4) linear_few(format, 4, pair, columns, x, stride, ahead, out);
    else LINEAR_MANY(format, pair, columns, x, stride, tokens, ahead, out);
}

#define LINEAR_QUANTISED(name, format)                                                                              \
    static void name(const void *pair, size_t columns, const void *x, size_t stride, size_t tokens,                 \
                     const void *ahead, float *out)                                                                 \
    {                                                                                                               \
        linear_quantised(format, pair, columns, x, stride, tokens, ahead, out);                                     \
    }
LINEAR_QUANTISED(linear_q4_k, SC_Q4_K)
LINEAR_QUANTISED(linear_q5_k, SC_Q5_K)
LINEAR_QUANTISED(linear_q6_k, SC_Q6_K)
LINEAR_QUANTISED(linear_q8_0, SC_Q8_0)

#endif
