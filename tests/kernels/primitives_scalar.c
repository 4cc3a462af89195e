/* The checks of the primitives in csrc/vec, as csrc/isa/isa_scalar.c uses them. */
#include "check.h"
#include "primitives.h"

#include "vec/scalar.h"
#include "check_primitives.h"

void primitives_scalar(void) { check_all(); }
