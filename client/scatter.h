/* client/scatter.h -- a part of data that lies in several places. */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

/* scatter_flat() - the @length bytes from @offset on, if they lie in one piece; else NULL.
 * @offset + @length: at most what the @count entries of @iov hold; @length > 0. */
void *scatter_flat(const struct iovec *iov, unsigned count, size_t offset, size_t length);

/* scatter_pieces() - the pieces that the @length bytes from @offset on consist of, into @out, up to @max of them; the same
 * limits. Returns how many; where that is @max, there may be more. */
unsigned scatter_pieces(const struct iovec *iov, unsigned count, size_t offset, size_t length,
	struct iovec *out, unsigned max);

/* Copy @length bytes from @offset on, out of the pieces or into them; the same limits. */
void scatter_gather(const struct iovec *iov, unsigned count, size_t offset, void *out, size_t length);
void scatter_spread(const struct iovec *iov, unsigned count, size_t offset, const void *in, size_t length);

/* Zeroes in place of those bytes. */
void scatter_clear(const struct iovec *iov, unsigned count, size_t offset, size_t length);
