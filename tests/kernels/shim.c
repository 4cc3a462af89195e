/* Single kernels and packing for tests/support/kernel_library.py, which loads this with ctypes: a changed signature
 * stops the build here, not in Python. sc_isa_available must have confirmed `level`. */
#include <string.h>

#include "rows.h"
#include "kernels.h"
#include "linear_units.h"

int shim_pack(int source, const void *blocks, size_t rows, size_t columns, int format, void *panels)
{
    sc_team *team = sc_team_new(1);
    const int status = team ? sc_pack(team, source, blocks, rows, columns, format, panels) : -1;
    sc_team_free(team);
    return status;
}

size_t shim_pair_bytes(int format, size_t columns) { return sc_pair_bytes(format, columns); }
size_t shim_partial_bytes(size_t dim) { return sizeof(sc_partial) + SC_QUERIES * dim * sizeof(float); }

void shim_row(int format, size_t rows, size_t columns, const void *panels, size_t row, float *out)
{
    const sc_matrix matrix = {.format = format, .rows = (int32_t)rows, .columns = (int32_t)columns, .panels = panels};
    sc_row_unpack(&matrix, row, out);
}

/* The units of a linear layer into out (capacity, 4): first pair, last, first row, last; returns how many there are. */
size_t shim_shares(size_t pairs, size_t unit, size_t rows, size_t threads, size_t columns, size_t pair_bytes,
                   uint32_t *out, size_t capacity)
{
    const sc_sharing s =
        sc_share_out((uint32_t)pairs, (uint32_t)unit, (uint32_t)rows, (uint32_t)threads, columns, pair_bytes);
    const uint32_t shares = sc_shares(&s);
    for (uint32_t i = 0; i < shares && i < capacity; i++) {
        const sc_share share = sc_share_at(&s, i);
        memcpy(out + (size_t)4 * i, (const uint32_t[]){share.first, share.last, share.begin, share.end},
               4 * sizeof *out);
    }
    return shares;
}

size_t shim_max_units(void) { return SC_MAX_UNITS; }

void shim_linear(int level, int format, const void *pair, size_t columns, const void *x, size_t stride, size_t tokens,
                 float *out)
{
    sc_kernels_get(level)->linear[format](pair, columns, x, stride, tokens, pair, out);
}

void shim_quantize(int level, const float *x, size_t n, void *out, size_t stride)
{
    sc_kernels_get(level)->quantize(x, n, out, stride);
}

void shim_quantize_pairs(int level, const float *x, size_t stride, size_t groups, size_t tokens, void *out)
{
    sc_kernels_get(level)->quantize_pairs(x, stride, (int)groups, tokens, out);
}

void shim_layer_norm(int level, const float *x, const float *weight, const float *bias, float epsilon, size_t n,
                     size_t padded, float *out)
{
    sc_kernels_get(level)->layer_norm(x, weight, bias, epsilon, n, padded, out);
}

void shim_gelu(int level, float *x, const float *bias, size_t tokens) { sc_kernels_get(level)->gelu(x, bias, tokens); }

void shim_add_residual(int level, float *x, size_t stride, const float *out, const float *bias, size_t tokens)
{
    sc_kernels_get(level)->add_residual(x, stride, out, bias, tokens);
}

void shim_scale(int level, const float *x, size_t n, float factor, float *out)
{
    sc_kernels_get(level)->scale(x, n, factor, out);
}

void shim_widen(int level, const uint16_t *x, size_t n, float *out) { sc_kernels_get(level)->widen(x, n, NULL, out); }

void shim_f16_clamped(int level, const float *x, size_t n, uint16_t *out)
{
    sc_kernels_get(level)->f16_clamped(x, n, out);
}

void shim_attend(int level, const float *queries, size_t n, size_t dim, const uint16_t *keys, const uint16_t *values,
                 const int32_t *visible, void *out)
{
    sc_kernels_get(level)->attend[SC_F16](queries, n, dim, keys, values, visible, NULL, out);
}

void shim_attend_merge(int level, void *into, const void *next, size_t n, size_t dim)
{
    sc_partial *sum = into;
    sc_kernels_get(level)->attend_merge(&sum->state, sum->out, next, 0, n, dim);
}

void shim_softmax_weights(int level, const float *x, size_t n, float max, float inverse_temperature, float *out)
{
    sc_kernels_get(level)->softmax_weights(x, n, max, inverse_temperature, out);
}

void shim_logit_maxima(int level, const float *x, size_t n, size_t length, float *out, int32_t *finite)
{
    *finite = sc_kernels_get(level)->logit_maxima(x, n, length, out);
}

void shim_weight_masses(int level, const float *weights, size_t n, size_t length, float least, uint64_t *out)
{
    sc_kernels_get(level)->weight_masses(weights, n, length, least, out);
}
