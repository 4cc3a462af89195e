/* The 16-lane primitives on NEON: four q registers per vector, lanes in order. The dot products come from dot_neon.h or
 * dot_neon_dotprod.h. See vec/scalar.h for contracts. */
#ifndef SC_VEC_H
#define SC_VEC_H

typedef struct { uint8x16_t v[4]; } u8x64;
typedef struct { int32x4_t v[4]; } i32x16;
typedef struct { float32x4_t v[4]; } f32x16;

#include "four.h"

/* Bytes. */
static inline u8x64 u8_load(const void *p) { REGISTERS_(u8x64, vld1q_u8((const uint8_t *)p + 16 * i)); }
static inline void u8_store(void *p, u8x64 x)
{
    EACH_(vst1q_u8((uint8_t *)p + 16 * i, x.v[i]));
}
static inline u8x64 u8_shl(u8x64 x, int n) { REGISTERS_(u8x64, vshlq_u8(x.v[i], vdupq_n_s8((int8_t)n))); }
static inline u8x64 u8_shr(u8x64 x, int n) { REGISTERS_(u8x64, vshlq_u8(x.v[i], vdupq_n_s8((int8_t)-n))); }
static inline u8x64 u8_and(u8x64 x, uint8_t mask) { REGISTERS_(u8x64, vandq_u8(x.v[i], vdupq_n_u8(mask))); }
static inline u8x64 u8_or(u8x64 x, u8x64 y) { REGISTERS_(u8x64, vorrq_u8(x.v[i], y.v[i])); }
static inline u8x64 u8_sub(u8x64 x, uint8_t y) { REGISTERS_(u8x64, vsubq_u8(x.v[i], vdupq_n_u8(y))); }
static inline u8x64 u8_lookup(const uint8_t table[16], u8x64 x)
{
    const uint8x16_t all = vld1q_u8(table);
    REGISTERS_(u8x64, vqtbl1q_u8(all, x.v[i]));
}

/* 32-bit integers. */
static inline i32x16 i32_set1(int32_t x) { REGISTERS_(i32x16, vdupq_n_s32(x)); }
static inline i32x16 i32_load(const int32_t *p) { REGISTERS_(i32x16, vld1q_s32(p + 4 * i)); }
static inline i32x16 i32_add(i32x16 x, i32x16 y) { REGISTERS_(i32x16, vaddq_s32(x.v[i], y.v[i])); }
static inline i32x16 i32_shl(i32x16 x, int n) { REGISTERS_(i32x16, vshlq_s32(x.v[i], vdupq_n_s32((int32_t)n))); }
static inline i32x16 i32_from_bits(f32x16 x) { REGISTERS_(i32x16, vreinterpretq_s32_f32(x.v[i])); }
static inline int32_t i32_sum16(i32x16 x)
{
    return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3])));
}
static inline i32x16 i32_and(i32x16 x, i32x16 y) { REGISTERS_(i32x16, vandq_s32(x.v[i], y.v[i])); }
static inline i32x16 i32_max(i32x16 x, i32x16 y) { REGISTERS_(i32x16, vmaxq_s32(x.v[i], y.v[i])); }
static inline int32_t i32_max16(i32x16 x)
{
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.v[0], x.v[1]), vmaxq_s32(x.v[2], x.v[3])));
}
static inline i32x16 i32_abs(i32x16 x) { REGISTERS_(i32x16, vabsq_s32(x.v[i])); }
static inline i32x16 i32_from_f32(f32x16 x) { REGISTERS_(i32x16, vcvtnq_s32_f32(x.v[i])); }
static inline void i32_store_i8(int8_t *p, i32x16 x)
{
    int16x8_t low = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
    int16x8_t high = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

/* 16-bit integers, two to a lane. */
static inline int16x8_t i16_(int32x4_t x) { return vreinterpretq_s16_s32(x); }
static inline int32x4_t i32_(int16x8_t x) { return vreinterpretq_s32_s16(x); }
static inline i32x16 i16_broadcast2(const int16_t *p) { return i32_set1(four_bytes(p)); }
static inline i32x16 i16_pair(i32x16 low, i32x16 high) { REGISTERS_(i32x16, vsliq_n_s32(low.v[i], high.v[i], 16)); }
static inline i32x16 i16_add(i32x16 x, i32x16 y) { REGISTERS_(i32x16, i32_(vaddq_s16(i16_(x.v[i]), i16_(y.v[i])))); }
static inline i32x16 i16_mul(i32x16 x, i32x16 y) { REGISTERS_(i32x16, i32_(vmulq_s16(i16_(x.v[i]), i16_(y.v[i])))); }
static inline int32x4_t dot2_quad_(int16x8_t x, int16x8_t y)
{
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
static inline i32x16 i16_dot(i32x16 x, i32x16 y) { REGISTERS_(i32x16, dot2_quad_(i16_(x.v[i]), i16_(y.v[i]))); }
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y) { return i32_add(acc, i16_dot(x, y)); }
static inline i32x16 i16_even_u8(u8x64 x)
{
    REGISTERS_(i32x16, vandq_s32(vreinterpretq_s32_u8(x.v[i]), vdupq_n_s32(0x00FF00FF)));
}
static inline i32x16 i16_odd_u8(u8x64 x)
{
    REGISTERS_(i32x16, vreinterpretq_s32_u16(vshrq_n_u16(vreinterpretq_u16_u8(x.v[i]), 8)));
}
static inline i32x16 i16_even_i8(u8x64 x)
{
    REGISTERS_(i32x16, i32_(vshrq_n_s16(vshlq_n_s16(vreinterpretq_s16_u8(x.v[i]), 8), 8)));
}
static inline i32x16 i16_odd_i8(u8x64 x) { REGISTERS_(i32x16, i32_(vshrq_n_s16(vreinterpretq_s16_u8(x.v[i]), 8))); }

/* Floats. */
static inline f32x16 f32_set1(float x) { REGISTERS_(f32x16, vdupq_n_f32(x)); }
static inline f32x16 f32_load(const float *p) { REGISTERS_(f32x16, vld1q_f32(p + 4 * i)); }
static inline void f32_store(float *p, f32x16 x)
{
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
}
static inline f32x16 f32_load_f16(const uint16_t *p)
{
    REGISTERS_(f32x16, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
static inline void f32_store_f16(uint16_t *p, f32x16 x)
{
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
static inline f32x16 f32_load_bf16(const uint16_t *p)
{
    REGISTERS_(f32x16, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}
static inline f32x16 f32_from_i32(i32x16 x) { REGISTERS_(f32x16, vcvtq_f32_s32(x.v[i])); }
static inline f32x16 f32_from_bits(i32x16 x) { REGISTERS_(f32x16, vreinterpretq_f32_s32(x.v[i])); }
static inline f32x16 f32_add(f32x16 x, f32x16 y) { REGISTERS_(f32x16, vaddq_f32(x.v[i], y.v[i])); }
static inline f32x16 f32_sub(f32x16 x, f32x16 y) { REGISTERS_(f32x16, vsubq_f32(x.v[i], y.v[i])); }
static inline f32x16 f32_mul(f32x16 x, f32x16 y) { REGISTERS_(f32x16, vmulq_f32(x.v[i], y.v[i])); }
static inline f32x16 f32_div(f32x16 x, f32x16 y) { REGISTERS_(f32x16, vdivq_f32(x.v[i], y.v[i])); }
static inline f32x16 f32_fma(f32x16 x, f32x16 y, f32x16 z) { REGISTERS_(f32x16, vfmaq_f32(z.v[i], x.v[i], y.v[i])); }
/* vmaxq would order the zeros: compare and select instead. */
static inline f32x16 f32_max(f32x16 x, f32x16 y)
{
    REGISTERS_(f32x16, vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]));
}
static inline f32x16 f32_min(f32x16 x, f32x16 y)
{
    REGISTERS_(f32x16, vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]));
}
static inline f32x16 f32_select_lt(f32x16 a, f32x16 b, f32x16 yes, f32x16 no)
{
    REGISTERS_(f32x16, vbslq_f32(vcltq_f32(a.v[i], b.v[i]), yes.v[i], no.v[i]));
}
static inline float f32_max16(f32x16 x)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3])));
}
static inline float f32_sum16(f32x16 x)
{
    float32x4_t b = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
    float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));
    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}

#endif
