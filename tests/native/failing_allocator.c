/* Preloaded by test_allocation.py: makes the N-th allocation of one shared library fail. Calls are told apart by where
 * they return to, so that Python's own go through, and the library under test is the one that users have. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

static uintptr_t first, last;  /* of the library's code */
static atomic_long calls, live; /* since it was watched; allocations and mappings not given back */
static atomic_long failing;     /* the call that fails, from 1; 0 for none */
static atomic_long threads;     /* pthread_create calls that failed */

/* Its extent from the addresses of its segments. */
static int find(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    if (!strstr(info->dlpi_name, name)) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        first = info->dlpi_addr + segment->p_vaddr;
        last = first + segment->p_memsz;
    }
    return 1;
}

/* Watches the loaded library of that name. Returns whether there is one. */
int watch(const char *name)
{
    first = last = 0;
    return dl_iterate_phdr(find, (void *)name) && last;
}

void fail_at(long call)
{
    atomic_store(&calls, 0);
    atomic_store(&threads, 0);
    atomic_store(&failing, call);
}

long calls_so_far(void) { return atomic_load(&calls); }
long not_given_back(void) { return atomic_load(&live); }
long threads_refused(void) { return atomic_load(&threads); }

static int ours(const void *caller) { return (uintptr_t)caller >= first && (uintptr_t)caller < last; }

static int fails(void) { return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALLER __builtin_return_address(0)

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

#define COUNTED(allocation)                    \
    if (!ours(CALLER)) return allocation;      \
    if (fails()) return errno = ENOMEM, NULL;  \
    void *memory = allocation;                 \
    if (memory) atomic_fetch_add(&live, 1);    \
    return memory

void *malloc(size_t bytes) { COUNTED(__libc_malloc(bytes)); }
void *calloc(size_t count, size_t bytes) { COUNTED(__libc_calloc(count, bytes)); }
void *aligned_alloc(size_t alignment, size_t bytes) { COUNTED(__libc_memalign(alignment, bytes)); }
void *realloc(void *old, size_t bytes) { return __libc_realloc(old, bytes); } /* the library has none */

void free(void *memory)
{
    if (memory && ours(CALLER)) atomic_fetch_sub(&live, 1);
    __libc_free(memory);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (!ours(CALLER)) return REAL(mmap)(address, bytes, protection, flags, file, offset);
    if (fails()) return errno = ENOMEM, MAP_FAILED;
    void *memory = REAL(mmap)(address, bytes, protection, flags, file, offset);
    if (memory != MAP_FAILED) atomic_fetch_add(&live, (long)bytes);
    return memory;
}

int munmap(void *address, size_t bytes)
{
    if (ours(CALLER)) atomic_fetch_sub(&live, (long)bytes);
    return REAL(munmap)(address, bytes);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    if (ours(CALLER) && fails()) {
        atomic_fetch_add(&threads, 1);
        return EAGAIN;
    }
    return REAL(pthread_create)(thread, attributes, start, argument);
}
