/* cache/witness.h -- asks the kernel whether it has failed to write back anything of a file since it was opened.
 *
 * A write with RWF_DSYNC waits for its own pages, but hears of their failure from the open file description: the kernel reports an
 * error once to each. Of several such writes in flight on one description one gets the error, maybe another's, and those
 * that ask behind it are told that all went well. So who has been told so asks a description of its own, on which nothing is
 * ever written or synced: it knows of every error that the write should have heard of.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct witness {
	int fd; /* owned; -1: none */
	pthread_mutex_t lock;
	bool failed; /* shared: under lock; final */
};

/* With nothing to ask yet: all is sound. */
void witness_init(struct witness *witness);
/* @fd: taken over: an open file description that is used for nothing else, newer than the one whose sync is to tell the same.
 * Before the first write. */
void witness_begin(struct witness *witness, int fd);
void witness_fini(struct witness *witness);

/* Whether nothing has failed that was not told to whom it belongs. Any thread; never waits for the disk. */
bool witness_is_sound(struct witness *witness);

/* A write has been told that it failed. Where it is the only one in flight, that was all there is to be told.
 * @in_flight: how many there are, with that one; counted before they begin. */
void witness_tell(struct witness *witness, const atomic_uint *in_flight);
