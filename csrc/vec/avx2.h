/* The 16-lane primitives on AVX2 + FMA + F16C: a pair of ymm registers per vector, the first holding lanes 0..7.
 * The dot products come from dot_avx2.h or dot_avxvnni.h. See vec/scalar.h for contracts. */
#ifndef SC_VEC_H
#define SC_VEC_H

typedef struct { __m256i a, b; } u8x64;
typedef struct { __m256i a, b; } i32x16;
typedef struct { __m256 a, b; } f32x16;

/* Bytes. */
static inline u8x64 u8_load(const void *p)
{
    const __m256i *q = p;
    return (u8x64){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline void u8_store(void *p, u8x64 x)
{
    __m256i *q = p;
    _mm256_storeu_si256(q, x.a);
    _mm256_storeu_si256(q + 1, x.b);
}
static inline u8x64 u8_shl(u8x64 x, int n)
{
    return (u8x64){_mm256_slli_epi16(x.a, n), _mm256_slli_epi16(x.b, n)};
}
static inline u8x64 u8_shr(u8x64 x, int n)
{
    return (u8x64){_mm256_srli_epi16(x.a, n), _mm256_srli_epi16(x.b, n)};
}
static inline u8x64 u8_and(u8x64 x, uint8_t mask)
{
    const __m256i m = _mm256_set1_epi8((char)mask);
    return (u8x64){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
static inline u8x64 u8_or(u8x64 x, u8x64 y) { return (u8x64){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
static inline u8x64 u8_sub(u8x64 x, uint8_t y)
{
    const __m256i all = _mm256_set1_epi8((char)y);
    return (u8x64){_mm256_sub_epi8(x.a, all), _mm256_sub_epi8(x.b, all)};
}
static inline u8x64 u8_lookup(const uint8_t table[16], u8x64 x)
{
    const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    return (u8x64){_mm256_shuffle_epi8(all, x.a), _mm256_shuffle_epi8(all, x.b)};
}

/* 32-bit integers. */
static inline i32x16 i32_set1(int32_t x) { return (i32x16){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline i32x16 i32_load(const int32_t *p)
{
    return (i32x16){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))};
}
static inline i32x16 i32_add(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static inline i32x16 i32_shl(i32x16 x, int n)
{
    return (i32x16){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
static inline i32x16 i32_from_bits(f32x16 x) { return (i32x16){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
static inline int32_t i32_sum16(i32x16 x)
{
    __m256i a = _mm256_add_epi32(x.a, x.b);
    __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}
static inline i32x16 i32_and(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
static inline i32x16 i32_max(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
static inline int32_t i32_max16(i32x16 x)
{
    __m256i a = _mm256_max_epi32(x.a, x.b);
    __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}
static inline i32x16 i32_abs(i32x16 x) { return (i32x16){_mm256_abs_epi32(x.a), _mm256_abs_epi32(x.b)}; }
static inline i32x16 i32_from_f32(f32x16 x) { return (i32x16){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
static inline void i32_store_i8(int8_t *p, i32x16 x)
{
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}

/* 16-bit integers, two to a lane. */
static inline i32x16 i16_broadcast2(const int16_t *p) { return i32_set1(four_bytes(p)); }
static inline i32x16 i16_pair(i32x16 low, i32x16 high)
{
    return (i32x16){_mm256_blend_epi16(low.a, _mm256_slli_epi32(high.a, 16), 0xAA),
                    _mm256_blend_epi16(low.b, _mm256_slli_epi32(high.b, 16), 0xAA)};
}
static inline i32x16 i16_add(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
static inline i32x16 i16_mul(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_mullo_epi16(x.a, y.a), _mm256_mullo_epi16(x.b, y.b)};
}
static inline i32x16 i16_dot(i32x16 x, i32x16 y)
{
    return (i32x16){_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)};
}
static inline i32x16 i16_even_u8(u8x64 x)
{
    const __m256i mask = _mm256_set1_epi16(0xFF);
    return (i32x16){_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
static inline i32x16 i16_odd_u8(u8x64 x) { return (i32x16){_mm256_srli_epi16(x.a, 8), _mm256_srli_epi16(x.b, 8)}; }
static inline i32x16 i16_even_i8(u8x64 x)
{
    return (i32x16){_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8), _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
}
static inline i32x16 i16_odd_i8(u8x64 x) { return (i32x16){_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)}; }

/* Floats. */
static inline f32x16 f32_set1(float x) { return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline f32x16 f32_load(const float *p) { return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void f32_store(float *p, f32x16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline f32x16 f32_load_f16(const uint16_t *p)
{
    const __m128i *q = (const __m128i *)p;
    return (f32x16){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
static inline void f32_store_f16(uint16_t *p, f32x16 x)
{
    __m128i *q = (__m128i *)p;
    _mm_storeu_si128(q, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline __m256 bf16x8_(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline f32x16 f32_load_bf16(const uint16_t *p) { return (f32x16){bf16x8_(p), bf16x8_(p + 8)}; }
static inline f32x16 f32_from_i32(i32x16 x) { return (f32x16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
static inline f32x16 f32_from_bits(i32x16 x) { return (f32x16){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
static inline f32x16 f32_add(f32x16 x, f32x16 y) { return (f32x16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
static inline f32x16 f32_sub(f32x16 x, f32x16 y) { return (f32x16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
static inline f32x16 f32_mul(f32x16 x, f32x16 y) { return (f32x16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
static inline f32x16 f32_div(f32x16 x, f32x16 y) { return (f32x16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
static inline f32x16 f32_fma(f32x16 x, f32x16 y, f32x16 z)
{
    return (f32x16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline f32x16 f32_max(f32x16 x, f32x16 y) { return (f32x16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
static inline f32x16 f32_min(f32x16 x, f32x16 y) { return (f32x16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
static inline f32x16 f32_select_lt(f32x16 a, f32x16 b, f32x16 yes, f32x16 no)
{
    return (f32x16){_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                    _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ))};
}
static inline float f32_max16(f32x16 x)
{
    __m256 a = _mm256_max_ps(x.a, x.b);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
static inline float f32_sum16(f32x16 x)
{
    __m256 a = _mm256_add_ps(x.a, x.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#endif
