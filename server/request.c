/* server/request.c -- the pool of requests. */
#include "server/request.h"

#include <assert.h>
#include <stdlib.h>

#include "conf/container.h"

void request_pool_init(struct request_pool *pool, unsigned free_max)
{
	*pool = (struct request_pool){ .free_max = free_max };
}

void request_pool_fini(struct request_pool *pool)
{
	struct request *next;

	for (struct request *request = pool->free; request; request = next) {
		next = request->next;
		free(request);
	}
	pool->free = NULL;
}

struct request *request_get(struct request_pool *pool)
{
	struct request *request = pool->free;

	if (request) {
		pool->free = request->next;
		pool->free_count--;
	} else {
		request = malloc(sizeof(*request));
		if (!request)
			return NULL;
	}
	request->magic = REQUEST_MAGIC;
	request->stage = REQUEST_FREE;
	request->buffer = NULL;
	request->held = 0;
	request->status = 0;
	request->why = NULL;
	return request;
}

void request_put(struct request_pool *pool, struct request *request)
{
	assert(request->magic == REQUEST_MAGIC && request->stage != REQUEST_FREE && !request->buffer);
	request->stage = REQUEST_FREE;
	if (pool->free_count >= pool->free_max) {
		free(request);
		return;
	}
	request->next = pool->free;
	pool->free = request;
	pool->free_count++;
}

struct request *request_of(struct block_req *block)
{
	struct request *request = container_of(block, struct request, block);

	assert(request->magic == REQUEST_MAGIC);
	return request;
}
