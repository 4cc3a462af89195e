/* The checks of the primitives in csrc/vec, as csrc/isa/isa_sse41.c uses them. */
#include "check.h"
#include "primitives.h"

#if defined __x86_64__
TARGET_BEGIN("sse4.1")
#define ISA sse41
#include "body/knobs.h"
#include "vec/sse41.h"
#include "check_primitives.h"

void primitives_sse41(void) { check_all(); }
TARGET_END
#endif
