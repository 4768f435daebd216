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

bool witness_is_sound(struct witness *witness)
{
	bool failed;

	if (witness->fd < 0)
		return true;
	/* The answer is given once: nobody may ask between it and its being kept. */
	pthread_mutex_lock(&witness->lock);
	if (!witness->failed)
		witness->failed = sync_file_range(witness->fd, NOWHERE, 1, SYNC_FILE_RANGE_WAIT_BEFORE) < 0;
	failed = witness->failed;
	pthread_mutex_unlock(&witness->lock);
	return !failed;
}
