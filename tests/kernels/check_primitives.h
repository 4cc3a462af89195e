/* The checks of the primitives, instantiated by primitives_*.c after the target pragma and csrc/vec: every primitive
 * against plain C on all-maximum, random and exceptional operands. vec/scalar.h states the contracts. */
#ifndef CHECK_PRIMITIVES_H
#define CHECK_PRIMITIVES_H

typedef struct { uint8_t v[64]; } bytes64;
typedef struct { float v[16]; } floats16;
typedef struct { int32_t v[16]; } ints16;

static floats16 floats_of(f32x16 x)
{
    floats16 r;
    f32_store(r.v, x);
    return r;
}
static ints16 ints_of(i32x16 x)
{
    ints16 r;
    f32_store((float *)(void *)r.v, f32_from_bits(x));
    return r;
}
static i32x16 ints(ints16 x) { return i32_from_bits(f32_load((const float *)(const void *)x.v)); }

/* Equal bits, or both NaN. */
static void expect_float(const char *what, float got, float expected)
{
    if (isnan(expected)) expect(isnan(got), what);
    else expect_equal(what, &got, &expected, sizeof got);
}
static void expect_floats(const char *what, f32x16 got, const float *expected)
{
    const floats16 x = floats_of(got);
    for (int i = 0; i < 16; i++) expect_float(what, x.v[i], expected[i]);
}

static void check_bytes(void)
{
    begin("bytes");
    uint8_t *from = buffer(0, 64), *to = buffer(1, 64), *other = buffer(2, 64), expected[64];
    u8_store(to, u8_load(from));
    expect_equal("u8_load, u8_store", to, from, 64);
    for (int i = 0; i < 64; i++) expected[i] = (uint8_t)(from[i] | other[i]);
    u8_store(to, u8_or(u8_load(from), u8_load(other)));
    expect_equal("u8_or", to, expected, 64);
    for (int i = 0; i < 64; i++) expected[i] = (uint8_t)(from[i] - 128);
    u8_store(to, u8_sub(u8_load(from), 128));
    expect_equal("u8_sub", to, expected, 64);
    uint8_t *table = buffer(3, 16), *nibbles = buffer(4, 64);
    for (int i = 0; i < 64; i++) {
        nibbles[i] &= 15;
        expected[i] = table[nibbles[i]];
    }
    u8_store(to, u8_lookup(table, u8_load(nibbles)));
    expect_equal("u8_lookup", to, expected, 64);
    const ints16 words = ints_of(i32_load((const int32_t *)(const void *)from));
    expect_equal("i32_load", words.v, from, 64);
#define SHIFTS(n) \
    for (int i = 0; i < 64; i++) expected[i] = (uint8_t)(from[i] << n); \
    u8_store(to, u8_and(u8_shl(u8_load(from), n), (uint8_t)(255 << n))); \
    expect_equal("u8_shl " #n, to, expected, 64); \
    for (int i = 0; i < 64; i++) expected[i] = (uint8_t)(from[i] >> n); \
    u8_store(to, u8_and(u8_shr(u8_load(from), n), 255 >> n)); \
    expect_equal("u8_shr " #n, to, expected, 64);
    SHIFTS(0) SHIFTS(1) SHIFTS(2) SHIFTS(3) SHIFTS(4) SHIFTS(5) SHIFTS(6) SHIFTS(7)
#undef SHIFTS
    end();
}

/* Four weights and four activations per lane; the activations are the same for all lanes. */
enum { OPERANDS_MAX, OPERANDS_MIN, OPERANDS_ALTERNATING, OPERANDS_RANDOM, OPERANDS };
static void fill_dot(int fill, int limit, uint8_t *weights, int8_t *activations)
{
    for (int i = 0; i < 64; i++)
        weights[i] = (uint8_t)(fill == OPERANDS_RANDOM ? random_int(0, limit) : random_bits() % 8 ? limit : 0);
    if (fill != OPERANDS_RANDOM) memset(weights, limit, 32); /* lanes 0-7: all at the limit */
    for (int i = 0; i < 4; i++) {
        const int codes[OPERANDS] = {127, -127, i % 2 ? -127 : 127, random_int(-127, 127)};
        activations[i] = (int8_t)codes[fill];
    }
}
static int64_t dot4(const uint8_t *weights, const int8_t *activations, int lane, int offset)
{
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) sum += (int64_t)(weights[4 * lane + i] - offset) * activations[i];
    return sum;
}

static void check_dot_add(int limit, int adds, int fill)
{
    int64_t expected[16] = {0};
    begin("dot_add, weights to %d, %d adds, operands %d", limit, adds, fill);
    const int32_t start = (int32_t)random_bits() >> 2;
    dotx16 acc = dot_start(i32_set1(start));
    for (int k = 0; k < adds; k++) {
        uint8_t *weights = buffer(0, 64);
        int8_t *activations = buffer(1, 4);
        fill_dot(fill, limit, weights, activations);
        acc = dot_add(acc, u8_load(weights), i8_broadcast4(activations));
        for (int lane = 0; lane < 16; lane++) expected[lane] += dot4(weights, activations, lane, 0);
    }
    const ints16 got = ints_of(dot_end(i32_set1(start), acc));
    for (int lane = 0; lane < 16; lane++) expect(got.v[lane] == start + expected[lane], "wrong sum");
    end();
}

static void check_dot_wide(int fill, int byte)
{
    ints16 start, got;
    begin("i32_dot4_wide, operands %d, bytes %d", fill, byte);
    uint8_t *weights = buffer(0, 64);
    int8_t *activations = buffer(1, 4);
    fill_dot(fill, 255, weights, activations);
    if (byte >= 0) memset(weights, byte, 64);
    for (int i = 0; i < 16; i++) start.v[i] = random_int(-1000000, 1000000);
    got = ints_of(i32_dot4_wide(ints(start), u8_load(weights), i8_broadcast4(activations)));
    for (int lane = 0; lane < 16; lane++)
        expect(got.v[lane] == start.v[lane] + dot4(weights, activations, lane, DOT_WIDE_OFFSET), "wrong sum");
    end();
}

static void check_dots(void)
{
    static const int limits[][2] = {{15, 8}, {31, 4}, {63, 2}};
    for (int fill = 0; fill < OPERANDS; fill++) {
        for (size_t i = 0; i < COUNT(limits); i++)
            for (int adds = 1; adds <= limits[i][1]; adds++) check_dot_add(limits[i][0], adds, fill);
        for (int byte = -1; byte < 256; byte++) check_dot_wide(fill, byte);
    }
}

/* Compares 16-bit integers, two to a lane. */
static void expect_halves(const char *what, i32x16 got, const int16_t *expected)
{
    const ints16 x = ints_of(got);
    expect_equal(what, &x, expected, sizeof x);
}

static void check_halves(int fill)
{
    int16_t x[32], y[32], expected[32];
    ints16 acc, dots, low, high;
    begin("16-bit integers, case %d", fill);
    for (int i = 0; i < 32; i++) {
        const int any[2] = {random_int(INT16_MIN, INT16_MAX), random_int(INT16_MIN, INT16_MAX)};
        x[i] = (int16_t)(fill % 3 ? any[0] : fill % 2 ? INT16_MIN : INT16_MAX);
        y[i] = (int16_t)(fill % 3 == 2 ? INT16_MAX : any[1]);
    }
    memcpy(&low, x, sizeof low);
    memcpy(&high, y, sizeof high);
    for (int i = 0; i < 16; i++) {
        acc.v[i] = (int32_t)random_bits();
        const int64_t dot = (int64_t)x[2 * i] * y[2 * i] + (int64_t)x[2 * i + 1] * y[2 * i + 1];
        dots.v[i] = (int32_t)dot;
    }
    ints16 got = ints_of(i16_dot(ints(low), ints(high)));
    expect_equal("i16_dot", &got, &dots, sizeof got);
    for (int i = 0; i < 16; i++) dots.v[i] = (int32_t)((uint32_t)dots.v[i] + (uint32_t)acc.v[i]);
    got = ints_of(i16_dot_add(ints(acc), ints(low), ints(high)));
    expect_equal("i16_dot_add", &got, &dots, sizeof got);
    for (int i = 0; i < 32; i++) expected[i] = (int16_t)(x[i] + y[i]);
    expect_halves("i16_add", i16_add(ints(low), ints(high)), expected);
    for (int i = 0; i < 32; i++) expected[i] = (int16_t)(x[i] * y[i]);
    expect_halves("i16_mul", i16_mul(ints(low), ints(high)), expected);
    for (int i = 0; i < 32; i++) expected[i] = i % 2 ? y[i - 1] : x[i];
    expect_halves("i16_pair", i16_pair(ints(low), ints(high)), expected);
    int16_t *two = buffer(0, 4);
    for (int i = 0; i < 32; i++) expected[i] = two[i % 2];
    expect_halves("i16_broadcast2", i16_broadcast2(two), expected);
    uint8_t *bytes = buffer(1, 64);
    for (int i = 0; i < 32; i++) expected[i] = bytes[2 * i];
    expect_halves("i16_even_u8", i16_even_u8(u8_load(bytes)), expected);
    for (int i = 0; i < 32; i++) expected[i] = bytes[2 * i + 1];
    expect_halves("i16_odd_u8", i16_odd_u8(u8_load(bytes)), expected);
    for (int i = 0; i < 32; i++) expected[i] = (int8_t)bytes[2 * i];
    expect_halves("i16_even_i8", i16_even_i8(u8_load(bytes)), expected);
    for (int i = 0; i < 32; i++) expected[i] = (int8_t)bytes[2 * i + 1];
    expect_halves("i16_odd_i8", i16_odd_i8(u8_load(bytes)), expected);
    end();
}

static void check_integers(void)
{
    ints16 x, y, sum, shifted, expected;
    floats16 f;
    int8_t *bytes = buffer(0, 16), expected_bytes[16];
    begin("integers");
    uint32_t total = 0;
    for (int i = 0; i < 16; i++) {
        x.v[i] = (int32_t)random_bits();
        y.v[i] = i % 4 ? (int32_t)random_bits() : INT32_MAX;
        sum.v[i] = (int32_t)((uint32_t)x.v[i] + (uint32_t)y.v[i]);
        shifted.v[i] = (int32_t)((uint32_t)x.v[i] << 23);
    }
    ints16 got = ints_of(i32_add(ints(x), ints(y)));
    expect_equal("i32_add", &got, &sum, sizeof got);
    got = ints_of(i32_shl(ints(x), 23));
    expect_equal("i32_shl", &got, &shifted, sizeof got);
    for (int i = 0; i < 16; i++) expected.v[i] = x.v[i] & y.v[i];
    got = ints_of(i32_and(ints(x), ints(y)));
    expect_equal("i32_and", &got, &expected, sizeof got);
    for (int i = 0; i < 16; i++) expected.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
    got = ints_of(i32_max(ints(x), ints(y)));
    expect_equal("i32_max", &got, &expected, sizeof got);
    for (int i = 0; i < 16; i++) expected.v[i] = x.v[i] < 0 ? -x.v[i] : x.v[i];
    got = ints_of(i32_abs(ints(x)));
    expect_equal("i32_abs", &got, &expected, sizeof got);
    int32_t largest = x.v[0];
    for (int i = 1; i < 16; i++) largest = x.v[i] > largest ? x.v[i] : largest;
    expect(i32_max16(ints(x)) == largest, "i32_max16");
    got = ints_of(i32_set1(x.v[0]));
    for (int i = 0; i < 16; i++) expect(got.v[i] == x.v[0], "i32_set1");
    for (int i = 0; i < 16; i++) y.v[i] = x.v[i] / 16;
    for (int i = 0; i < 16; i++) total += (uint32_t)y.v[i];
    expect(i32_sum16(ints(y)) == (int32_t)total, "i32_sum16");
    for (int i = 0; i < 16; i++) {
        y.v[i] = i < 2 ? (i ? 127 : -128) : random_int(-128, 127);
        expected_bytes[i] = (int8_t)y.v[i];
    }
    i32_store_i8(bytes, ints(y));
    expect_equal("i32_store_i8", bytes, expected_bytes, 16);
    for (int i = 0; i < 16; i++) { /* ties, halves next to ties, and large values */
        const float near = nextafterf((float)random_int(-127, 127) + 0.5f, i & 1 ? 1000 : -1000);
        f.v[i] = i < 8    ? (float)random_int(-127, 126) + 0.5f
                 : i < 12 ? near
                          : (float)random_int(-2147483000, 2147483000);
        expected.v[i] = (int32_t)llrint((double)f.v[i]);
    }
    got = ints_of(i32_from_f32(f32_load(f.v)));
    expect_equal("i32_from_f32", &got, &expected, sizeof got);
    for (int i = 0; i < 16; i++) f.v[i] = (float)x.v[i];
    expect_floats("f32_from_i32", f32_from_i32(ints(x)), f.v);
    end();
}

/* The value of an f16, from its definition. */
static float half_value(uint32_t bits)
{
    const int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31) return mantissa ? NAN : (float)(sign * (double)INFINITY);
    return (float)(sign * ldexp(mantissa + (exponent ? 1024 : 0), (exponent ? exponent : 1) - 25));
}
/* The f16 nearest to a finite x, from its definition. */
static uint16_t half_bits(float x)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double magnitude = fabs((double)x);
    const int exponent = magnitude < 0x1p-14 ? -14 : ilogb(magnitude);
    if (magnitude >= 65520) return sign | 0x7C00;
    const int units = (int)nearbyint(ldexp(magnitude, 10 - exponent)); /* a carry goes into the exponent */
    return (uint16_t)(sign | ((exponent + 14) * 1024 + units));
}

static void check_loads(void)
{
    for (uint32_t bits = 0; bits < 65536; bits += 16) {
        float half[16], brain[16];
        begin("16-bit floats from %04x", bits);
        uint16_t *from = buffer(0, 32);
        for (uint32_t i = 0; i < 16; i++) {
            from[i] = (uint16_t)(bits + i);
            half[i] = half_value(bits + i);
            brain[i] = float_of((bits + i) << 16);
        }
        expect_floats("f32_load_f16", f32_load_f16(from), half);
        expect_floats("f32_load_bf16", f32_load_bf16(from), brain);
        end();
    }
}

/* Every f16 boundary from below, on and above, and random floats. */
static void check_store_f16(void)
{
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        uint16_t expected[16];
        floats16 x;
        begin("f32_store_f16 from %04x", bits);
        const float low = half_value(bits), high = bits == 0x7BFF ? 65536.0f : half_value(bits + 1),
                    tie = (low + high) / 2;
        for (int i = 0; i < 16; i++) {
            const float values[8] = {
                low, tie, nextafterf(tie, 0), nextafterf(tie, INFINITY), random_finite(), random_float(), low, tie};
            x.v[i] = (i & 8 ? -1 : 1) * values[i & 7];
            expected[i] = half_bits(x.v[i]);
        }
        uint16_t *got = buffer(0, 32);
        f32_store_f16(got, f32_load(x.v));
        expect_equal("f32_store_f16", got, expected, sizeof expected);
        end();
    }
}

static void fill_operands(int fill, float *x)
{
    static const float special[] = {0.0f, -0.0f, 1, -1, INFINITY, -INFINITY, 0x1p-149f, -0x1p-126f, 3.4e38f, -3.4e38f};
    for (int i = 0; i < 16; i++)
        x[i] = fill % 3 == 0   ? random_float()
               : fill % 3 == 1 ? random_finite()
                               : special[random_bits() % COUNT(special)];
}

static void check_arithmetic(int fill)
{
    float r[10][16];
    begin("arithmetic, case %d", fill);
    float *x = buffer(0, 64), *y = buffer(1, 64), *z = buffer(2, 64), *out = buffer(3, 64);
    fill_operands(fill, x);
    fill_operands(fill, y);
    fill_operands(fill, z);
    if (fill % 5 == 0) memcpy(y, x, 64);
    for (int i = 0; i < 16; i++) {
        r[0][i] = x[i] + y[i];
        r[1][i] = x[i] - y[i];
        r[2][i] = x[i] * y[i];
        r[3][i] = x[i] / y[i];
        r[4][i] = fmaf(x[i], y[i], z[i]);
        r[5][i] = x[i] > y[i] ? x[i] : y[i];
        r[6][i] = x[i] < y[i] ? x[i] : y[i];
        r[7][i] = x[i] < y[i] ? z[i] : x[i];
        r[8][i] = x[0];
    }
    const f32x16 a = f32_load(x), b = f32_load(y), c = f32_load(z);
    expect_floats("f32_add", f32_add(a, b), r[0]);
    expect_floats("f32_sub", f32_sub(a, b), r[1]);
    expect_floats("f32_mul", f32_mul(a, b), r[2]);
    expect_floats("f32_div", f32_div(a, b), r[3]);
    expect_floats("f32_fma", f32_fma(a, b, c), r[4]);
    expect_floats("f32_max", f32_max(a, b), r[5]);
    expect_floats("f32_min", f32_min(a, b), r[6]);
    expect_floats("f32_select_lt", f32_select_lt(a, b, c, a), r[7]);
    expect_floats("f32_set1", f32_set1(x[0]), r[8]);
    f32_store(out, a);
    expect_equal("f32_load, f32_store", out, x, 64);
    end();
}

/* A product half way between two floats, odd * 2^scale with 25 bits, and an addend that is lost in a double sum.
 * Rounding twice, to double and to float, goes to the even neighbour, whatever the addend's sign. */
static void check_fma_ties(void)
{
    floats16 x, y, z, expected;
    begin("fma, ties");
    for (int i = 0; i < 16; i++) {
        const int a = random_int(2048, 2895) * 2 + 1, b = random_int(2048, 2895) * 2 + 1, sign = i & 2 ? -1 : 1;
        const int below = i & 1, left = random_int(-40, 40), right = random_int(-40, 40);
        x.v[i] = ldexpf((float)a, left);
        y.v[i] = ldexpf((float)(b * sign), right);
        const float addend = 1 + (float)(random_bits() >> 9) * 0x1p-23f;
        z.v[i] = ldexpf((float)(below ? -sign : sign) * addend, left + right - random_int(31, 44));
        expected.v[i] = ldexpf((float)((a * b + (below ? -1 : 1)) * sign), left + right);
    }
    expect_floats("f32_fma", f32_fma(f32_load(x.v), f32_load(y.v), f32_load(z.v)), expected.v);
    end();
}

/* A sum that nearly cancels, of which the product's low bits are left. */
static void check_fma_cancellation(void)
{
    floats16 x, y, z, expected;
    begin("fma, cancellation");
    for (int i = 0; i < 16; i++) {
        x.v[i] = random_finite();
        y.v[i] = (1 + (float)(random_bits() >> 9) * 0x1p-23f) * (i & 1 ? 1 : -1);
        const float product = x.v[i] * y.v[i];
        z.v[i] = i & 2 ? -product : -nextafterf(product, i & 4 ? INFINITY : -INFINITY);
        const double exact = (double)x.v[i] * (double)y.v[i] + (double)z.v[i]; /* of terms this close */
        expected.v[i] = (float)exact;
    }
    expect_floats("f32_fma", f32_fma(f32_load(x.v), f32_load(y.v), f32_load(z.v)), expected.v);
    end();
}

/* Operands whose result C libraries are known to round twice, and what one rounding gives. */
static void check_fma_known(void)
{
    static const float cases[][4] = {
        {0.9474001f, 4.639901e-7f, -0.24325085f, -0x1.f22d46p-3f},
        {-1.9369631e13f, 2.1513551e-7f, -1.7354427e-24f, -4167095.75f},
        {0x1p-149f, 0x1p-149f, 1, 1},
        {0x1.fffffep127f, 0x1.fffffep127f, -INFINITY, -INFINITY},
        {0x1.fffffep127f, 2, -0x1.fffffep127f, 0x1.fffffep127f},
        {0x1.8p-75f, 0x1p-75f, 0x1p-149f, 0x1p-148f},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const float *c = cases[i];
        begin("fma, %a * %a + %a", (double)c[0], (double)c[1], (double)c[2]);
        const floats16 got = floats_of(f32_fma(f32_set1(c[0]), f32_set1(c[1]), f32_set1(c[2])));
        expect_float("f32_fma", got.v[0], c[3]);
        expect_float("f32_fma", got.v[15], c[3]);
        end();
    }
}

static void check_reductions(int fill)
{
    float tree[16], max;
    begin("reductions, case %d", fill);
    float *x = buffer(0, 64);
    fill_operands(fill % 3 == 2 ? 0 : fill, x); /* infinities of both signs have no sum */
    for (int i = 0; fill % 3 == 1 && i < 16; i++) x[i] *= 0x1p-5f;
    memcpy(tree, x, sizeof tree);
    max = x[0];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) tree[i] += tree[i + half];
    for (int i = 1; i < 16; i++) max = x[i] > max ? x[i] : max;
    expect_float("f32_sum16", f32_sum16(f32_load(x)), tree[0]);
    const float got = f32_max16(f32_load(x));
    expect(got == max, "f32_max16"); /* the sign of a zero is unspecified */
    end();
}

static void check_not_a_number(void)
{
    begin("not a number");
    const f32x16 nan = f32_set1(NAN), one = f32_set1(1), two = f32_set1(2);
    const floats16 max = floats_of(f32_max(one, nan)), min = floats_of(f32_min(one, nan));
    const floats16 max2 = floats_of(f32_max(nan, one)), min2 = floats_of(f32_min(nan, one));
    const floats16 no = floats_of(f32_select_lt(nan, one, one, two)),
                   no2 = floats_of(f32_select_lt(one, nan, one, two));
    for (int i = 0; i < 16; i++) {
        expect(isnan(max.v[i]) && isnan(min.v[i]), "max and min give the second operand when it is not a number");
        expect(max2.v[i] == 1 && min2.v[i] == 1, "max and min give the second operand when the first is not a number");
        expect(no.v[i] == 2 && no2.v[i] == 2, "no number is less than not-a-number");
    }
    end();
}

static void check_all(void)
{
    for (int i = 0; i < 50; i++) check_bytes();
    for (int i = 0; i < 20; i++) check_dots();
    for (int i = 0; i < 500; i++) check_integers();
    for (int i = 0; i < 300; i++) check_halves(i);
    check_loads();
    check_store_f16();
    for (int i = 0; i < 3000; i++) check_arithmetic(i);
    for (int i = 0; i < 1000; i++) check_fma_ties();
    for (int i = 0; i < 1000; i++) check_fma_cancellation();
    check_fma_known();
    for (int i = 0; i < 1000; i++) check_reductions(i);
    check_not_a_number();
}

#endif
