/* cache/image.h -- a disk's content in a sparse file. */
#pragma once

#include <stdint.h>

/* Everything here returns 0, or -errno of open(2), ftruncate(2), pread(2), pwrite(2): -ENODATA: a file ends too soon. */

/* image_copy() - make the file @to what @from, a file or a block device, is in its first @from_size bytes, and zeroes up to
 * @size. What @to had is lost. Shares the data where the filesystem can; leaves holes holes. */
int image_copy(int from, uint64_t from_size, int to, uint64_t size);

/* image_fill() - @length bytes at @offset of the file @to become those at @from_at of @from. */
int image_fill(int to, uint64_t offset, uint64_t length, int from, uint64_t from_at);

/* image_zero() - likewise, zeroes: a hole where there can be one. */
int image_zero(int to, uint64_t offset, uint64_t length);
