/* The kernels that measure the machine: their sums prove that all the work was done. */
#include "check.h"

void check_peak_read(int level, const sc_kernels *kernels)
{
    (void)level;
    for (size_t bytes = 0; bytes <= 64 * 256; bytes += 256) {
        begin("bytes %zu", bytes);
        const void *memory = buffer(0, bytes);
        expect(kernels->peak_read(memory, bytes) == sc_kernels_scalar.peak_read(memory, bytes), "another sum");
        end();
    }
}

void check_peak_dot(int level, const sc_kernels *kernels)
{
    (void)level;
    for (int i = 0; i < 8; i++) {
        begin("weights and activations %d", i);
        uint8_t *weights = buffer(0, SC_PEAK_QUADS * 64);
        int8_t *activations = buffer(1, SC_PEAK_SUMS * 4);
        uint32_t expected = 0;
        for (int k = 0; k < 4; k++)
            for (int t = 0; t < SC_PEAK_SUMS; t++)
                activations[4 * t + k] = (int8_t)(t ? activations[k] : i < 2 ? 127 - 254 * i : random_int(-127, 127));
        for (int k = 0; k < SC_PEAK_QUADS * 64; k++) {
            weights[k] = (uint8_t)(i < 2 ? 15 : random_int(0, 15));
            expected += (uint32_t)(weights[k] * activations[k % 4]);
        }
        expected *= SC_PEAK_MACS / (SC_PEAK_QUADS * 64);
        expect(kernels->peak_dot(weights, activations) == expected, "another sum");
        end();
    }
}
