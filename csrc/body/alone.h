/* What a body needs that is opened alone, in an editor: the primitives and knobs of plain C. */
#include "../isa/isa.h"
#include "../vec/scalar.h"
#include "knobs.h"
