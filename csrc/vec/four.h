/* For vectors of four registers. */
#ifndef SC_VEC_FOUR_H
#define SC_VEC_FOUR_H

/* Repeats the statement for i = 0..3, a constant: with a loop over registers, gcc keeps the vectors in memory. */
#define EACH_(statement)                                                                                          \
    do {                                                                                                          \
        { enum { i = 0 }; statement; } { enum { i = 1 }; statement; } { enum { i = 2 }; statement; }              \
        { enum { i = 3 }; statement; }                                                                            \
    } while (0)
#define REGISTERS_(type, expression)     \
    type r;                          \
    EACH_(r.v[i] = (expression));    \
    return r

#endif
