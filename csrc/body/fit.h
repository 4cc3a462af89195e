/* Rounds weights to the numbers of GGUF's blocks (llama.cpp's k-quants and Q8_0) so that the squared error, times each
 * value's importance, is small. Each lane holds one group of values that share a scale, so groups never wait for each
 * other and no sum crosses lanes.
 *
 * For one group the error has many local minima in its scale (and minimum). So several starts each take a few steps of
 * Lloyd's method (1982), which rounds the values with a scale and then takes the best scale for the rounded values. The
 * scales of a superblock are then rounded themselves, their neighbours tried, and d (and dmin) set to the best for all
 * groups. */
#ifndef SC_BODY_FIT_H
#define SC_BODY_FIT_H

#ifndef SC_VEC_H /* opened by itself in an editor: plain C */
#include "alone.h"
#endif

enum { FIT_STARTS = 3, FIT_STEPS = 3, FIT_ROUNDS = 3 };

/* Starts: how far the ends of a group's range are drawn in, in half steps. */
static const float fit_inset[FIT_STARTS] = {0.0f, 0.75f, 1.5f};
/* How far around the nearest rounded scale and minimum to look for a better one. */
enum { FIT_REACH = 2 };

static float FN(fit_f16)(float x) { return sc_f32_from_f16(sc_f16_from_f32(x)); }

/* 1/x, or 0 for x <= 0. */
INLINE f32x16 f32_inverse(f32x16 x)
{
    return f32_select_lt(f32_set1(0), x, f32_div(f32_set1(1), x), f32_set1(0));
}

/* The nearest integer in low..high; low where x is NaN. */
INLINE f32x16 f32_whole(f32x16 x, f32x16 low, f32x16 high)
{
    return f32_from_i32(i32_from_f32(f32_min(f32_max(x, low), high)));
}

/* What the best scale depends on. Sums over a lane's values: of w and w*x; for rounded values q, of the error, w*q,
 * w*q*q and w*q*x. */
typedef struct {
    f32x16 w, wx;
} fit_totals;
typedef struct {
    f32x16 error, wq, wqq, wqx;
} fit_sums;

INLINE fit_totals fit_total(const float *x, const float *w, int n)
{
    fit_totals t = {f32_set1(0), f32_set1(0)};
    for (int i = 0; i < n; i++) {
        const f32x16 wi = f32_load(w + 16 * i);
        t.w = f32_add(t.w, wi);
        t.wx = f32_fma(wi, f32_load(x + 16 * i), t.wx);
    }
    return t;
}

/* Rounds x (n, 16) to scale*q - min with q in low..high. */
INLINE fit_sums fit_round(const float *x, const float *w, int n, f32x16 scale, f32x16 min, float low, float high)
{
    const f32x16 inverse = f32_inverse(scale), lows = f32_set1(low), highs = f32_set1(high);
    const f32x16 negative = f32_sub(f32_set1(0), scale);
    fit_sums s = {f32_set1(0), f32_set1(0), f32_set1(0), f32_set1(0)};
    for (int i = 0; i < n; i++) {
        const f32x16 xi = f32_load(x + 16 * i), wi = f32_load(w + 16 * i), above = f32_add(xi, min);
        const f32x16 q = f32_whole(f32_mul(above, inverse), lows, highs), miss = f32_fma(negative, q, above);
        const f32x16 wq = f32_mul(wi, q);
        s.error = f32_fma(f32_mul(wi, miss), miss, s.error);
        s.wq = f32_add(s.wq, wq);
        s.wqq = f32_fma(wq, q, s.wqq);
        s.wqx = f32_fma(wq, xi, s.wqx);
    }
    return s;
}

/* Only the error of fit_round. */
INLINE f32x16 fit_error(const float *x, const float *w, int n, f32x16 scale, f32x16 min, float low, float high)
{
    const f32x16 inverse = f32_inverse(scale), lows = f32_set1(low), highs = f32_set1(high);
    const f32x16 negative = f32_sub(f32_set1(0), scale);
    f32x16 error = f32_set1(0);
    for (int i = 0; i < n; i++) {
        const f32x16 above = f32_add(f32_load(x + 16 * i), min);
        const f32x16 miss = f32_fma(negative, f32_whole(f32_mul(above, inverse), lows, highs), above);
        error = f32_fma(f32_mul(f32_load(w + 16 * i), miss), miss, error);
    }
    return error;
}

/* Stores q, and the error and shift that reports and bias corrections need. */
static void FN(fit_store)(const float *x, const float *mean, int n, f32x16 scale, f32x16 min, float low, float high,
                          sc_fit *out)
{
    const f32x16 inverse = f32_inverse(scale), negative = f32_sub(f32_set1(0), scale);
    f32x16 error = f32_set1(0), shift = f32_set1(0);
    for (int i = 0; i < n; i++) {
        const f32x16 above = f32_add(f32_load(x + 16 * i), min);
        const f32x16 q = f32_whole(f32_mul(above, inverse), f32_set1(low), f32_set1(high));
        const f32x16 miss = f32_fma(negative, q, above);
        error = f32_fma(miss, miss, error);
        shift = f32_fma(miss, f32_load(mean + 16 * i), shift);
        i32_store_i8(out->q[i], i32_from_f32(q));
    }
    f32_store(out->error, error);
    f32_store(out->shift, shift);
}

/* Solves for each lane's best scale, and minimum >= 0, for the rounded values, before rounding the scales. Leaves both
 * as they are where the rounded values are all equal. */
INLINE void affine_solve(fit_totals t, fit_sums s, f32x16 *scale, f32x16 *min)
{
    const f32x16 zero = f32_set1(0), both = f32_mul(t.w, s.wqq);
    const f32x16 determinant = f32_sub(both, f32_mul(s.wq, s.wq));
    const f32x16 free_scale = f32_div(f32_sub(f32_mul(t.w, s.wqx), f32_mul(t.wx, s.wq)), determinant);
    const f32x16 free_min = f32_div(f32_sub(f32_mul(s.wq, s.wqx), f32_mul(s.wqq, t.wx)), determinant);
    const f32x16 alone = f32_select_lt(zero, s.wqq, f32_div(s.wqx, s.wqq), zero); /* without a minimum */
    const f32x16 least = f32_mul(both, f32_set1(1e-6f));
    const f32x16 new_scale = f32_select_lt(free_min, zero, alone, free_scale);
    *scale = f32_select_lt(least, determinant, new_scale, *scale);
    *min = f32_select_lt(least, determinant, f32_max(free_min, zero), *min);
}

static void FN(affine_search)(const float *x, const float *w, fit_totals totals, float levels, f32x16 *scale,
                              f32x16 *min)
{
    f32x16 low = f32_set1(0), high = f32_set1(0), best = f32_set1(INFINITY);
    for (int i = 0; i < 32; i++) {
        low = f32_min(f32_load(x + 16 * i), low);
        high = f32_max(f32_load(x + 16 * i), high);
    }
    const f32x16 range = f32_sub(high, low);
    *scale = *min = f32_set1(0);
    for (int start = 0; start < FIT_STARTS * FIT_STARTS; start++) {
        const float below = fit_inset[start / FIT_STARTS] / (2 * levels);
        const float above = fit_inset[start % FIT_STARTS] / (2 * levels);
        f32x16 s = f32_mul(range, f32_set1((1 - below - above) / levels));
        f32x16 m = f32_max(f32_sub(f32_mul(range, f32_set1(-below)), low), f32_set1(0));
        for (int step = 0; step < FIT_STEPS; step++) {
            const fit_sums sums = fit_round(x, w, 32, s, m, 0, levels);
            *scale = f32_select_lt(sums.error, best, s, *scale);
            *min = f32_select_lt(sums.error, best, m, *min);
            best = f32_min(sums.error, best);
            affine_solve(totals, sums, &s, &m);
        }
    }
}

/* Replaces the integer multiples a of d and b of dmin, one of each per lane, by the best within reach. */
static f32x16 FN(affine_neighbours)(const float *x, const float *w, float levels, int reach, f32x16 d, f32x16 dmin,
                                    f32x16 *a, f32x16 *b)
{
    const f32x16 zero = f32_set1(0), most = f32_set1(63), a0 = *a, b0 = *b;
    f32x16 best = f32_set1(INFINITY);
    for (int i = -reach; i <= reach; i++)
        for (int j = -reach; j <= reach; j++) {
            const f32x16 ai = f32_min(f32_max(f32_add(a0, f32_set1((float)i)), zero), most);
            const f32x16 bj = f32_min(f32_max(f32_add(b0, f32_set1((float)j)), zero), most);
            const f32x16 error = fit_error(x, w, 32, f32_mul(d, ai), f32_mul(dmin, bj), 0, levels);
            *a = f32_select_lt(error, best, ai, *a);
            *b = f32_select_lt(error, best, bj, *b);
            best = f32_min(error, best);
        }
    return best;
}

/* Sets d and dmin of each superblock, lanes h..h+7, to the best for the rounded values. */
static void FN(affine_refit)(fit_totals totals, fit_sums sums, f32x16 a, f32x16 b, float d[16], float dmin[16])
{
    float aa[16], ab[16], bb[16], ax[16], bx[16];
    f32_store(aa, f32_mul(f32_mul(a, a), sums.wqq));
    f32_store(ab, f32_mul(f32_mul(a, b), sums.wq));
    f32_store(bb, f32_mul(f32_mul(b, b), totals.w));
    f32_store(ax, f32_mul(a, sums.wqx));
    f32_store(bx, f32_mul(b, totals.wx));
    for (int h = 0; h < 16; h += 8) {
        double saa = 0, sab = 0, sbb = 0, sax = 0, sbx = 0;
        for (int i = h; i < h + 8; i++) saa += aa[i], sab += ab[i], sbb += bb[i], sax += ax[i], sbx += bx[i];
        const double determinant = saa * sbb - sab * sab;
        double nd = saa > 0 ? sax / saa : 0, nm = 0;
        if (determinant > 1e-9 * saa * sbb) {
            const double free_min = (sab * sax - saa * sbx) / determinant;
            if (free_min > 0) nd = (sbb * sax - sab * sbx) / determinant, nm = free_min;
        }
        for (int i = h; i < h + 8; i++) d[i] = FN(fit_f16)((float)(nd > 0 ? nd : 0)), dmin[i] = FN(fit_f16)((float)nm);
    }
}

/* Sets d and dmin so that the largest scale and minimum of a superblock become 63. */
static void FN(affine_first)(f32x16 scale, f32x16 min, float d[16], float dmin[16])
{
    float s[16], m[16];
    f32_store(s, scale);
    f32_store(m, min);
    for (int h = 0; h < 16; h += 8) {
        float most_s = 0, most_m = 0;
        for (int i = h; i < h + 8; i++) {
            most_s = s[i] > most_s ? s[i] : most_s;
            most_m = m[i] > most_m ? m[i] : most_m;
        }
        for (int i = h; i < h + 8; i++) d[i] = FN(fit_f16)(most_s / 63), dmin[i] = FN(fit_f16)(most_m / 63);
    }
}

void FN(fit_affine)(const float *x, const float *w, const float *mean, int levels, sc_fit *out)
{
    const fit_totals totals = fit_total(x, w, 32);
    const float high = (float)levels;
    float d[16], dmin[16], best[2] = {0}, error[16], a[16], b[16];
    f32x16 scale, min;
    FN(affine_search)(x, w, totals, high, &scale, &min);
    FN(affine_first)(scale, min, d, dmin);
    f32x16 at = f32_whole(f32_mul(scale, f32_inverse(f32_load(d))), f32_set1(0), f32_set1(63));
    f32x16 bt = f32_whole(f32_mul(min, f32_inverse(f32_load(dmin))), f32_set1(0), f32_set1(63));
    for (int round = 0; round < FIT_ROUNDS; round++) {
        if (round) {
            const f32x16 s = f32_mul(f32_load(d), at), m = f32_mul(f32_load(dmin), bt);
            FN(affine_refit)(totals, fit_round(x, w, 32, s, m, 0, high), at, bt, d, dmin);
        }
        f32_store(error, FN(affine_neighbours)(x, w, high, FIT_REACH, f32_load(d), f32_load(dmin), &at, &bt));
        f32_store(a, at);
        f32_store(b, bt);
        for (int h = 0; h < 2; h++) {
            float sum = 0;
            for (int i = 8 * h; i < 8 * h + 8; i++) sum += error[i];
            if (round && !(sum < best[h])) continue;
            best[h] = sum;
            out->d[h] = d[8 * h];
            out->dmin[h] = dmin[8 * h];
            for (int i = 8 * h; i < 8 * h + 8; i++) out->scale[i] = (int8_t)a[i], out->min[i] = (int8_t)b[i];
        }
    }
    for (int i = 0; i < 16; i++)
        a[i] = out->d[i / 8] * (float)out->scale[i], b[i] = out->dmin[i / 8] * (float)out->min[i];
    FN(fit_store)(x, mean, 32, f32_load(a), f32_load(b), 0, high, out);
}

/* The largest absolute value in each lane. *sign is -1 where that value is positive. */
static f32x16 FN(fit_extent)(const float *x, int n, f32x16 *sign)
{
    const f32x16 zero = f32_set1(0);
    f32x16 below = zero, above = zero;
    for (int i = 0; i < n; i++) {
        below = f32_max(f32_sub(zero, f32_load(x + 16 * i)), below);
        above = f32_max(f32_load(x + 16 * i), above);
    }
    *sign = f32_select_lt(below, above, f32_set1(-1), f32_set1(1));
    return f32_max(below, above);
}

/* Replaces the integer multiples a of d by the best within reach. */
static f32x16 FN(signed_neighbours)(const float *x, const float *w, float low, float largest, f32x16 d, f32x16 *a)
{
    const f32x16 zero = f32_set1(0), most = f32_set1(largest), a0 = *a;
    f32x16 best = f32_set1(INFINITY);
    for (int i = -2 * FIT_REACH; i <= 2 * FIT_REACH; i++) {
        const f32x16 ai = f32_min(f32_max(f32_add(a0, f32_set1((float)i)), zero), most);
        const f32x16 error = fit_error(x, w, 16, f32_mul(d, ai), zero, low, -low - 1);
        *a = f32_select_lt(error, best, ai, *a);
        best = f32_min(error, best);
    }
    return best;
}

/* The best scale for x ~ scale*q, q in low..-low-1, in each lane, whose largest |x| is a negative value. */
static f32x16 FN(signed_search)(const float *x, const float *w, float low, f32x16 extent)
{
    static const float inset[] = {-0.5f, 0.25f, 1.0f, 1.75f};
    const f32x16 zero = f32_set1(0);
    f32x16 best = f32_set1(INFINITY), scale = zero;
    for (size_t start = 0; start < sizeof inset / sizeof *inset; start++) {
        f32x16 s = f32_mul(extent, f32_set1(1 / (inset[start] - low)));
        for (int step = 0; step < FIT_STEPS; step++) {
            const fit_sums sums = fit_round(x, w, 16, s, zero, low, -low - 1);
            scale = f32_select_lt(sums.error, best, s, scale);
            best = f32_min(sums.error, best);
            s = f32_select_lt(zero, sums.wqq, f32_div(sums.wqx, sums.wqq), s);
        }
    }
    return scale;
}

/* The d with the least error over 16 lanes for the rounded values. */
static float FN(signed_refit)(fit_sums sums, f32x16 a)
{
    float aa[16], ax[16];
    double saa = 0, sax = 0;
    f32_store(aa, f32_mul(f32_mul(a, a), sums.wqq));
    f32_store(ax, f32_mul(a, sums.wqx));
    for (int i = 0; i < 16; i++) saa += aa[i], sax += ax[i];
    return FN(fit_f16)((float)(saa > 0 && sax > 0 ? sax / saa : 0));
}

void FN(fit_signed)(const float *x, const float *w, const float *mean, int lowest, int largest, sc_fit *out)
{
    const float low = (float)lowest, high = -low - 1, most = (float)largest;
    float turned[256], sign[16], a[16] = {0}, best = INFINITY;
    f32x16 signs;
    const f32x16 zero = f32_set1(0), extent = FN(fit_extent)(x, 16, &signs);
    f32_store(sign, signs);
    for (int i = 0; i < 16; i++) f32_store(turned + 16 * i, f32_mul(signs, f32_load(x + 16 * i)));
    const f32x16 scale = FN(signed_search)(turned, w, low, extent);
    float d = FN(fit_f16)(f32_max16(scale) / most);
    f32x16 at = f32_whole(f32_mul(scale, f32_inverse(f32_set1(d))), zero, f32_set1(most));
    for (int round = 0; round < FIT_ROUNDS; round++) {
        if (round) d = FN(signed_refit)(fit_round(turned, w, 16, f32_mul(f32_set1(d), at), zero, low, high), at);
        const float sum = f32_sum16(FN(signed_neighbours)(turned, w, low, most, f32_set1(d), &at));
        if (round && !(sum < best)) continue;
        best = sum;
        out->d[0] = d;
        f32_store(a, at);
    }
    for (int i = 0; i < 16; i++) out->scale[i] = (int8_t)(sign[i] * a[i]);
    FN(fit_store)(turned, mean, 16, f32_mul(f32_set1(out->d[0]), f32_load(a)), zero, low, high, out);
    f32_store(out->shift, f32_mul(signs, f32_load(out->shift)));
}

/* Fits groups that each have an f16 scale: that of the largest value, or Lloyd's improvement on it. */
void FN(fit_plain)(const float *x, const float *w, const float *mean, int lowest, int highest, sc_fit *out)
{
    const float low = (float)lowest, high = (float)highest;
    float turned[512];
    uint16_t half[16];
    f32x16 signs;
    const f32x16 zero = f32_set1(0), extent = FN(fit_extent)(x, 32, &signs);
    f32x16 best = f32_set1(INFINITY), scale = zero;
    if (low + high == 0) signs = f32_set1(1); /* no value is nearer to the end of the range if it is negative */
    for (int i = 0; i < 32; i++) f32_store(turned + 16 * i, f32_mul(signs, f32_load(x + 16 * i)));
    for (int start = 0; start < FIT_STARTS; start++) {
        f32x16 s = f32_mul(extent, f32_set1(1 / (fit_inset[start] / 2 - low)));
        for (int step = 0; step < FIT_STEPS; step++) {
            f32_store_f16(half, s);
            s = f32_load_f16(half);
            const fit_sums sums = fit_round(turned, w, 32, s, zero, low, high);
            scale = f32_select_lt(sums.error, best, s, scale);
            best = f32_min(sums.error, best);
            s = f32_select_lt(zero, sums.wqq, f32_div(sums.wqx, sums.wqq), s);
        }
    }
    f32_store(out->d, f32_mul(signs, scale));
    FN(fit_store)(turned, mean, 32, scale, zero, low, high, out);
    f32_store(out->shift, f32_mul(signs, f32_load(out->shift)));
}

#endif
