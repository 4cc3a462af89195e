/* What a body needs when it is opened by itself in an editor: the primitives and knobs of plain C. */
#include "../isa/isa.h"
#include "../vec/scalar.h"
#include "knobs.h"
