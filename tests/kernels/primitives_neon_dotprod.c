/* The checks of the primitives in csrc/vec, as csrc/isa/isa_neon_dotprod.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __aarch64__
TARGET_BEGIN("arch=armv8.2-a+dotprod")
#include "vec/neon.h"
#include "vec/dot_neon_dotprod.h"
#include "check_primitives.h"

void primitives_neon_dotprod(void) { check_all(); }
TARGET_END
#endif
