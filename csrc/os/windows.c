/* platform.h for Windows 10 and later. */
#if defined _WIN32
#define WIN32_LEAN_AND_MEAN
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#include "platform.h"

#include <malloc.h>
#include <process.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

void sc_sleepers_reset(sc_sleepers *s) { (void)s; }

void sc_sleepers_wait(sc_sleepers *s, _Atomic uint32_t *word, uint32_t seen)
{
    (void)s;
    if (atomic_load(word) == seen) WaitOnAddress((volatile void *)word, &seen, sizeof seen, INFINITE);
}

void sc_sleepers_wake(sc_sleepers *s, _Atomic uint32_t *word)
{
    (void)s;
    WakeByAddressAll((void *)word);
}

/* As posix.c has it: a kernel's frame has up to 50 KB. */
enum { STACK_BYTES = 1 << 20 };

/* What a new thread does, which frees this. */
typedef struct {
    void *(*run)(void *);
    void *argument;
} task;

static unsigned __stdcall begin(void *argument)
{
    const task todo = *(task *)argument;
    free(argument);
    todo.run(todo.argument);
    return 0;
}

int sc_thread_start(sc_thread *thread, void *(*run)(void *), void *argument)
{
    task *todo = malloc(sizeof *todo);
    if (!todo) return 0;
    *todo = (task){run, argument};
    *thread = (void *)_beginthreadex(NULL, STACK_BYTES, begin, todo, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (!*thread) free(todo);
    return *thread != NULL;
}

void sc_thread_join(sc_thread thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

void sc_thread_yield(void) { SwitchToThread(); }

/* Nothing forks. */
int sc_forks_watch(void) { return 1; }
unsigned sc_forks(void) { return 0; }

int sc_cpu_current(void)
{
    PROCESSOR_NUMBER cpu;
    GetCurrentProcessorNumberEx(&cpu);
    return cpu.Group * 64 + cpu.Number;
}

/* The mask shows the CPUs of one group, of 64. Threads of a process without a mask may use all groups. */
int sc_cpus_allowed(void)
{
    DWORD_PTR mine = 0, all = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all) || mine == all)
        return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return __builtin_popcountll(mine);
}

/* Affinities here hold one group only, and the scheduler moves waiting threads by itself. */
int sc_cpu_leave(const _Atomic int32_t *others, int n, int self)
{
    (void)others;
    (void)n;
    (void)self;
    return 0;
}

/* Large pages are for privileged users. Addresses are reserved to find an aligned place among them. */
void *sc_pages_map(size_t bytes, size_t alignment)
{
    char *base = VirtualAlloc(NULL, bytes + alignment, MEM_RESERVE, PAGE_NOACCESS);
    if (!base) return NULL;
    char *pages = base + (alignment - (uintptr_t)base % alignment) % alignment;
    if (VirtualAlloc(pages, bytes, MEM_COMMIT, PAGE_READWRITE)) return pages;
    VirtualFree(base, 0, MEM_RELEASE);
    return NULL;
}

void sc_pages_unmap(void *pages, size_t bytes)
{
    MEMORY_BASIC_INFORMATION about;
    (void)bytes;
    if (VirtualQuery(pages, &about, sizeof about)) VirtualFree(about.AllocationBase, 0, MEM_RELEASE);
}

/* No page here is shared in this way: Python refuses before it comes to this. */
void *sc_shared_map(int descriptor, size_t bytes, size_t alignment)
{
    (void)descriptor;
    (void)bytes;
    (void)alignment;
    return NULL;
}

void sc_shared_unmap(void *pages, size_t bytes)
{
    (void)pages;
    (void)bytes;
}

void sc_shared_gather(void *pages, size_t bytes)
{
    (void)pages;
    (void)bytes;
}

void *sc_lines_new(size_t bytes)
{
    const size_t whole = (bytes + 63) / 64 * 64;
    void *lines = _aligned_malloc(whole, 64);
    return lines ? memset(lines, 0, whole) : NULL;
}

void sc_lines_free(void *lines) { _aligned_free(lines); }

uint64_t sc_nanoseconds(void)
{
    LARGE_INTEGER count, per_second;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&per_second);
    const uint64_t ticks = (uint64_t)count.QuadPart, rate = (uint64_t)per_second.QuadPart;
    return ticks / rate * 1000000000u + ticks % rate * 1000000000u / rate;
}

/* A process cannot ask for them. */
int sc_grant_tiles(void) { return 0; }

int sc_has_dotprod(void)
{
    enum { ARM_V82_DOT_PRODUCT = 43 };
    return IsProcessorFeaturePresent(ARM_V82_DOT_PRODUCT) != 0;
}
#endif
