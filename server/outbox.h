/* server/outbox.h -- the replies of one session on their way out: many leave in one sendmsg(2), data uncopied.
 *
 * A reply with many holes may take more than one message; no other reply comes in between.
 *
 * Replies are added in any order; outbox_pack() makes the next message of them, of which outbox_advance() takes what has
 * left. Their requests belong to the outbox from outbox_add() until they are handed back in a list.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "server/limits.h"
#include "server/reply.h"
#include "server/request.h"

/* First in, first out; linked by request->next. */
struct request_list {
	struct request *first, **last;
};

void request_list_init(struct request_list *list);
void request_list_add(struct request_list *list, struct request *request);
/* The first, or NULL. */
struct request *request_list_take(struct request_list *list);

/* What a message is made of beside the data of its replies. */
struct message_parts {
	struct iovec iov[SEND_IOVECS];
	uint8_t heads[SEND_HEADER_BYTES];
};

struct outbox {
	struct request_list waiting, packed;
	uint64_t begun;	       /* how much of the first waiting reply has been packed; 0: nothing */
	struct msghdr message; /* what is left of the packed replies */
	struct buffer *parts;  /* owned: from outbox_pack() to outbox_clear() */
};

void outbox_init(struct outbox *outbox);

/* @request: REPLYING, with its buffer only where the reply has data. */
void outbox_add(struct outbox *outbox, struct request *request);

static inline bool outbox_is_waiting(const struct outbox *outbox)
{
	return outbox->waiting.first;
}

/* outbox_pack() - make a message of replies that wait, up to SEND_BYTES_MAX and what the arrays hold; to be called when
 * outbox_clear() has ended the last one.
 * @pool: gives the memory for it.
 * @done: gets the requests whose replies have no data: the message has no more need of them.
 * Returns the message's bytes; 0: there is no memory, and all wait on. */
size_t outbox_pack(
	struct outbox *outbox, struct buffer_pool *pool, enum headers headers, struct request_list *done);

/* outbox_pack_raw() - instead: make a message of what @iov has, which is the outbox's until the message has left. Not while a
 * reply has been begun. */
void outbox_pack_raw(struct outbox *outbox, struct iovec *iov, size_t count);

/* outbox_advance() - @sent bytes of the message have left. Returns whether something is left of it. */
bool outbox_advance(struct outbox *outbox, size_t sent);

/* outbox_drop() - hand back the requests that wait; but one of whose reply a part is packed stays with the message. */
void outbox_drop(struct outbox *outbox, struct request_list *done);

/* outbox_clear() - hand back the requests of the message, if there is one: it has left, or never will.
 * @pool: gets its memory back. */
void outbox_clear(struct outbox *outbox, struct buffer_pool *pool, struct request_list *done);
