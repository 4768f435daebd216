/* server/outbox.c -- packs replies into messages. */
#include "server/outbox.h"

#include <stdlib.h>

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
	outbox->raw = outbox->raw_packed = NULL;
	outbox->raw_last = &outbox->raw;
}

void outbox_add(struct outbox *outbox, struct request *request)
{
	request_list_add(&outbox->waiting, request);
}

void outbox_add_raw(struct outbox *outbox, struct raw_reply *raw)
{
	raw->next = NULL;
	*outbox->raw_last = raw;
	outbox->raw_last = &raw->next;
}

static struct raw_reply *take_raw(struct outbox *outbox)
{
	struct raw_reply *raw = outbox->raw;

	outbox->raw = raw->next;
	if (!outbox->raw)
		outbox->raw_last = &outbox->raw;
	return raw;
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

/* The next piece of @request's reply. Returns whether that was the last. */
static bool pack_piece(
	struct outbox *outbox, enum headers headers, struct request *request, size_t *heads, uint64_t *bytes)
{
	uint8_t *head = outbox->heads + *heads;
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

static void pack_raw(struct outbox *outbox)
{
	struct raw_reply *raw = take_raw(outbox);

	for (unsigned i = 0; i < raw->copies; i++)
		outbox->iov[i] = (struct iovec){ raw->bytes, raw->length };
	outbox->message = (struct msghdr){ .msg_iov = outbox->iov, .msg_iovlen = raw->copies };
	request_list_add(&outbox->packed, raw->request);
	outbox->raw_packed = raw;
}

void outbox_pack(struct outbox *outbox, enum headers headers, struct request_list *done)
{
	struct msghdr *message = &outbox->message;
	uint64_t bytes = 0; /* sent, or found to be zeroes */
	size_t heads = 0;

	/* Not amid the pieces of another. */
	if (outbox->raw && outbox->begun == 0) {
		pack_raw(outbox);
		return;
	}
	*message = (struct msghdr){ .msg_iov = outbox->iov };
	while (outbox->waiting.first && heads + REPLY_HEAD_MAX <= SEND_HEADER_BYTES &&
		message->msg_iovlen + 2 <= SEND_IOVECS && bytes < SEND_BYTES_MAX) {
		struct request *request = outbox->waiting.first;

		if (!pack_piece(outbox, headers, request, &heads, &bytes))
			continue;
		request_list_take(&outbox->waiting);
		request_list_add(request->buffer ? &outbox->packed : done, request);
	}
}

void outbox_drop(struct outbox *outbox, struct request_list *done)
{
	struct request *request;

	if (outbox->begun > 0)
		request_list_add(&outbox->packed, request_list_take(&outbox->waiting));
	outbox->begun = 0;
	while ((request = request_list_take(&outbox->waiting)))
		request_list_add(done, request);
	while (outbox->raw) {
		struct raw_reply *raw = take_raw(outbox);

		request_list_add(done, raw->request);
		free(raw);
	}
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

void outbox_clear(struct outbox *outbox, struct request_list *done)
{
	struct request *request;

	free(outbox->raw_packed);
	outbox->raw_packed = NULL;
	while ((request = request_list_take(&outbox->packed)))
		request_list_add(done, request);
}
