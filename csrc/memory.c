/* Large zeroed allocations. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "santacoder.h"

enum { HUGE_PAGE = 2 << 20 };

/* In whole huge pages, at least one: no bytes have an address of their own too. */
static size_t mapped_bytes(size_t bytes)
{
    return bytes ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE : HUGE_PAGE;
}

/* A mapping as a multiple of huge pages, aligned to one: the kernel gives huge pages only there. */
void *sc_allocate(size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * HUGE_PAGE) return NULL;
    const size_t size = mapped_bytes(bytes);
    char *base = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const size_t head = (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE;
    if (head) munmap(base, head);
    munmap(base + head + size, HUGE_PAGE - head);
#if defined MADV_HUGEPAGE
    madvise(base + head, size, MADV_HUGEPAGE);
#endif
    return base + head;
}

void sc_release(void *memory, size_t bytes)
{
    if (memory) munmap(memory, mapped_bytes(bytes));
}
