/* cache/disk_memory.h -- a disk of memory: sparse, fast, and gone when it is freed.
 *
 * Its memory comes when it is written and goes when it is trimmed or zeroed, page by page; never more than its size.
 * Requests end within disk_submit(), except those that give much memory back: these go on turn by turn, so that other
 * connections of their worker get theirs.
 *
 * A flush has nothing to do: what is written is as stable as it will ever be, and lost with the process. The facts say
 * so: no volatile cache, and flush and FUA are accepted.
 */
#pragma once

#include "cache/disk.h"

/* disk_memory_open() - a disk of @size bytes of zeroes, 1 to INT64_MAX.
 * Returns 0; or -ENOMEM: more than the address space or the kernel's overcommit policy allows. */
int disk_memory_open(uint64_t size, struct disk **out);
