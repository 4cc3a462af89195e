/* Checks every kernel on every instruction set of this CPU against the scalar instance, bit for bit, and the primitives
 * against plain C.
 *     check_kernels [--seed N] [--isa NAME] [--list]
 * Prints one line per check and instruction set, and the parameters of every case that fails. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { CANARY_BYTES = 256, SHOWN = 4 }; /* failures shown per check */
static const unsigned char canary = 0xA5;

static struct {
    uint32_t state[2];
    int at_start;       /* buffers begin, rather than end, at the inaccessible page */
    char isa[32], check[32], text[256];
    size_t cases, failures;
    int failed_now;
} run;

static struct {
    unsigned char *pages, *data;
    size_t capacity, bytes;
} buffers[BUFFERS];

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

uint32_t random_bits(void)
{
    uint64_t x = run.state[0] | (uint64_t)run.state[1] << 32; /* xorshift64* */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    run.state[0] = (uint32_t)x;
    run.state[1] = (uint32_t)(x >> 32);
    return (uint32_t)(x * 0x2545F4914F6CDD1DULL >> 32);
}

int random_int(int low, int high)
{
    return (int)(low + (int64_t)(random_bits() % ((uint32_t)high - (uint32_t)low + 1)));
}

float random_float(void)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) sum += (float)(random_bits() >> 8) * 0x1p-24f;
    return sum - 6;
}

float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

float random_finite(void)
{
    for (;;) {
        const uint32_t bits = random_bits();
        if (bits % 61 == 0) return bits & 1 ? 0.0f : -0.0f;
        if (isfinite(float_of(bits))) return float_of(bits);
    }
}

void fill_floats(int fill, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float sign = i % 2 ? -1 : 1;
        switch (fill) {
        case FILL_RANDOM: x[i] = random_float(); break;
        case FILL_ZERO: x[i] = 0 * sign; break;
        case FILL_ALTERNATING: x[i] = 127 * sign; break;
        case FILL_OUTLIER: x[i] = i % 61 == 7 ? 1000 * sign : random_float(); break;
        case FILL_LARGE: x[i] = random_float() * 1e30f; break;
        default: x[i] = random_float() * 1e-31f; break; /* some groups below, some above the least scale */
        }
    }
}

static void fail(const char *what)
{
    if (run.failures++ < SHOWN) printf("    %s %s: %s: %s\n", run.check, run.isa, run.text, what);
    run.failed_now = 1;
}

void begin(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run.text, sizeof run.text, format, arguments);
    va_end(arguments);
    run.cases++;
    run.failed_now = 0;
}

void expect(int holds, const char *what)
{
    if (!holds && !run.failed_now) fail(what);
}

void expect_equal(const char *what, const void *got, const void *expected, size_t bytes)
{
    const unsigned char *a = got, *b = expected;
    size_t i = 0;
    char text[128];
    if (run.failed_now || memcmp(got, expected, bytes) == 0) return;
    while (a[i] == b[i]) i++;
    i -= i % 4;
    uint32_t word_a = 0, word_b = 0;
    memcpy(&word_a, a + i, bytes - i < 4 ? bytes - i : 4);
    memcpy(&word_b, b + i, bytes - i < 4 ? bytes - i : 4);
    snprintf(text, sizeof text, "%s: word %zu is %08" PRIx32 " (%g), not %08" PRIx32 " (%g)", what, i / 4, word_a,
             (double)float_of(word_a), word_b, (double)float_of(word_b));
    fail(text);
}

/* The bytes on the side of the buffer that has no inaccessible page. */
static unsigned char *canaries(int index, size_t *bytes)
{
    const size_t page = page_bytes();
    unsigned char *first = run.at_start ? buffers[index].data + buffers[index].bytes : buffers[index].pages + page;
    unsigned char *last = run.at_start ? buffers[index].pages + page + buffers[index].capacity : buffers[index].data;
    *bytes = (size_t)(last - first) < CANARY_BYTES ? (size_t)(last - first) : CANARY_BYTES;
    return run.at_start ? first : last - *bytes;
}

void *buffer(int index, size_t bytes)
{
    const size_t page = page_bytes(), wanted = (bytes + page - 1) / page * page;
    size_t n;
    if (buffers[index].capacity < wanted) {
        if (buffers[index].pages) munmap(buffers[index].pages, buffers[index].capacity + 2 * page);
        void *pages = mmap(NULL, wanted + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED || mprotect(pages, page, PROT_NONE) ||
            mprotect((char *)pages + page + wanted, page, PROT_NONE)) {
            perror("check_kernels: mmap");
            exit(2);
        }
        buffers[index].pages = pages;
        buffers[index].capacity = wanted;
    }
    buffers[index].bytes = bytes;
    buffers[index].data = buffers[index].pages + page + (run.at_start ? 0 : buffers[index].capacity - bytes);
    for (size_t i = 0; i < bytes; i += 4) {
        const uint32_t x = random_bits();
        memcpy(buffers[index].data + i, &x, bytes - i < 4 ? bytes - i : 4);
    }
    unsigned char *marks = canaries(index, &n);
    memset(marks, canary, n);
    return buffers[index].data;
}

void end(void)
{
    for (int i = 0; i < BUFFERS; i++) {
        size_t n = 0;
        const unsigned char *marks = buffers[i].data ? canaries(i, &n) : NULL;
        for (size_t k = 0; k < n; k++)
            if (marks[k] != canary) {
                expect(0, "a byte beside a buffer was written");
                break;
            }
    }
}

static void on_fault(int signal_number)
{
    char text[512]; /* not async-signal-safe, but the program ends here */
    const int n = snprintf(text, sizeof text, "    %s %s: %s: signal %d: memory beside a buffer was touched\n",
                           run.check, run.isa, run.text, signal_number);
    fflush(stdout);
    if (write(STDOUT_FILENO, text, (size_t)n) < 0) _exit(3);
    _exit(1);
}

typedef struct {
    const char *name;
    void (*run)(int level, const sc_kernels *kernels);
} check;

static const check checks[] = {
#define ENTRY(name) {#name, check_##name},
    CHECKS(ENTRY)
#undef ENTRY
};

_Static_assert(
    sizeof(sc_kernels) == sizeof(sc_kernels *) + 8 + (COUNT(checks) - 4 + SC_FORMATS + 2) * sizeof(void (*)(void)),
    "every slot of sc_kernels has a check: all but `primitives`, `attribution`, and the arrays `linear` and `attend`, "
    "are one slot");

/* Runs a check both ways: buffers that end at the inaccessible page, then buffers that begin there. */
static int run_check(const check *c, int level, const sc_kernels *kernels)
{
    snprintf(run.check, sizeof run.check, "%s", c->name);
    snprintf(run.isa, sizeof run.isa, "%s", kernels->name);
    run.cases = run.failures = 0;
    const clock_t start = clock();
    for (run.at_start = 0; run.at_start < 2; run.at_start++) {
        for (int i = 0; i < BUFFERS; i++) buffers[i].data = NULL;
        c->run(level, kernels);
    }
    printf("%-16s %-13s %8zu cases %6.2f s  %s\n", c->name, kernels->name, run.cases,
           (double)(clock() - start) / CLOCKS_PER_SEC, run.failures ? "FAILED" : "ok");
    fflush(stdout);
    return run.failures == 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: check_kernels [--seed N] [--isa NAME] [--list]\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint32_t seed = (uint32_t)time(NULL);
    const char *isa = NULL;
    int passed = 0, failed = 0, known = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list")) {
            for (size_t k = 0; k < COUNT(checks); k++) printf("%s\n", checks[k].name);
            return 0;
        }
        if (i + 1 == argc) return usage();
        if (!strcmp(argv[i], "--seed")) seed = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--isa")) isa = argv[++i];
        else return usage();
    }
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    printf("seed %" PRIu32 "\n", seed);
    for (int level = 0; level < SC_ISA_LEVELS; level++) {
        if (!sc_isa_available(level)) continue;
        const sc_kernels *kernels = sc_kernels_get(level);
        if (isa && strcmp(isa, kernels->name)) continue;
        known = 1;
        for (size_t k = 0; k < COUNT(checks); k++) {
            run.state[0] = seed; /* a case is the same whichever instruction sets run */
            run.state[1] = 0x9E3779B9u + (uint32_t)k;
            if (run_check(&checks[k], level, kernels)) passed++;
            else failed++;
        }
    }
    if (!known) {
        fprintf(stderr, "check_kernels: this CPU has no instruction set '%s'\n", isa);
        return 2;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
