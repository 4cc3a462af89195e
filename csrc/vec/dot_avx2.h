/* Dot products for AVX2 without VNNI: vpmaddubsw into int16, widened by dot_end. See vec/scalar.h. */
#ifndef SC_VEC_DOT_H
#define SC_VEC_DOT_H

typedef struct { __m256i a, b; } dotx16; /* int16: two per lane */

static inline u8x64 i8_broadcast4(const int8_t *p)
{
    const __m256i x = _mm256_set1_epi32(four_bytes(p));
    return (u8x64){x, x};
}
static inline dotx16 dot_start(i32x16 sum)
{
    (void)sum;
    return (dotx16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a)
{
    acc.a = _mm256_add_epi16(acc.a, _mm256_maddubs_epi16(w.a, a.a));
    acc.b = _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(w.b, a.b));
    IN_ORDER(acc.a);
    IN_ORDER(acc.b);
    return acc;
}
static inline i32x16 dot_end(i32x16 sum, dotx16 acc)
{
    const __m256i one = _mm256_set1_epi16(1);
    return (i32x16){_mm256_add_epi32(sum.a, _mm256_madd_epi16(acc.a, one)),
                    _mm256_add_epi32(sum.b, _mm256_madd_epi16(acc.b, one))};
}
/* |w| <= 128 as unsigned times a with w's sign: 2*128*127 = 32512 fits int16. */
#define DOT_WIDE_OFFSET 128
static inline __m256i dot4_signed_(__m256i w_offset, __m256i a)
{
    const __m256i w = _mm256_xor_si256(w_offset, _mm256_set1_epi8((char)0x80));
    const __m256i products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
    return _mm256_madd_epi16(products, _mm256_set1_epi16(1));
}
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a)
{
    acc.a = _mm256_add_epi32(acc.a, dot4_signed_(w.a, a.a));
    acc.b = _mm256_add_epi32(acc.b, dot4_signed_(w.b, a.b));
    IN_ORDER(acc.a);
    IN_ORDER(acc.b);
    return acc;
}
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y) { return i32_add(acc, i16_dot(x, y)); }

#endif
