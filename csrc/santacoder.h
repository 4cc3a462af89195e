/* The C side of santacoder: everything Python calls. Python has parsed and checked the model file; every number that a
 * function here sees comes from a checked description. Nothing here prints, exits or raises. */
#ifndef SANTACODER_H
#define SANTACODER_H

#include <stddef.h>
#include <stdint.h>

/* cffi reads the declarations from here on. */

enum { SC_OK, SC_NOT_FINITE, SC_TOO_LARGE };

/* Positions per block of the KV cache. */
enum { SC_KV_BLOCK = 64 };

/* Formats of packed matrices. */
enum {
    SC_F32,
    SC_F16,
    SC_BF16,
    SC_Q4_K,
    SC_Q5_K,
    SC_Q6_K,
    SC_Q8_0,
    SC_Q4_0,
    SC_Q4_1,
    SC_Q5_0,
    SC_Q5_1,
    SC_IQ4_NL,
    SC_Q2_K,
    SC_Q3_K,
    SC_IQ4_XS,
    SC_FORMATS
};

/* Instruction sets, in rising order of preference within a family. */
enum {
    SC_ISA_SCALAR,
    SC_ISA_SSE41,
    SC_ISA_AVX2,
    SC_ISA_AVXVNNI,
    SC_ISA_AVX512,
    SC_ISA_AMX,
    SC_ISA_NEON,
    SC_ISA_NEON_DOTPROD,
    SC_ISA_LEVELS
};

/* The best level this CPU and operating system can run. */
int sc_isa_best(void);
/* Whether this CPU can run `level`. An `isa` below must be such a level. */
int sc_isa_available(int level);

/* Zeroed memory in huge pages where the system gives them; NULL when there is none. */
void *sc_allocate(size_t bytes);
/* Releases memory of sc_allocate(bytes). NULL is allowed. */
void sc_release(void *memory, size_t bytes);

/* A team of threads. They start with the first work, sleep when idle, and start anew in a forked child. If the system
 * refuses a thread, the others do its share: results never depend on the number. NULL when there is no memory. */
typedef struct sc_team sc_team;
sc_team *sc_team_new(int32_t threads);
void sc_team_free(sc_team *team);
/* Threads asked for: no work ever runs on more. */
int32_t sc_team_wanted(const sc_team *team);
/* What all threads have done so far: phases of work, waits for a phase to end, CPUs yielded to others, waits spent
 * asleep. */
typedef struct {
    uint64_t phases, waits, yields, sleeps;
} sc_team_counts;
sc_team_counts sc_team_counted(const sc_team *team);

/* Number of the panels' layout, to be raised whenever sc_pack writes other bytes for the same weights: files of packed
 * weights outlive a version of this library. Panels are the same for every instruction set. */
enum { SC_LAYOUT = 3 };
/* Maps the first `bytes` of an open file, a multiple of 64 KiB, read-only and shared with all processes that map it, in
 * huge pages where the file's have that size, and reads what is not in memory. NULL when the system cannot. */
void *sc_file_map(int descriptor, size_t bytes);
void sc_file_unmap(void *mapping, size_t bytes);
/* Asks the system to make huge pages of a mapping's pages, for all processes, if it can; copies the bytes in memory. */
void sc_file_gather(void *mapping, size_t bytes);

/* A packed matrix; `panels` holds sc_matrix_bytes(format, rows, columns). */
typedef struct {
    int32_t format, rows, columns;
    const void *panels;
} sc_matrix;
size_t sc_matrix_bytes(int format, size_t rows, size_t columns);

/* Packs (rows, columns) in GGUF block layout. `source` is `format` itself, or SC_F32 for SC_Q8_0, which
 * quantizes. Returns SC_NOT_FINITE when a value or a block scale is infinite or NaN. */
int sc_pack(sc_team *team, int source, const void *blocks, size_t rows, size_t columns, int format, void *panels);

/* Values of a tensor per unit of work. */
enum { SC_QUANTIZE_UNIT = 8192 };
/* A tensor (rows, columns) to round to GGUF blocks; columns is a multiple of 256 for K-quants, of 32 for SC_Q8_0. */
typedef struct {
    int32_t source, target; /* from SC_F32, SC_F16 or SC_BF16, to any format */
    int32_t rows, columns;
    const void *values;
    const float *importance; /* (columns) or NULL: weight of a column's squared errors, 0..2^40 */
    const float *mean;       /* (columns) or NULL: the mean input of a column, for shifts */
    void *blocks;
    double *sums;  /* (units, 2): squared error, and sum of squares, of each SC_QUANTIZE_UNIT values or the rest */
    float *shifts; /* NULL, or (rows*columns / G), G = 16 for SC_Q6_K and 32 otherwise: of each G values, the sum of
                    * mean * (value - rounded value). Not for float targets. */
} sc_quantization;
/* Rounds so that the squared error is small; the blocks are the same on every instruction set. Returns SC_NOT_FINITE
 * when a value is infinite or NaN, SC_TOO_LARGE when one is beyond the target's range: that of f16, except for SC_F32
 * and SC_BF16. */
int sc_quantize(sc_team *team, int isa, const sc_quantization *quantization);

/* The shape of the network; n_head * head_dim = n_embd, and n_head_kv divides n_head. */
typedef struct {
    int32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff;
    int32_t cache; /* the format of keys and values, SC_F16 or SC_F32 */
    float epsilon;
} sc_shape;

/* Working memory for steps of up to `rows` tokens on one team with one instruction set. `float_hidden`: the output of
 * some UP is not quantized. */
typedef struct sc_engine sc_engine;
sc_engine *sc_engine_new(const sc_shape *shape, int isa, int32_t rows, int float_hidden, sc_team *team);
void sc_engine_free(sc_engine *engine);
/* Most rows worth running in one step: longer prompts go in chunks. */
int32_t sc_engine_chunk(int isa);
/* Bytes of one block of the KV cache, 64 positions of every layer. Blocks must be zeroed before use. */
size_t sc_kv_block_bytes(const sc_shape *shape);

/* One operation of the forward pass. Buffers: x the residual stream, h the output of a norm, a the output of attention,
 * u the MLP's hidden layer. */
enum {
    SC_OP_EMBED,     /* x = matrix[token] + positions[position] */
    SC_OP_NORM,      /* h = layer_norm(x, weight, bias) */
    SC_OP_NORM_LAST, /* the same for the rows whose logits are wanted */
    SC_OP_QKV,       /* q, cache = h @ matrix + bias */
    SC_OP_ATTEND,    /* a = attention(q, cache) */
    SC_OP_ADD_ATTN,  /* x += a @ matrix + bias */
    SC_OP_UP,        /* u = gelu(h @ matrix + bias) */
    SC_OP_ADD_FFN,   /* x += u @ matrix + bias */
    SC_OP_LOGITS     /* logits = h @ matrix */
};
typedef struct {
    int32_t kind, layer;
    int32_t quantize; /* NORM, ATTEND, UP: the result feeds a quantized matrix and becomes int8 */
    const sc_matrix *matrix, *positions;
    const float *weight, *bias; /* padded with zeros to a multiple of 32 */
    double *moments; /* NULL, or (2, columns) of a float matrix: sums of its inputs and of their squares over all
                      * rows */
} sc_op;

/* Consecutive rows of a step that belong to one sequence, and its cache: a table of KV blocks (paged as in vLLM: Kwon
 * et al., 2023) that covers position + rows positions. */
typedef struct {
    int32_t first_row, rows, position;
    void *const *kv_blocks;
} sc_segment;

typedef struct {
    int32_t rows, segments, outputs;
    const int32_t *tokens; /* (rows) */
    const sc_segment *segment;
    const int32_t *output_rows; /* (outputs): rows whose logits are wanted, in rising order */
    float *logits;              /* (outputs, rows of the lm_head) */
} sc_batch;

/* Runs ops for a batch of at most the engine's rows. One caller at a time per engine and team. */
void sc_run(sc_engine *engine, const sc_op *ops, int32_t n_ops, const sc_batch *batch);

/* Draws `count` tokens of n, each for itself. Overwrites `logits`. temperature > 0; top_k 0, top_p 1 and min_p 0 are
 * off. Order: temperature, top-k, top-p, min-p, then the draws, each with 64 uniform bits of `random`. Returns 0 when a
 * logit is NaN or +infinity, or all are -infinity, and else 1. `workspace` holds sc_sample_bytes(), aligned to 8. */
int sc_sample(int isa, float *logits, int32_t n, float temperature, int32_t top_k, float top_p, float min_p,
              const uint64_t *random, int32_t count, int32_t *tokens, void *workspace);
size_t sc_sample_bytes(void);
/* The first index of the largest logit, or -1 where sc_sample returns 0. */
int32_t sc_argmax(int isa, const float *logits, int32_t n);
/* Makes all logits -infinity but those of tokens whose rank is in first..last-1. */
void sc_restrict(float *logits, const int32_t *ranks, int32_t n, int32_t first, int32_t last);

/* What tokens followed in earlier texts, of at most `most` tokens together, 2..2^28: the newest stay. One caller at a
 * time. NULL when there is no memory: for the functions below an empty store that stays empty. */
typedef struct sc_guesses sc_guesses;
sc_guesses *sc_guesses_new(int32_t most);
void sc_guesses_free(sc_guesses *guesses);
/* Most tokens that are compared to find a place. */
enum { SC_GUESS_RUN = 16 };
/* Tokens that are held, gaps included, and bytes of memory. */
int32_t sc_guesses_length(const sc_guesses *guesses);
int64_t sc_guesses_bytes(const sc_guesses *guesses);
/* Adds tokens at the end; a negative one is a gap, between two texts. Returns 0 when there is no memory for all. */
int sc_guesses_add(sc_guesses *guesses, const int32_t *tokens, int32_t count);
/* Returns the latest place behind the longest run, of up to SC_GUESS_RUN tokens, that `tokens` end with and that a
 * token follows; 0 when there is none. Sets the length of the run. */
int32_t sc_guesses_find(const sc_guesses *guesses, const int32_t *tokens, int32_t count, int32_t *matched);
/* Copies at most `count` tokens from a place that sc_guesses_find returned, up to a gap. Returns how many. */
int32_t sc_guesses_copy(const sc_guesses *guesses, int32_t place, int32_t *tokens, int32_t count);

/* Sets this thread's floating-point environment to its default (round to nearest, subnormals kept) and returns the
 * former state, for sc_fpenv_restore: another library may have set flush-to-zero or a rounding mode, which must not
 * affect results. */
unsigned long long sc_fpenv_default(void);
void sc_fpenv_restore(unsigned long long state);

/* The machine's peaks, for `santacoder bench`, which takes the time. Both functions share their work out over the
 * team. */

/* Reads memory once, bytes rounded down to a multiple of 256; `memory` is aligned to 64 bytes. Returns the sum of all
 * 32-bit words modulo 2^32. */
uint32_t sc_peak_read(sc_team *team, int isa, const void *memory, size_t bytes);

/* Multiply-adds in one round of sc_peak_dot. */
enum { SC_PEAK_MACS = 1228800 };
/* Makes int8 dot products in registers, at the instruction set's own pace: on plain AVX2, which adds in int16, with the
 * widening that 4-bit weights need. Returns the sum of all products modulo 2^32. */
uint32_t sc_peak_dot(sc_team *team, int isa, int64_t rounds);

/* cffi stops here. */

#endif
