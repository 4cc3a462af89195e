/* The kernels in plain C, for any machine and as the reference for the other instances. */
#define UNROLL(n) /* loops over arrays: unrolled, they take the compiler a minute and run no faster */
#include "isa.h"

#include "../vec/scalar.h"
#include "../body/table.h"
