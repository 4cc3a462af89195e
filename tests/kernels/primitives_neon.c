/* The checks of the primitives in csrc/vec, as csrc/isa/isa_neon.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __aarch64__
TARGET_BEGIN("+simd")
#include "vec/neon.h"
#include "vec/dot_neon.h"
#include "check_primitives.h"

void primitives_neon(void) { check_all(); }
TARGET_END
#endif
