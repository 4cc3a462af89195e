/* The 16-lane primitives on SSSE3 and SSE4.1: four xmm registers per vector, lanes in order. See vec/scalar.h for
 * contracts. */
#ifndef SC_VEC_H
#define SC_VEC_H

#include "four.h"

typedef struct { __m128i v[4]; } u8x64;
typedef struct { __m128i v[4]; } i32x16;
typedef struct { __m128 v[4]; } f32x16;
typedef struct { __m128i v[4]; } dotx16; /* int16: two per lane */

/* Bytes. */
static inline u8x64 u8_load(const void *p) { REGISTERS_(u8x64, _mm_loadu_si128((const __m128i *)p + i)); }
static inline void u8_store(void *p, u8x64 x) { EACH_(_mm_storeu_si128((__m128i *)p + i, x.v[i])); }
static inline u8x64 u8_shl(u8x64 x, int n) { REGISTERS_(u8x64, _mm_slli_epi16(x.v[i], n)); }
static inline u8x64 u8_shr(u8x64 x, int n) { REGISTERS_(u8x64, _mm_srli_epi16(x.v[i], n)); }
static inline u8x64 u8_and(u8x64 x, uint8_t mask)
{
    REGISTERS_(u8x64, _mm_and_si128(x.v[i], _mm_set1_epi8((char)mask)));
}
static inline u8x64 u8_or(u8x64 x, u8x64 y) { REGISTERS_(u8x64, _mm_or_si128(x.v[i], y.v[i])); }
static inline u8x64 u8_sub(u8x64 x, uint8_t y) { REGISTERS_(u8x64, _mm_sub_epi8(x.v[i], _mm_set1_epi8((char)y))); }
static inline u8x64 u8_lookup(const uint8_t table[16], u8x64 x)
{
    REGISTERS_(u8x64, _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)table), x.v[i]));
}

/* Dot products: pmaddubsw into int16, widened by dot_end. */
static inline u8x64 i8_broadcast4(const int8_t *p)
{
    const __m128i x = _mm_set1_epi32(four_bytes(p));
    REGISTERS_(u8x64, x);
}
static inline dotx16 dot_start(i32x16 sum)
{
    (void)sum;
    REGISTERS_(dotx16, _mm_setzero_si128());
}
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a)
{
    EACH_(acc.v[i] = _mm_add_epi16(acc.v[i], _mm_maddubs_epi16(w.v[i], a.v[i])); IN_ORDER(acc.v[i]));
    return acc;
}
static inline i32x16 dot_end(i32x16 sum, dotx16 acc)
{
    REGISTERS_(i32x16, _mm_add_epi32(sum.v[i], _mm_madd_epi16(acc.v[i], _mm_set1_epi16(1))));
}
/* |w| <= 128 as unsigned times a with w's sign: 2*128*127 = 32512 fits int16. */
#define DOT_WIDE_OFFSET 128
static inline __m128i dot4_signed_(__m128i w_offset, __m128i a)
{
    const __m128i w = _mm_xor_si128(w_offset, _mm_set1_epi8((char)0x80));
    return _mm_madd_epi16(_mm_maddubs_epi16(_mm_abs_epi8(w), _mm_sign_epi8(a, w)), _mm_set1_epi16(1));
}
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a)
{
    EACH_(acc.v[i] = _mm_add_epi32(acc.v[i], dot4_signed_(w.v[i], a.v[i])); IN_ORDER(acc.v[i]));
    return acc;
}

/* 32-bit integers. */
static inline i32x16 i32_set1(int32_t x) { REGISTERS_(i32x16, _mm_set1_epi32(x)); }
static inline i32x16 i32_load(const int32_t *p) { REGISTERS_(i32x16, _mm_loadu_si128((const __m128i *)p + i)); }
static inline i32x16 i32_add(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_add_epi32(x.v[i], y.v[i])); }
static inline i32x16 i32_shl(i32x16 x, int n) { REGISTERS_(i32x16, _mm_slli_epi32(x.v[i], n)); }
static inline i32x16 i32_from_bits(f32x16 x) { REGISTERS_(i32x16, _mm_castps_si128(x.v[i])); }
static inline int32_t i32_sum16(i32x16 x)
{
    __m128i b = _mm_add_epi32(_mm_add_epi32(x.v[0], x.v[1]), _mm_add_epi32(x.v[2], x.v[3]));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}
static inline i32x16 i32_and(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_and_si128(x.v[i], y.v[i])); }
static inline i32x16 i32_max(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_max_epi32(x.v[i], y.v[i])); }
static inline int32_t i32_max16(i32x16 x)
{
    __m128i b = _mm_max_epi32(_mm_max_epi32(x.v[0], x.v[1]), _mm_max_epi32(x.v[2], x.v[3]));
    b = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(b, _mm_shuffle_epi32(b, 0xB1)));
}
static inline i32x16 i32_abs(i32x16 x) { REGISTERS_(i32x16, _mm_abs_epi32(x.v[i])); }
static inline i32x16 i32_from_f32(f32x16 x) { REGISTERS_(i32x16, _mm_cvtps_epi32(x.v[i])); }
static inline void i32_store_i8(int8_t *p, i32x16 x)
{
    const __m128i low = _mm_packs_epi32(x.v[0], x.v[1]), high = _mm_packs_epi32(x.v[2], x.v[3]);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(low, high));
}

/* 16-bit integers, two to a lane. */
static inline i32x16 i16_broadcast2(const int16_t *p) { return i32_set1(four_bytes(p)); }
static inline i32x16 i16_pair(i32x16 low, i32x16 high)
{
    REGISTERS_(i32x16, _mm_blend_epi16(low.v[i], _mm_slli_epi32(high.v[i], 16), 0xAA));
}
static inline i32x16 i16_add(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_add_epi16(x.v[i], y.v[i])); }
static inline i32x16 i16_mul(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_mullo_epi16(x.v[i], y.v[i])); }
static inline i32x16 i16_dot(i32x16 x, i32x16 y) { REGISTERS_(i32x16, _mm_madd_epi16(x.v[i], y.v[i])); }
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y) { return i32_add(acc, i16_dot(x, y)); }
static inline i32x16 i16_even_u8(u8x64 x) { REGISTERS_(i32x16, _mm_and_si128(x.v[i], _mm_set1_epi16(0xFF))); }
static inline i32x16 i16_odd_u8(u8x64 x) { REGISTERS_(i32x16, _mm_srli_epi16(x.v[i], 8)); }
static inline i32x16 i16_even_i8(u8x64 x) { REGISTERS_(i32x16, _mm_srai_epi16(_mm_slli_epi16(x.v[i], 8), 8)); }
static inline i32x16 i16_odd_i8(u8x64 x) { REGISTERS_(i32x16, _mm_srai_epi16(x.v[i], 8)); }

/* Floats. */
static inline f32x16 f32_set1(float x) { REGISTERS_(f32x16, _mm_set1_ps(x)); }
static inline f32x16 f32_load(const float *p) { REGISTERS_(f32x16, _mm_loadu_ps(p + 4 * i)); }
static inline void f32_store(float *p, f32x16 x) { EACH_(_mm_storeu_ps(p + 4 * i, x.v[i])); }
static inline __m128i u16x4_(const uint16_t *p) { return _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)p)); }
/* The exponent is moved by 112, twice for infinity and NaN. Subnormals get a leading 1, which a subtraction removes: no
 * subnormal float, which is slow, comes up. */
static inline __m128 f16x4_(__m128i half)
{
    const __m128i sign = _mm_slli_epi32(_mm_srli_epi32(half, 15), 31), one = _mm_set1_epi32(1 << 23);
    const __m128i magnitude = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7FFF)), 13);
    const __m128i special = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0F7FFFFF));
    const __m128i bias = _mm_set1_epi32(112 << 23);
    const __m128i normal = _mm_add_epi32(_mm_add_epi32(magnitude, bias), _mm_and_si128(special, bias));
    const __m128 small = _mm_sub_ps(_mm_castsi128_ps(_mm_add_epi32(normal, one)), _mm_set1_ps(0x1p-14f));
    const __m128i is_small = _mm_cmpgt_epi32(one, magnitude);
    return _mm_or_ps(_mm_blendv_ps(_mm_castsi128_ps(normal), small, _mm_castsi128_ps(is_small)),
                     _mm_castsi128_ps(sign));
}
static inline f32x16 f32_load_f16(const uint16_t *p) { REGISTERS_(f32x16, f16x4_(u16x4_(p + 4 * i))); }
static inline void f32_store_f16(uint16_t *p, f32x16 x) /* only new keys and values are stored: few */
{
    float lanes[16];
    f32_store(lanes, x);
    for (int i = 0; i < 16; i++) p[i] = sc_f16_from_f32(lanes[i]);
}
static inline f32x16 f32_load_bf16(const uint16_t *p)
{
    REGISTERS_(f32x16, _mm_castsi128_ps(_mm_slli_epi32(u16x4_(p + 4 * i), 16)));
}
static inline f32x16 f32_from_i32(i32x16 x) { REGISTERS_(f32x16, _mm_cvtepi32_ps(x.v[i])); }
static inline f32x16 f32_from_bits(i32x16 x) { REGISTERS_(f32x16, _mm_castsi128_ps(x.v[i])); }
static inline f32x16 f32_add(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_add_ps(x.v[i], y.v[i])); }
static inline f32x16 f32_sub(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_sub_ps(x.v[i], y.v[i])); }
static inline f32x16 f32_mul(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_mul_ps(x.v[i], y.v[i])); }
static inline f32x16 f32_div(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_div_ps(x.v[i], y.v[i])); }
/* x*y + z of two lanes in double, where the product is exact and the sum is not. Rounding it again, to float, is wrong
 * only if it lies half way between two floats, when its 28 lowest bits are zero, also if the floats are subnormal. */
INLINE __m128d low_(__m128 x) { return _mm_cvtps_pd(x); }
INLINE __m128d high_(__m128 x) { return _mm_cvtps_pd(_mm_movehl_ps(x, x)); }
INLINE __m128 floats_(__m128d low, __m128d high) { return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high)); }
INLINE __m128i low_bits_(__m128d low, __m128d high)
{
    const __m128 words = _mm_shuffle_ps(_mm_castpd_ps(low), _mm_castpd_ps(high), 0x88);
    return _mm_slli_epi32(_mm_castps_si128(words), 4);
}
/* Rounded to odd instead, as in scalar.h, so that rounding to float is right: an even sum moves by one unit towards
 * what it lacks. */
INLINE __m128d add_to_odd_(__m128d p, __m128d c)
{
    const __m128d sum = _mm_add_pd(p, c), b = _mm_sub_pd(sum, p);
    const __m128d error = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(sum, b)), _mm_sub_pd(c, b));
    const __m128d finite = _mm_cmpeq_pd(_mm_sub_pd(sum, sum), _mm_setzero_pd());
    const __m128d inexact = _mm_and_pd(_mm_cmpneq_pd(error, _mm_setzero_pd()), finite);
    const __m128i bits = _mm_castpd_si128(sum), one = _mm_set1_epi64x(1);
    const __m128i even = _mm_andnot_si128(bits, _mm_and_si128(_mm_castpd_si128(inexact), one));
    const __m128i signs = _mm_xor_si128(bits, _mm_castpd_si128(error)); /* negative: towards zero, by -1 */
    const __m128i towards = _mm_shuffle_epi32(_mm_srai_epi32(signs, 31), 0xF5);
    return _mm_castsi128_pd(_mm_add_epi64(bits, _mm_sub_epi64(_mm_xor_si128(even, towards), towards)));
}
static __attribute__((noinline, cold)) void FN(fma_to_odd)(const f32x16 *x, const f32x16 *y, const f32x16 *z,
                                                          f32x16 *out)
{
    for (int i = 0; i < 4; i++)
        out->v[i] = floats_(add_to_odd_(_mm_mul_pd(low_(x->v[i]), low_(y->v[i])), low_(z->v[i])),
                            add_to_odd_(_mm_mul_pd(high_(x->v[i]), high_(y->v[i])), high_(z->v[i])));
}
INLINE f32x16 f32_fma(f32x16 x, f32x16 y, f32x16 z)
{
    f32x16 r;
    __m128i least = _mm_set1_epi32(-1);
    EACH_(const __m128d low = _mm_add_pd(_mm_mul_pd(low_(x.v[i]), low_(y.v[i])), low_(z.v[i]));
          const __m128d high = _mm_add_pd(_mm_mul_pd(high_(x.v[i]), high_(y.v[i])), high_(z.v[i]));
          least = _mm_min_epu32(least, low_bits_(low, high)); r.v[i] = floats_(low, high));
    if (__builtin_expect(_mm_movemask_epi8(_mm_cmpeq_epi32(least, _mm_setzero_si128())), 0)) {
        const f32x16 x_ = x, y_ = y, z_ = z; /* copies, so that only they must be in memory */
        f32x16 exact;
        FN(fma_to_odd)(&x_, &y_, &z_, &exact);
        return exact;
    }
    return r;
}
static inline f32x16 f32_max(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_max_ps(x.v[i], y.v[i])); }
static inline f32x16 f32_min(f32x16 x, f32x16 y) { REGISTERS_(f32x16, _mm_min_ps(x.v[i], y.v[i])); }
static inline f32x16 f32_select_lt(f32x16 a, f32x16 b, f32x16 yes, f32x16 no)
{
    REGISTERS_(f32x16, _mm_blendv_ps(no.v[i], yes.v[i], _mm_cmplt_ps(a.v[i], b.v[i])));
}
static inline float f32_max16(f32x16 x)
{
    __m128 b = _mm_max_ps(_mm_max_ps(x.v[0], x.v[1]), _mm_max_ps(x.v[2], x.v[3]));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
static inline float f32_sum16(f32x16 x)
{
    __m128 b = _mm_add_ps(_mm_add_ps(x.v[0], x.v[2]), _mm_add_ps(x.v[1], x.v[3]));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

#endif
