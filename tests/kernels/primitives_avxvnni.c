/* The checks of the primitives in csrc/vec, as csrc/isa/isa_avxvnni.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("avx2,fma,f16c,avxvnni")
#include "vec/avx2.h"
#include "vec/dot_avxvnni.h"
#include "check_primitives.h"

void primitives_avxvnni(void) { check_all(); }
TARGET_END
#endif
