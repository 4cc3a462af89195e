/* The checks of the primitives in csrc/vec, as csrc/isa/isa_avx512.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")
#include "vec/avx512.h"
#include "check_primitives.h"

void primitives_avx512(void) { check_all(); }
TARGET_END
#endif
