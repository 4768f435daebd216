/* cache/identity.h -- what keeps a disk's bytes, as a number (struct disk_facts, identity).
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

/* identity_of() - of the file or block device @fd, whose fstat(2) is @stat; not 0. Another file of the same name has another, also
 * where the filesystem gives it the same inode and tells when a file was made; so has another disk in the same drive. */
uint64_t identity_of(int fd, const struct stat *stat);

/* identity_join() - of two numbers, in this order, one; not 0. For telling apart, not against forgers. */
uint64_t identity_join(uint64_t first, uint64_t second);
