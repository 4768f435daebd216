/* server/reply.h -- a request's reply as bytes: one or more pieces, each a head and, where it has some, data behind it.
 * Spec: proto.md, "Simple reply message", "Structured reply chunk message", "Extended reply chunk message",
 * "Structured reply types".
 *
 * Without negotiation a reply is one simple reply. With structured replies, reads, block status and errors are chunks,
 * as proto.md demands or wishes; other successes are the shorter simple reply. With extended headers all are chunks.
 *
 * In chunks, zeroes of a read leave as holes, unless it carries DF: a hole is a run of parts that are zeroes, each up to a
 * multiple of REPLY_HOLE_GRAIN in the export. That they are is seen in the data itself, so it holds for every disk, and
 * races with no write. A part that is data is known by its first bytes; so for reads without zeroes it costs a look at
 * one cache line each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/dialect.h"
#include "server/request.h"

/* Bytes. A chunk of its own costs the client some work; sending and receiving this much zeroes costs it more. */
#define REPLY_HOLE_GRAIN (32u << 10)

/* A piece's head: the longest is an error chunk with its words. */
#define REPLY_HEAD_MAX 128

struct reply_piece {
	size_t head;	     /* bytes */
	const uint8_t *data; /* borrowed: in the request's buffer */
	size_t length;	     /* of data, bytes; 0: none */
	uint64_t end;	     /* what the next piece is to be made from */
	bool last;
};

/* Whether @request's reply carries data of its buffer. */
bool reply_has_data(const struct request *request);

/* reply_next() - make the next piece of @request's reply.
 * @from: 0, or the end of the piece before.
 * @head: gets the head, REPLY_HEAD_MAX bytes. */
void reply_next(const struct request *request, enum headers headers, uint64_t from, uint8_t *head,
	struct reply_piece *out);
