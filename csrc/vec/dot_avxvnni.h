/* Dot products for 256-bit AVX-VNNI: vpdpbusd in its VEX form, never the saturating one. See vec/scalar.h. */
#ifndef SC_VEC_DOT_H
#define SC_VEC_DOT_H

typedef i32x16 dotx16;

#define DOT_WIDE_OFFSET 0
static inline u8x64 i8_broadcast4(const int8_t *p)
{
    const __m256i x = _mm256_set1_epi32(four_bytes(p));
    return (u8x64){x, x};
}
static inline dotx16 dot_start(i32x16 sum) { return sum; }
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a)
{
    return (dotx16){_mm256_dpbusd_avx_epi32(acc.a, w.a, a.a), _mm256_dpbusd_avx_epi32(acc.b, w.b, a.b)};
}
static inline i32x16 dot_end(i32x16 sum, dotx16 acc) { (void)sum; return acc; }
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a) { return dot_add(acc, w, a); }
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_dpwssd_avx_epi32(acc.a, x.a, y.a), _mm256_dpwssd_avx_epi32(acc.b, x.b, y.b)};
}

#endif
