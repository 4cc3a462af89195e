/* The 16-lane primitives on AVX-512 (F, BW, VL, VNNI): one zmm register per vector. See vec/scalar.h for contracts. */
#ifndef SC_VEC_H
#define SC_VEC_H

typedef __m512i u8x64;
typedef __m512i i32x16;
typedef __m512 f32x16;
typedef __m512i dotx16;

/* Bytes. */
static inline u8x64 u8_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void u8_store(void *p, u8x64 x) { _mm512_storeu_si512(p, x); }
static inline u8x64 u8_shl(u8x64 x, int n) { return _mm512_slli_epi16(x, (uint16_t)n); }
static inline u8x64 u8_shr(u8x64 x, int n) { return _mm512_srli_epi16(x, (uint16_t)n); }
static inline u8x64 u8_and(u8x64 x, uint8_t mask) { return _mm512_and_si512(x, _mm512_set1_epi8((char)mask)); }
static inline u8x64 u8_or(u8x64 x, u8x64 y) { return _mm512_or_si512(x, y); }
static inline u8x64 u8_sub(u8x64 x, uint8_t y) { return _mm512_sub_epi8(x, _mm512_set1_epi8((char)y)); }
static inline u8x64 u8_lookup(const uint8_t table[16], u8x64 x)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table)), x);
}

/* Dot products. vpdpbusd does not saturate; its ...s form does and is never used. */
#define DOT_WIDE_OFFSET 0 /* i32_dot4_wide keeps weights as stored, offset by +128 */
static inline u8x64 i8_broadcast4(const int8_t *p) { return _mm512_set1_epi32(four_bytes(p)); }
static inline dotx16 dot_start(i32x16 sum) { return sum; }
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a) { return _mm512_dpbusd_epi32(acc, w, a); }
static inline i32x16 dot_end(i32x16 sum, dotx16 acc) { (void)sum; return acc; }
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a) { return _mm512_dpbusd_epi32(acc, w, a); }

/* 32-bit integers. */
static inline i32x16 i32_set1(int32_t x) { return _mm512_set1_epi32(x); }
static inline i32x16 i32_load(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline i32x16 i32_add(i32x16 x, i32x16 y) { return _mm512_add_epi32(x, y); }
static inline i32x16 i32_shl(i32x16 x, int n) { return _mm512_slli_epi32(x, (unsigned)n); }
static inline i32x16 i32_from_bits(f32x16 x) { return _mm512_castps_si512(x); }
static inline int32_t i32_sum16(i32x16 x) { return _mm512_reduce_add_epi32(x); }
static inline i32x16 i32_and(i32x16 x, i32x16 y) { return _mm512_and_si512(x, y); }
static inline i32x16 i32_max(i32x16 x, i32x16 y) { return _mm512_max_epi32(x, y); }
static inline int32_t i32_max16(i32x16 x) { return _mm512_reduce_max_epi32(x); }
static inline i32x16 i32_abs(i32x16 x) { return _mm512_abs_epi32(x); }
static inline i32x16 i32_from_f32(f32x16 x) { return _mm512_cvtps_epi32(x); }
static inline void i32_store_i8(int8_t *p, i32x16 x) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(x)); }

/* 16-bit integers, two to a lane. */
static inline i32x16 i16_broadcast2(const int16_t *p) { return i32_set1(four_bytes(p)); }
static inline i32x16 i16_pair(i32x16 low, i32x16 high)
{
    return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16));
}
static inline i32x16 i16_add(i32x16 x, i32x16 y) { return _mm512_add_epi16(x, y); }
static inline i32x16 i16_mul(i32x16 x, i32x16 y) { return _mm512_mullo_epi16(x, y); }
static inline i32x16 i16_dot(i32x16 x, i32x16 y) { return _mm512_madd_epi16(x, y); }
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y) { return _mm512_dpwssd_epi32(acc, x, y); }
static inline i32x16 i16_even_u8(u8x64 x) { return _mm512_and_si512(x, _mm512_set1_epi16(0xFF)); }
static inline i32x16 i16_odd_u8(u8x64 x) { return _mm512_srli_epi16(x, 8); }
static inline i32x16 i16_even_i8(u8x64 x) { return _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8); }
static inline i32x16 i16_odd_i8(u8x64 x) { return _mm512_srai_epi16(x, 8); }

/* Floats. */
static inline f32x16 f32_set1(float x) { return _mm512_set1_ps(x); }
static inline f32x16 f32_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void f32_store(float *p, f32x16 x) { _mm512_storeu_ps(p, x); }
static inline f32x16 f32_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void f32_store_f16(uint16_t *p, f32x16 x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline f32x16 f32_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline f32x16 f32_from_i32(i32x16 x) { return _mm512_cvtepi32_ps(x); }
static inline f32x16 f32_from_bits(i32x16 x) { return _mm512_castsi512_ps(x); }
static inline f32x16 f32_add(f32x16 x, f32x16 y) { return _mm512_add_ps(x, y); }
static inline f32x16 f32_sub(f32x16 x, f32x16 y) { return _mm512_sub_ps(x, y); }
static inline f32x16 f32_mul(f32x16 x, f32x16 y) { return _mm512_mul_ps(x, y); }
static inline f32x16 f32_div(f32x16 x, f32x16 y) { return _mm512_div_ps(x, y); }
static inline f32x16 f32_fma(f32x16 x, f32x16 y, f32x16 z) { return _mm512_fmadd_ps(x, y, z); }
static inline f32x16 f32_max(f32x16 x, f32x16 y) { return _mm512_max_ps(x, y); }
static inline f32x16 f32_min(f32x16 x, f32x16 y) { return _mm512_min_ps(x, y); }
static inline f32x16 f32_select_lt(f32x16 a, f32x16 b, f32x16 yes, f32x16 no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
static inline float f32_max16(f32x16 x) { return _mm512_reduce_max_ps(x); }
static inline float f32_sum16(f32x16 x)
{
    __m256 a =
        _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1)));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#endif
