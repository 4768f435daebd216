/* cache/witness.c -- sync_file_range(2), of bytes that no file has: what is left of it is the question. */
#include "cache/witness.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

/* Where no page can be that it would wait for. */
#define NOWHERE (INT64_C(1) << 62)

void witness_init(struct witness *witness)
{
	*witness = (struct witness){ .fd = -1 };
	pthread_mutex_init(&witness->lock, NULL);
}

void witness_begin(struct witness *witness, int fd)
{
	witness->fd = fd;
}

void witness_fini(struct witness *witness)
{
	if (witness->fd >= 0)
		close(witness->fd);
	pthread_mutex_destroy(&witness->lock);
}

/* With the lock held: the answer is given once, so nobody may ask between it and its being kept. Whether something has failed
 * since the last question. */
static bool has_failed(const struct witness *witness)
{
	return sync_file_range(witness->fd, NOWHERE, 1, SYNC_FILE_RANGE_WAIT_BEFORE) < 0;
}

bool witness_is_sound(struct witness *witness)
{
	bool failed;

	if (witness->fd < 0)
		return true;
	pthread_mutex_lock(&witness->lock);
	witness->failed = witness->failed || has_failed(witness);
	failed = witness->failed;
	pthread_mutex_unlock(&witness->lock);
	return !failed;
}

void witness_tell(struct witness *witness, const atomic_uint *in_flight)
{
	if (witness->fd < 0)
		return;
	pthread_mutex_lock(&witness->lock);
	/* In this order: who begins behind the question fails behind it. */
	if (has_failed(witness) && atomic_load(in_flight) > 1)
		witness->failed = true;
	pthread_mutex_unlock(&witness->lock);
}
