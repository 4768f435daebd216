/* client/scatter.c -- walking an iovec from any byte on. */
#include "client/scatter.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

struct walk {
	const struct iovec *iov, *end;
	size_t skip; /* bytes of *iov that lie behind us */
};

static struct walk walk_from(const struct iovec *iov, unsigned count, size_t offset)
{
	struct walk walk = { iov, iov + count, offset };

	while (walk.iov < walk.end && walk.skip >= walk.iov->iov_len) {
		walk.skip -= walk.iov->iov_len;
		walk.iov++;
	}
	return walk;
}

/* Up to @most bytes that lie in one place. */
static struct iovec walk_on(struct walk *walk, size_t most)
{
	struct iovec here;

	assert(walk->iov < walk->end);
	here.iov_base = (uint8_t *)walk->iov->iov_base + walk->skip;
	here.iov_len = walk->iov->iov_len - walk->skip;
	if (here.iov_len > most)
		here.iov_len = most;
	walk->iov++;
	walk->skip = 0;
	return here;
}

void *scatter_flat(const struct iovec *iov, unsigned count, size_t offset, size_t length)
{
	struct walk walk = walk_from(iov, count, offset);
	struct iovec first = walk_on(&walk, length);

	for (size_t found = first.iov_len; found < length;) {
		struct iovec here = walk_on(&walk, length - found);

		if (here.iov_len && here.iov_base != (uint8_t *)first.iov_base + found)
			return NULL;
		found += here.iov_len;
	}
	return first.iov_base;
}

unsigned scatter_pieces(const struct iovec *iov, unsigned count, size_t offset, size_t length,
	struct iovec *out, unsigned max)
{
	struct walk walk = walk_from(iov, count, offset);
	unsigned pieces = 0;

	while (length && pieces < max) {
		out[pieces] = walk_on(&walk, length);
		length -= out[pieces++].iov_len;
	}
	return pieces;
}

void scatter_gather(const struct iovec *iov, unsigned count, size_t offset, void *out, size_t length)
{
	struct walk walk = walk_from(iov, count, offset);

	for (size_t copied = 0; copied < length;) {
		struct iovec here = walk_on(&walk, length - copied);

		memcpy((uint8_t *)out + copied, here.iov_base, here.iov_len);
		copied += here.iov_len;
	}
}

void scatter_spread(const struct iovec *iov, unsigned count, size_t offset, const void *in, size_t length)
{
	struct walk walk = walk_from(iov, count, offset);

	for (size_t copied = 0; copied < length;) {
		struct iovec here = walk_on(&walk, length - copied);

		memcpy(here.iov_base, (const uint8_t *)in + copied, here.iov_len);
		copied += here.iov_len;
	}
}

void scatter_clear(const struct iovec *iov, unsigned count, size_t offset, size_t length)
{
	struct walk walk = walk_from(iov, count, offset);

	for (size_t cleared = 0; cleared < length;) {
		struct iovec here = walk_on(&walk, length - cleared);

		memset(here.iov_base, 0, here.iov_len);
		cleared += here.iov_len;
	}
}
