/* server/outbox.c -- packs replies into messages. */
#include "server/outbox.h"

#include <assert.h>

void request_list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

void request_list_add(struct request_list *list, struct request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

struct request *request_list_take(struct request_list *list)
{
	struct request *request = list->first;

	if (!request)
		return NULL;
	list->first = request->next;
	if (!list->first)
		list->last = &list->first;
	return request;
}

void outbox_init(struct outbox *outbox)
{
	request_list_init(&outbox->waiting);
	request_list_init(&outbox->packed);
	outbox->message = (struct msghdr){ 0 };
	outbox->begun = 0;
	outbox->parts = NULL;
}

void outbox_add(struct outbox *outbox, struct request *request)
{
	request_list_add(&outbox->waiting, request);
}

static void add_iovec(struct msghdr *message, void *base, size_t length)
{
	struct iovec *next = &message->msg_iov[message->msg_iovlen];

	/* Heads without data stand one behind the other. */
	if (message->msg_iovlen > 0 && (uint8_t *)next[-1].iov_base + next[-1].iov_len == base) {
		next[-1].iov_len += length;
	} else {
		*next = (struct iovec){ base, length };
		message->msg_iovlen++;
	}
}

static struct message_parts *parts_of(const struct outbox *outbox)
{
	return (struct message_parts *)buffer_data(outbox->parts);
}

/* The next piece of @request's reply. Returns whether that was the last. */
static bool pack_piece(
	struct outbox *outbox, enum headers headers, struct request *request, size_t *heads, uint64_t *bytes)
{
	uint8_t *head = parts_of(outbox)->heads + *heads;
	struct reply_piece piece;

	reply_next(request, headers, outbox->begun, head, &piece);
	add_iovec(&outbox->message, head, piece.head);
	if (piece.length > 0)
		add_iovec(&outbox->message, (uint8_t *)piece.data, piece.length);
	*heads += piece.head;
	*bytes += piece.length > 0 ? piece.length : piece.end - outbox->begun;
	outbox->begun = piece.last ? 0 : piece.end;
	return piece.last;
}

static size_t message_length(const struct msghdr *message)
{
	size_t length = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++)
		length += message->msg_iov[i].iov_len;
	return length;
}

size_t outbox_pack(
	struct outbox *outbox, struct buffer_pool *pool, enum headers headers, struct request_list *done)
{
	struct msghdr *message = &outbox->message;
	uint64_t bytes = 0; /* sent, or found to be zeroes */
	size_t heads = 0;

	outbox->parts = buffer_get(pool, sizeof(struct message_parts));
	if (!outbox->parts)
		return 0;
	*message = (struct msghdr){ .msg_iov = parts_of(outbox)->iov };
	while (outbox->waiting.first && heads + REPLY_HEAD_MAX <= SEND_HEADER_BYTES &&
		message->msg_iovlen + 2 <= SEND_IOVECS && bytes < SEND_BYTES_MAX) {
		struct request *request = outbox->waiting.first;

		if (!pack_piece(outbox, headers, request, &heads, &bytes))
			continue;
		request_list_take(&outbox->waiting);
		request_list_add(request->buffer ? &outbox->packed : done, request);
	}
	return message_length(message);
}

void outbox_pack_raw(struct outbox *outbox, struct iovec *iov, size_t count)
{
	assert(outbox->begun == 0 && !outbox->parts);
	outbox->message = (struct msghdr){ .msg_iov = iov, .msg_iovlen = count };
}

void outbox_drop(struct outbox *outbox, struct request_list *done)
{
	struct request *request;

	if (outbox->begun > 0)
		request_list_add(&outbox->packed, request_list_take(&outbox->waiting));
	outbox->begun = 0;
	while ((request = request_list_take(&outbox->waiting)))
		request_list_add(done, request);
}

bool outbox_advance(struct outbox *outbox, size_t sent)
{
	struct msghdr *message = &outbox->message;

	while (message->msg_iovlen > 0 && sent >= message->msg_iov->iov_len) {
		sent -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen == 0)
		return false;
	message->msg_iov->iov_base = (uint8_t *)message->msg_iov->iov_base + sent;
	message->msg_iov->iov_len -= sent;
	return true;
}

void outbox_clear(struct outbox *outbox, struct buffer_pool *pool, struct request_list *done)
{
	struct request *request;

	if (outbox->parts)
		buffer_put(pool, outbox->parts);
	outbox->parts = NULL;
	while ((request = request_list_take(&outbox->packed)))
		request_list_add(done, request);
}
