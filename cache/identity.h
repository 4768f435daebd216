/* cache/identity.h -- what keeps a disk's bytes, as a number (struct disk_facts, identity).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* identity_of() - of the file or block device @fd, whose fstat(2) is @stat; not 0. Another file of the same name has another, also
 * where the filesystem gives it the same inode and tells when a file was made; so has another disk in the same drive. */
uint64_t identity_of(int fd, const struct stat *stat);

/* identity_join() - of two numbers, in this order, one; not 0. For telling apart, not against forgers. */
uint64_t identity_join(uint64_t first, uint64_t second);

/* identity_join_bytes() - of a number and @length bytes, one; @joined where there are none. */
uint64_t identity_join_bytes(uint64_t joined, const char *bytes, size_t length);

/* identity_of_boot() - of this boot of the machine; 0: the kernel does not tell. */
uint64_t identity_of_boot(void);

/* identity_draw() - one that nobody else has drawn, as far as chance goes; not 0. */
uint64_t identity_draw(void);
