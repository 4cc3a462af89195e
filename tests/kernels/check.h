/* What the checks of the kernels share. A check runs many cases of one kernel on one instruction set. Its buffers lie
 * against inaccessible pages, so that a read or write beyond the contract stops the program at the case. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

/* Every slot of sc_kernels has a line here, and a function check_NAME; primitives come first. The last has no slot: it
 * checks what is the same code at every level. */
#define CHECKS(X) \
    X(primitives) X(linear) X(quantize) X(quantize_pairs) X(layer_norm) X(gelu) X(add_residual) X(scale) \
    X(f16_clamped) X(widen) X(attend) X(attend_merge) X(logit_maxima) X(softmax_weights) X(weight_masses) \
    X(fit_affine) X(fit_signed) X(fit_plain) X(peak_read) X(peak_dot) X(attribution)

/* `kernels` is the table under test; sc_kernels_scalar is the reference. */
#define DECLARE(name) void check_##name(int level, const sc_kernels *kernels);
CHECKS(DECLARE)
#undef DECLARE

/* Linear layers on tile registers in plain C. */
extern const sc_kernels sc_kernels_tiles;

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Begins a case; the text names its parameters. */
void begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends a case: checks the bytes next to every buffer. */
void end(void);
/* Fails the case when the bytes differ. */
void expect_equal(const char *what, const void *got, const void *expected, size_t bytes);
/* Fails the case when `holds` is 0. */
void expect(int holds, const char *what);

/* A buffer of `bytes` bytes for the running case, filled with random bytes; it replaces one with the same index. Its
 * end lies at an inaccessible page, or its beginning does: each check runs both ways. */
enum { BUFFERS = 16 };
void *buffer(int index, size_t bytes);

/* Random numbers of the seeded generator. */
uint32_t random_bits(void);
int random_int(int low, int high);     /* low..high */
float random_float(void);              /* about normal: mean 0, deviation 1 */
float random_finite(void);             /* any exponent, either sign, zeros and subnormals */
float float_of(uint32_t bits);
uint32_t bits_of(float x);

/* Fills of vectors of activations. */
enum { FILL_RANDOM, FILL_ZERO, FILL_ALTERNATING, FILL_OUTLIER, FILL_LARGE, FILL_TINY, FILLS };
void fill_floats(int fill, float *x, size_t n);

#endif
