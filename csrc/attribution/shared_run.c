/* Runs of lexemes that two texts share. */
#include "attribution.h"

size_t sc_shared_run(const uint64_t *a, size_t n, const uint64_t *b, size_t m, size_t i, size_t j, size_t *before)
{
    size_t left = 0, right = 0;
    while (i + right < n && j + right < m && a[i + right] == b[j + right]) right++;
    if (right)
        while (left < i && left < j && a[i - left - 1] == b[j - left - 1]) left++;
    *before = left;
    return left + right;
}
