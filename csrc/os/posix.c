/* platform.h for Linux and macOS. */
#if !defined _WIN32
#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined __linux__
#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#elif defined __APPLE__
#include <sys/sysctl.h>
#endif

#if defined __linux__
void sc_sleepers_reset(sc_sleepers *s) { (void)s; }

void sc_sleepers_wait(sc_sleepers *s, _Atomic uint32_t *word, uint32_t seen)
{
    (void)s;
    if (atomic_load(word) == seen) syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void sc_sleepers_wake(sc_sleepers *s, _Atomic uint32_t *word)
{
    (void)s;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); /* no mutex, which a stalled thread may
                                                                           * hold */
}
#else
/* A thread of the parent may have held the mutex during the fork. POSIX does not define initializing such a mutex
 * again; macOS overwrites it. */
void sc_sleepers_reset(sc_sleepers *s)
{
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
}

void sc_sleepers_wait(sc_sleepers *s, _Atomic uint32_t *word, uint32_t seen)
{
    pthread_mutex_lock(&s->mutex);
    while (atomic_load(word) == seen) pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

void sc_sleepers_wake(sc_sleepers *s, _Atomic uint32_t *word)
{
    (void)word;
    pthread_mutex_lock(&s->mutex);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
}
#endif

/* A kernel's frame has up to 50 KB, several times that in a build with sanitizers; musl's threads have 128 KB. */
enum { STACK_BYTES = 1 << 20 };

int sc_thread_start(sc_thread *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    size_t stack;
    if (pthread_attr_init(&attributes)) return 0;
    if (!pthread_attr_getstacksize(&attributes, &stack) && stack < STACK_BYTES)
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}

void sc_thread_join(sc_thread thread) { pthread_join(thread, NULL); }

void sc_thread_yield(void) { sched_yield(); }

static atomic_uint forks;
static pthread_once_t watching = PTHREAD_ONCE_INIT;
static int watched;

static void count_fork(void) { atomic_fetch_add(&forks, 1); }
static void start_watching(void) { watched = !pthread_atfork(NULL, NULL, count_fork); }

int sc_forks_watch(void)
{
    pthread_once(&watching, start_watching);
    return watched;
}

unsigned sc_forks(void) { return atomic_load(&forks); }

#if defined __linux__
/* 8192, the most CPUs that a kernel can be built for: cpu_set_t ends at 1024, and Linux refuses a set that is too
 * small. */
typedef struct {
    cpu_set_t part[8192 / CPU_SETSIZE];
} cpus;

static int get_affinity(cpus *set) { return !sched_getaffinity(0, sizeof *set, set->part); }
static int set_affinity(const cpus *set) { return !sched_setaffinity(0, sizeof *set, set->part); }

int sc_cpu_current(void) { return sched_getcpu(); }

int sc_cpus_allowed(void)
{
    cpus set;
    return get_affinity(&set) ? CPU_COUNT_S(sizeof set, set.part) : 0;
}

/* Leaves the others' CPUs out of the thread's affinity for a moment. Linux has no compare-and-set for an affinity. A
 * change that another process makes meanwhile (taskset) survives if it comes before the second look, and is lost if it
 * comes within the system calls beside it. */
int sc_cpu_leave(const _Atomic int32_t *others, int n, int self)
{
    cpus allowed, apart, now;
    if (!get_affinity(&allowed)) return 0;
    apart = allowed;
    for (int i = 0; i < n; i++) {
        const int cpu = atomic_load_explicit(&others[i], memory_order_relaxed);
        if (i != self && cpu >= 0) CPU_CLR_S((size_t)cpu, sizeof apart, apart.part);
    }
    if (!CPU_COUNT_S(sizeof apart, apart.part) || !set_affinity(&apart)) return 0;
    if (!get_affinity(&now) || !memcmp(&now, &apart, sizeof now)) set_affinity(&allowed);
    return 1;
}
#else
int sc_cpu_current(void) { return -1; }
int sc_cpus_allowed(void) { return 0; }

int sc_cpu_leave(const _Atomic int32_t *others, int n, int self)
{
    (void)others;
    (void)n;
    (void)self;
    return 0;
}
#endif

void *sc_pages_map(size_t bytes, size_t alignment)
{
    char *base = mmap(NULL, bytes + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const size_t head = (alignment - (uintptr_t)base % alignment) % alignment;
    if (head) munmap(base, head);
    munmap(base + head + bytes, alignment - head);
#if defined MADV_HUGEPAGE
    madvise(base + head, bytes, MADV_HUGEPAGE);
#endif
    return base + head;
}

void sc_pages_unmap(void *pages, size_t bytes) { munmap(pages, bytes); }

/* Advice of Linux 5.14 and 6.1, which older headers lack and older kernels refuse. */
enum { POPULATE_READ = 22, COLLAPSE = 25 };

/* Advice is refused where there are no huge pages, or none of files; the mapping works all the same. But a page that
 * cannot be read (EFAULT), of a file that is truncated, say, would end the process when it is touched. */
void *sc_shared_map(int descriptor, size_t bytes, size_t alignment)
{
    char *base = mmap(NULL, bytes + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const size_t head = (alignment - (uintptr_t)base % alignment) % alignment;
    if (mmap(base + head, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED) {
        munmap(base, bytes + alignment);
        return NULL;
    }
    if (head) munmap(base, head);
    munmap(base + head + bytes, alignment - head);
#if defined __linux__
    madvise(base + head, bytes, MADV_HUGEPAGE);
    if (madvise(base + head, bytes, POPULATE_READ) && errno == EFAULT) {
        munmap(base + head, bytes);
        return NULL;
    }
#endif
    return base + head;
}

void sc_shared_unmap(void *pages, size_t bytes) { munmap(pages, bytes); }

void sc_shared_gather(void *pages, size_t bytes)
{
#if defined __linux__
    madvise(pages, bytes, COLLAPSE);
#else
    (void)pages;
    (void)bytes;
#endif
}

void *sc_lines_new(size_t bytes)
{
    const size_t whole = (bytes + 63) / 64 * 64;
    void *lines = aligned_alloc(64, whole);
    return lines ? memset(lines, 0, whole) : NULL;
}

void sc_lines_free(void *lines) { free(lines); }

uint64_t sc_nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Linux refuses where a signal stack is too small to hold them. */
int sc_grant_tiles(void)
{
#if defined __linux__ && defined __x86_64__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA);
#else
    return 0;
#endif
}

int sc_has_dotprod(void)
{
#if defined __linux__ && defined __aarch64__
    return (int)(getauxval(AT_HWCAP) >> 20 & 1); /* HWCAP_ASIMDDP */
#elif defined __APPLE__
    int yes = 0;
    size_t size = sizeof yes;
    return !sysctlbyname("hw.optional.arm.FEAT_DotProd", &yes, &size, NULL, 0) && yes;
#else
    return 0;
#endif
}
#endif
