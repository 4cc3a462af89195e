/* The kernels on plain C, for any machine and as the other instances' yardstick. */
#define UNROLL(n) /* loops over arrays: unrolled, they take the compiler a minute and run no faster */
#include "isa.h"

#include "../vec/scalar.h"
#include "../body/table.h"
