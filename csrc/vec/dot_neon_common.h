/* What both NEON dot products share, on top of dot4_register_: four lanes' worth of acc + w . a, all bytes signed. All
 * weights except Q8_0's are below 64, so they are valid signed bytes. See vec/scalar.h. */
#ifndef SC_VEC_DOT_NEON_COMMON_H
#define SC_VEC_DOT_NEON_COMMON_H

typedef i32x16 dotx16;

static inline u8x64 i8_broadcast4(const int8_t *p)
{
    const int32_t four = four_bytes(p);
    REGISTERS_(u8x64, vreinterpretq_u8_s32(vdupq_n_s32(four)));
}
static inline dotx16 dot_start(i32x16 sum) { return sum; }
static inline dotx16 dot_add(dotx16 acc, u8x64 w, u8x64 a)
{
    REGISTERS_(dotx16, dot4_register_(acc.v[i], vreinterpretq_s8_u8(w.v[i]), vreinterpretq_s8_u8(a.v[i])));
}
static inline i32x16 dot_end(i32x16 sum, dotx16 acc) { (void)sum; return acc; }
#define DOT_WIDE_OFFSET 128
static inline i32x16 i32_dot4_wide(i32x16 acc, u8x64 w, u8x64 a)
{
    for (int i = 0; i < 4; i++) w.v[i] = veorq_u8(w.v[i], vdupq_n_u8(128));
    return dot_add(acc, w, a);
}

#endif
