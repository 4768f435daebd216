/* server/request.h -- one NBD command, from header parsed to reply sent; and the pool it comes from.
 *
 * A request belongs to its session's worker; while it is on the disk, its block part and data belong to the disk.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "cache/block.h"
#include "server/buffer.h"
#include "server/command.h"

enum request_stage {
	REQUEST_FREE,
	REQUEST_RECEIVING, /* its payload is on the way */
	REQUEST_ON_DISK,
	REQUEST_REPLYING,
};

#define REQUEST_MAGIC 0x76726571u

struct injection;
struct session;

struct request {
	uint32_t magic;
	enum request_stage stage;
	struct session *session; /* borrowed: a session outlives its requests */
	struct request *next;	 /* in the pool, or the session's list of replies */
	struct command command;
	int status;	       /* 0 or -errno, once REPLYING */
	const char *why;       /* a constant, for the client; NULL: the status says it all */
	struct buffer *buffer; /* owned; NULL: no data */
	size_t held;	       /* bytes wanted of buffer */
	/* Of a block status: what is to be told, as META_BIT()s, and of how many bytes. */
	unsigned contexts;
	uint64_t status_length;
	struct iovec iov;	     /* the data, for block */
	struct injection *injection; /* borrowed: what faults do to it, while they do */
	struct block_req block;
};

struct request_pool {
	struct request *free; /* owned */
	unsigned free_count, free_max;
};

/* At most @free_max free requests are kept. */
void request_pool_init(struct request_pool *pool, unsigned free_max);
void request_pool_fini(struct request_pool *pool);

/* A request without buffer and status; magic and stage FREE are set, block is undefined. NULL without memory. */
struct request *request_get(struct request_pool *pool);
/* Its buffer, if any, must be put before. */
void request_put(struct request_pool *pool, struct request *request);

/* The request whose block part this is. */
struct request *request_of(struct block_req *block);
