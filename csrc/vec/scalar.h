/* The 16-lane primitives in plain C. They are the contract for the other files in this folder, which define the same
 * names in the same order. A vector is 16 lanes of 32 bits; u8x64 gives each lane four bytes. Lanes never interact.
 * Floats are IEEE single precision, round to nearest even; results for NaN operands are unspecified. */
#ifndef SC_VEC_H
#define SC_VEC_H

typedef struct { uint8_t v[64]; } u8x64;
typedef struct { int32_t v[16]; } i32x16;
typedef struct { float v[16]; } f32x16;
typedef struct { int32_t v[16]; } dotx16; /* a running dot product, in whatever width suits the instruction set */

#define LANES_(type, expression)              \
    type r;                                   \
    for (int i = 0; i < 16; i++) r.v[i] = (expression); \
    return r

/* Bytes. Shifts may carry bits in from a neighbouring byte: mask the result. */
static inline u8x64 u8_load(const void *p) { u8x64 r; memcpy(r.v, p, 64); return r; }
static inline void u8_store(void *p, u8x64 x) { memcpy(p, x.v, 64); }
static inline u8x64 u8_shl(u8x64 x, int n)
{
    for (int i = 0; i < 64; i++) x.v[i] = (uint8_t)(x.v[i] << n);
    return x;
}
static inline u8x64 u8_shr(u8x64 x, int n)
{
    for (int i = 0; i < 64; i++) x.v[i] = (uint8_t)(x.v[i] >> n);
    return x;
}
static inline u8x64 u8_and(u8x64 x, uint8_t mask)
{
    for (int i = 0; i < 64; i++) x.v[i] &= mask;
    return x;
}
static inline u8x64 u8_or(u8x64 x, u8x64 y)
{
    for (int i = 0; i < 64; i++) x.v[i] |= y.v[i];
    return x;
}
/* Modulo 256. */
static inline u8x64 u8_sub(u8x64 x, uint8_t y)
{
    for (int i = 0; i < 64; i++) x.v[i] = (uint8_t)(x.v[i] - y);
    return x;
}
/* table[byte], for bytes below 16. */
static inline u8x64 u8_lookup(const uint8_t table[16], u8x64 x)
{
    for (int i = 0; i < 64; i++) x.v[i] = table[x.v[i]];
    return x;
}

/* Dot products of unsigned weights with signed activations in [-127, 127], exact. dot_end(sum, acc) is sum + products,
 * where acc began as dot_start(sum) with the same sum. In between, dot_add may accumulate in int16: at most 8 adds with
 * weights <= 15 (8*2*15*127 = 30480), 4 with weights <= 31 (31496), 2 with weights <= 63 (32004). */
static inline u8x64 i8_broadcast4(const int8_t *p)
{
    u8x64 r;
    for (int i = 0; i < 16; i++) memcpy(r.v + 4 * i, p, 4);
    return r;
}
static inline int32_t dot4_(const uint8_t *w, const uint8_t *a, int offset)
{
    int32_t sum = 0;
    for (int k = 0; k < 4; k++) sum += (w[k] - offset) * (int8_t)a[k];
    return sum;
}
static inline dotx16 dot_start(i32x16 sum) { LANES_(dotx16, sum.v[i]); }
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a)
{
    LANES_(dotx16, acc.v[i] + dot4_(w.v + 4 * i, a.v + 4 * i, 0));
}
static inline i32x16 dot_end(i32x16 sum, dotx16 acc) { (void)sum; LANES_(i32x16, acc.v[i]); }
/* Weights stored as w + 128, any byte: acc + sum((w + 128 - DOT_WIDE_OFFSET) * a). The caller removes the rest of the
 * offset. */
#define DOT_WIDE_OFFSET 128
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a)
{
    LANES_(i32x16, acc.v[i] + dot4_(w.v + 4 * i, a.v + 4 * i, DOT_WIDE_OFFSET));
}

/* 32-bit integers. */
static inline i32x16 i32_set1(int32_t x) { LANES_(i32x16, x); }
static inline i32x16 i32_load(const int32_t *p) { LANES_(i32x16, p[i]); }
static inline i32x16 i32_add(i32x16 x, i32x16 y) { LANES_(i32x16, (int32_t)((uint32_t)x.v[i] + (uint32_t)y.v[i])); }
static inline i32x16 i32_shl(i32x16 x, int n) { LANES_(i32x16, (int32_t)((uint32_t)x.v[i] << n)); }
static inline i32x16 i32_from_bits(f32x16 x) { i32x16 r; memcpy(r.v, x.v, 64); return r; }
static inline int32_t i32_sum16(i32x16 x)
{
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += x.v[i];
    return sum;
}
static inline i32x16 i32_and(i32x16 x, i32x16 y) { LANES_(i32x16, x.v[i] & y.v[i]); }
static inline i32x16 i32_max(i32x16 x, i32x16 y) { LANES_(i32x16, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
static inline int32_t i32_max16(i32x16 x)
{
    int32_t max = x.v[0];
    for (int i = 1; i < 16; i++) max = x.v[i] > max ? x.v[i] : max;
    return max;
}
static inline i32x16 i32_abs(i32x16 x) { LANES_(i32x16, x.v[i] < 0 ? -x.v[i] : x.v[i]); }
/* To the nearest integer, ties to even; |x| < 2^31: clamp first, since instruction sets differ beyond that. A double of
 * 2^52 to 2^53 has no bits below 1. */
static inline i32x16 i32_from_f32(f32x16 x) { LANES_(i32x16, (int32_t)((x.v[i] + 0x1.8p52) - 0x1.8p52)); }
/* 16 bytes; every lane in [-128, 127]. */
static inline void i32_store_i8(int8_t *p, i32x16 x)
{
    for (int i = 0; i < 16; i++) p[i] = (int8_t)x.v[i];
}

/* 16-bit integers, two to a lane: `low` the lower half. Sums and products are modulo 2^16. */
static inline int16_t low_(int32_t x) { return (int16_t)(x & 0xFFFF); }
static inline int16_t high_(int32_t x) { return (int16_t)(x >> 16); }
static inline int32_t both_(int low, int high) { return (int32_t)(((uint32_t)high << 16) | ((uint32_t)low & 0xFFFF)); }
static inline i32x16 i16_broadcast2(const int16_t *p) { LANES_(i32x16, both_(p[0], p[1])); }
/* The lower halves of two vectors. */
static inline i32x16 i16_pair(i32x16 low, i32x16 high) { LANES_(i32x16, both_(low.v[i], high.v[i])); }
static inline i32x16 i16_add(i32x16 x, i32x16 y)
{
    LANES_(i32x16, both_(low_(x.v[i]) + low_(y.v[i]), high_(x.v[i]) + high_(y.v[i])));
}
static inline i32x16 i16_mul(i32x16 x, i32x16 y)
{
    LANES_(i32x16, both_(low_(x.v[i]) * low_(y.v[i]), high_(x.v[i]) * high_(y.v[i])));
}
/* x.low*y.low + x.high*y.high, in int32; i16_dot_add adds it to acc. */
static inline i32x16 i16_dot(i32x16 x, i32x16 y)
{
    LANES_(i32x16, low_(x.v[i]) * low_(y.v[i]) + high_(x.v[i]) * high_(y.v[i]));
}
static inline i32x16 i16_dot_add(i32x16 acc, i32x16 x, i32x16 y) { return i32_add(acc, i16_dot(x, y)); }
/* Bytes 0 and 2 of each lane, or 1 and 3, unsigned or signed. */
static inline i32x16 i16_even_u8(u8x64 x) { LANES_(i32x16, both_(x.v[4 * i], x.v[4 * i + 2])); }
static inline i32x16 i16_odd_u8(u8x64 x) { LANES_(i32x16, both_(x.v[4 * i + 1], x.v[4 * i + 3])); }
static inline i32x16 i16_even_i8(u8x64 x) { LANES_(i32x16, both_((int8_t)x.v[4 * i], (int8_t)x.v[4 * i + 2])); }
static inline i32x16 i16_odd_i8(u8x64 x) { LANES_(i32x16, both_((int8_t)x.v[4 * i + 1], (int8_t)x.v[4 * i + 3])); }

/* Floats. */
static inline float float_from_bits_(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
static inline f32x16 f32_set1(float x) { LANES_(f32x16, x); }
static inline f32x16 f32_load(const float *p) { LANES_(f32x16, p[i]); }
static inline void f32_store(float *p, f32x16 x) { memcpy(p, x.v, 64); }
static inline f32x16 f32_load_f16(const uint16_t *p) { LANES_(f32x16, sc_f32_from_f16(p[i])); }
static inline void f32_store_f16(uint16_t *p, f32x16 x)
{
    for (int i = 0; i < 16; i++) p[i] = sc_f16_from_f32(x.v[i]);
}
static inline f32x16 f32_load_bf16(const uint16_t *p) { LANES_(f32x16, float_from_bits_((uint32_t)p[i] << 16)); }
static inline f32x16 f32_from_i32(i32x16 x) { LANES_(f32x16, (float)x.v[i]); }
static inline f32x16 f32_from_bits(i32x16 x) { LANES_(f32x16, float_from_bits_((uint32_t)x.v[i])); }
static inline f32x16 f32_add(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] + y.v[i]); }
static inline f32x16 f32_sub(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] - y.v[i]); }
static inline f32x16 f32_mul(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] * y.v[i]); }
static inline f32x16 f32_div(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] / y.v[i]); }
/* x*y + z rounded once, by an instruction if there is one. The fmaf of some C libraries rounds twice. Here the product
 * is exact in double. Its sum with z is rounded to odd (Boldo and Melquiond, 2008), so that rounding it to float gives
 * what one rounding would. */
static inline float fma_(float x, float y, float z)
{
#if defined __FP_FAST_FMAF
    return __builtin_fmaf(x, y, z);
#else
    const double p = (double)x * y, c = z, sum = p + c, b = sum - p;
    const double error = (p - (sum - b)) + (c - b); /* sum + error = p + c */
    uint64_t bits;
    double odd;
    memcpy(&bits, &sum, 8);
    if (error != 0 && !(bits & 1) && sum - sum == 0) bits += (error > 0) == (sum > 0) ? 1 : UINT64_MAX;
    memcpy(&odd, &bits, 8);
    return (float)odd;
#endif
}
static inline f32x16 f32_fma(f32x16 x, f32x16 y, f32x16 z) { LANES_(f32x16, fma_(x.v[i], y.v[i], z.v[i])); }
/* The second operand when both are zeros or either is NaN. */
static inline f32x16 f32_max(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
static inline f32x16 f32_min(f32x16 x, f32x16 y) { LANES_(f32x16, x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
static inline f32x16 f32_select_lt(f32x16 a, f32x16 b, f32x16 yes, f32x16 no)
{
    LANES_(f32x16, a.v[i] < b.v[i] ? yes.v[i] : no.v[i]);
}
static inline float f32_max16(f32x16 x)
{
    float max = x.v[0];
    for (int i = 1; i < 16; i++) max = x.v[i] > max ? x.v[i] : max;
    return max;
}
/* One fixed tree: lanes i and i+8, then i+4, i+2, i+1. */
static inline float f32_sum16(f32x16 x)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) x.v[i] += x.v[i + half];
    return x.v[0];
}

#endif
