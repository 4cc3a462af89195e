/* Rows of packed matrices. */
#ifndef SC_ROWS_H
#define SC_ROWS_H

#include "santacoder.h"

/* out (columns) = row `row` of the matrix, each weight as its format defines it, in single precision. */
void sc_row_unpack(const sc_matrix *matrix, size_t row, float *out);

#endif
