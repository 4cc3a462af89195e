/* The checks of the primitives in csrc/vec, as csrc/isa/isa_avx2.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c")
#include "vec/avx2.h"
#include "vec/dot_avx2.h"
#include "check_primitives.h"

void primitives_avx2(void) { check_all(); }
TARGET_END
#endif
