/* Blocks of a GGUF file, as ggml defines them; Q4_K, Q5_K and Q6_K are llama.cpp's k-quants. d, dmin and m are f16. */
#ifndef SC_GGUF_BLOCKS_H
#define SC_GGUF_BLOCKS_H

#include <stdint.h>

typedef struct { uint16_t d, dmin; uint8_t scales[12], qs[128]; } block_q4k;
typedef struct { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } block_q5k;
typedef struct { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } block_q6k;
typedef struct { uint16_t d; int8_t qs[32]; } block_q8_0;
typedef struct { uint16_t d; uint8_t qs[16]; } block_q4_0;
typedef struct { uint16_t d, m; uint8_t qs[16]; } block_q4_1;
typedef struct { uint16_t d; uint8_t qh[4], qs[16]; } block_q5_0;
typedef struct { uint16_t d, m; uint8_t qh[4], qs[16]; } block_q5_1;
typedef struct { uint16_t d; uint8_t qs[16]; } block_iq4_nl;
typedef struct { uint8_t scales[16], qs[64]; uint16_t d, dmin; } block_q2k;
typedef struct { uint8_t hmask[32], qs[64], scales[12]; uint16_t d; } block_q3k;
typedef struct { uint16_t d, scales_h; uint8_t scales_l[4], qs[128]; } block_iq4_xs;
_Static_assert(sizeof(block_q4k) == 144 && sizeof(block_q5k) == 176 && sizeof(block_q6k) == 210 &&
               sizeof(block_q8_0) == 34 && sizeof(block_q4_0) == 18 && sizeof(block_q5_0) == 22 &&
               sizeof(block_q4_1) == 20 && sizeof(block_q5_1) == 24 && sizeof(block_iq4_nl) == 18 &&
               sizeof(block_q2k) == 84 && sizeof(block_q3k) == 110 && sizeof(block_iq4_xs) == 136, "blocks are packed");

#endif
