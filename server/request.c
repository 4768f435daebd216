/* server/request.c -- the pool of requests, and their replies' heads. */
#include "server/request.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* "Simple reply message" */
static size_t simple_reply(const struct request *request, uint8_t *out)
{
	struct nbd_simple_reply reply = {
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32(nbd_error_of(request->status)),
		.cookie = htobe64(request->command.cookie),
	};

	memcpy(out, &reply, sizeof(reply));
	return sizeof(reply);
}

static uint8_t *put_chunk(
	const struct request *request, enum nbd_reply_type type, size_t length, uint8_t *out)
{
	struct nbd_chunk_header header = {
		.magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC),
		.flags = htobe16(NBD_REPLY_FLAG_DONE),
		.type = htobe16((uint16_t)type),
		.cookie = htobe64(request->command.cookie),
		.length = htobe32((uint32_t)length),
	};

	memcpy(out, &header, sizeof(header));
	return out + sizeof(header);
}

/* NBD_REPLY_TYPE_OFFSET_DATA; final, because nothing can fail any more. */
static size_t data_chunk(const struct request *request, uint8_t *out)
{
	uint64_t offset = htobe64(request->command.offset);
	uint8_t *payload =
		put_chunk(request, NBD_REPLY_TYPE_OFFSET_DATA, sizeof(offset) + request->command.length, out);

	memcpy(payload, &offset, sizeof(offset));
	return (size_t)(payload - out) + sizeof(offset);
}

/* Enough for every constant and for strerror(3). */
#define ERROR_WORDS_MAX \
	(REPLY_HEAD_MAX - sizeof(struct nbd_chunk_header) - sizeof(uint32_t) - sizeof(uint16_t))

static const char *error_words(const struct request *request)
{
	const char *words = request->why ? request->why : strerrordesc_np(-request->status);

	return words ? words : "unknown error";
}

/* NBD_REPLY_TYPE_ERROR */
static size_t error_chunk(const struct request *request, uint8_t *out)
{
	const char *words = error_words(request);
	size_t length = strnlen(words, ERROR_WORDS_MAX);
	uint32_t error = htobe32(nbd_error_of(request->status));
	uint16_t words_length = htobe16((uint16_t)length);
	uint8_t *payload =
		put_chunk(request, NBD_REPLY_TYPE_ERROR, sizeof(error) + sizeof(words_length) + length, out);

	memcpy(payload, &error, sizeof(error));
	payload += sizeof(error);
	memcpy(payload, &words_length, sizeof(words_length));
	payload += sizeof(words_length);
	memcpy(payload, words, length);
	return (size_t)(payload - out) + length;
}

size_t request_reply(const struct request *request, bool structured, uint8_t *out)
{
	if (!structured)
		return simple_reply(request, out);
	if (request->status)
		return error_chunk(request, out);
	if (request->command.type == NBD_CMD_READ)
		return data_chunk(request, out);
	return simple_reply(request, out);
}
