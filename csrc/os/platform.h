/* What we need of the operating system; posix.c implements it for Linux and macOS, windows.c for Windows. A port to
 * another system adds one file. */
#ifndef SC_PLATFORM_H
#define SC_PLATFORM_H

#if !defined _WIN32
#include <pthread.h>
#endif
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Sleeping until a word changes. Linux and Windows find the sleepers by the word's address. */
typedef struct {
#if defined __linux__ || defined _WIN32
    char unused;
#else
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
} sc_sleepers;

/* Call before the first use, and in a forked child, whatever the parent's threads were doing. */
void sc_sleepers_reset(sc_sleepers *sleepers);
/* Sleeps while `word` is `seen`; may return early. */
void sc_sleepers_wait(sc_sleepers *sleepers, _Atomic uint32_t *word, uint32_t seen);
/* Wakes all threads that wait for a change of `word`. */
void sc_sleepers_wake(sc_sleepers *sleepers, _Atomic uint32_t *word);

/* Threads. They take no signals: the host handles those. Returns 0 when the system refuses. */
#if defined _WIN32
typedef void *sc_thread; /* a handle */
#else
typedef pthread_t sc_thread;
#endif
int sc_thread_start(sc_thread *thread, void *(*run)(void *), void *argument);
void sc_thread_join(sc_thread thread);
void sc_thread_yield(void);

/* Counts forks from now on. Returns 0 when memory runs out. */
int sc_forks_watch(void);
/* Number of forks between the process that loaded this library and this one. Process ids would not do: in another
 * namespace a child may have its parent's. */
unsigned sc_forks(void);

/* The CPU that the calling thread runs on, or -1. */
int sc_cpu_current(void);
/* CPUs that the calling thread may use, or 0 when the system does not say. */
int sc_cpus_allowed(void);
/* Moves the calling thread, number `self`, away from the CPUs of the `n` threads; cpus[i] is thread i's, or -1. Returns
 * 0 when there is no other CPU, or the system cannot do it. */
int sc_cpu_leave(const _Atomic int32_t *cpus, int n, int self);

/* Zeroed pages, aligned, in huge pages where the system gives them; NULL when there are none. Both sizes are multiples
 * of a page. */
void *sc_pages_map(size_t bytes, size_t alignment);
void sc_pages_unmap(void *pages, size_t bytes);

/* The first bytes of an open file, read-only, shared and aligned; NULL when they cannot be mapped or read. Both sizes
 * are multiples of a page. */
void *sc_shared_map(int descriptor, size_t bytes, size_t alignment);
void sc_shared_unmap(void *pages, size_t bytes);
/* Makes huge pages of the file's pages in memory, where the system can. */
void sc_shared_gather(void *pages, size_t bytes);

/* Zeroed memory that shares no cache line with other memory; NULL when there is none. */
void *sc_lines_new(size_t bytes);
void sc_lines_free(void *lines);

/* A clock that never goes back. */
uint64_t sc_nanoseconds(void);

/* Asks for AMX's tile registers, for all threads of this process; returns whether it may use them. */
int sc_grant_tiles(void);
/* Whether an ARM CPU has the dot-product extension. */
int sc_has_dotprod(void);

#endif
