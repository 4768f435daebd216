/* cache/iov.c -- a request's data, walked from its front. */
#include "cache/iov.h"

#include <assert.h>
#include <string.h>

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Returns how many bytes it consumed: up to @bytes, all of one entry. */
static size_t skip_in_entry(struct block_req *req, size_t bytes)
{
	size_t step;

	assert(req->iov_count > 0);
	step = smaller(bytes, req->iov->iov_len);
	req->iov->iov_base = (char *)req->iov->iov_base + step;
	req->iov->iov_len -= step;
	if (req->iov->iov_len == 0) {
		req->iov++;
		req->iov_count--;
	}
	return step;
}

void iov_skip(struct block_req *req, size_t bytes)
{
	while (bytes > 0)
		bytes -= skip_in_entry(req, bytes);
}

void iov_copy_out(struct block_req *req, void *memory, size_t bytes)
{
	for (char *to = memory; bytes > 0;) {
		size_t step = smaller(bytes, req->iov->iov_len);

		memcpy(to, req->iov->iov_base, step);
		skip_in_entry(req, step);
		to += step;
		bytes -= step;
	}
}

void iov_copy_in(struct block_req *req, const void *memory, size_t bytes)
{
	for (const char *from = memory; bytes > 0;) {
		size_t step = smaller(bytes, req->iov->iov_len);

		memcpy(req->iov->iov_base, from, step);
		skip_in_entry(req, step);
		from += step;
		bytes -= step;
	}
}

bool iov_is_aligned(const struct block_req *req, size_t address_grid, size_t length_grid)
{
	size_t addresses = 0, lengths = 0;

	for (unsigned i = 0; i < req->iov_count; i++) {
		addresses |= (size_t)req->iov[i].iov_base;
		lengths |= req->iov[i].iov_len;
	}
	return ((addresses & (address_grid - 1)) | (lengths & (length_grid - 1))) == 0;
}
