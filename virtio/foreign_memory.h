/* virtio/foreign_memory.h -- mappings of files that belong to somebody else, who can cut them short below us.
 *
 * What is then touched behind the end would kill this process by SIGBUS, and with it the disks of other machines. Instead
 * the touched piece becomes zeroed memory of our own, and the mapping counts as lost: its user finds out, and stops. System
 * calls that are given such memory fail with EFAULT, until somebody has touched it here.
 *
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Regions of a guest's memory, logs, records, of all devices and sessions together. */
#define FOREIGN_MAPS_MAX 4096u

/* foreign_memory_map() - map @length bytes from @offset of @fd on, shared, for reading and writing.
 * @grain: what the file's mappings consist of, bytes: its page size.
 * Returns NULL with errno: as mmap(2), ENOMEM: FOREIGN_MAPS_MAX. */
void *foreign_memory_map(int fd, off_t offset, size_t length, size_t grain);
void foreign_memory_unmap(void *base);

/* How many pieces were lost so far, of all mappings: while it stays the same nothing has to be looked at. */
unsigned foreign_memory_losses(void);

/* Whether a piece of the mapping was lost in which @address is. */
bool foreign_memory_is_lost(const void *address);

/* Touches each piece of these bytes: what is gone is ours from then on. */
void foreign_memory_touch(const void *from, size_t length);
