/* The kernels in plain C, for any machine and as the reference for the other instances. */
#define UNROLL(n) /* loops over arrays: unrolled, they take the compiler a minute and run no faster */
#include "isa.h"

#define TILE_TOKENS 1 /* less code: only a CPU without SSE4.1, which NumPy asks for, would run it for its speed */
#define FLOAT_TOKENS 1
#include "../vec/scalar.h"
#include "../body/table.h"
