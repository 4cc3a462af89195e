/* Large zeroed allocations, and mapped files. */
#include "../santacoder.h"
#include "platform.h"

enum { HUGE_PAGE = 2 << 20 };

/* Whole huge pages, at least one, so that even 0 bytes have an address of their own. */
static size_t mapped_bytes(size_t bytes)
{
    return bytes ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE : HUGE_PAGE;
}

/* Aligned to a huge page: the kernel gives huge pages only there. */
void *sc_allocate(size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * HUGE_PAGE) return NULL;
    return sc_pages_map(mapped_bytes(bytes), HUGE_PAGE);
}

void sc_release(void *memory, size_t bytes)
{
    if (memory) sc_pages_unmap(memory, mapped_bytes(bytes));
}

/* At a huge page's address, since a file's huge pages begin at multiples of their size. */
void *sc_file_map(int descriptor, size_t bytes)
{
    if (!bytes || bytes > SIZE_MAX - HUGE_PAGE) return NULL;
    return sc_shared_map(descriptor, bytes, HUGE_PAGE);
}

void sc_file_unmap(void *mapping, size_t bytes)
{
    if (mapping) sc_shared_unmap(mapping, bytes);
}

void sc_file_gather(void *mapping, size_t bytes) { sc_shared_gather(mapping, bytes); }
