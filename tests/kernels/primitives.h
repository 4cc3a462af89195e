/* One instance of check_primitives.h per instruction set. */
#ifndef PRIMITIVES_H
#define PRIMITIVES_H

void primitives_scalar(void);
void primitives_sse41(void);
void primitives_avx2(void);
void primitives_avxvnni(void);
void primitives_avx512(void);
void primitives_amx(void);
void primitives_neon(void);
void primitives_neon_dotprod(void);

#endif
