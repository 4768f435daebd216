/* server/outbox.c -- packs replies into messages. */
#include "server/outbox.h"

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

void outbox_pack(struct outbox *outbox, bool structured, struct request_list *done)
{
	struct msghdr *message = &outbox->message;
	size_t heads = 0, data = 0;

	*message = (struct msghdr){ .msg_iov = outbox->iov };
	while (outbox->waiting.first && heads + REPLY_HEAD_MAX <= SEND_HEADER_BYTES &&
		message->msg_iovlen + 2 <= SEND_IOVECS && data < SEND_BYTES_MAX) {
		struct request *request = request_list_take(&outbox->waiting);
		uint8_t *head = outbox->heads + heads;
		size_t length = request_reply(request, structured, head);

		add_iovec(message, head, length);
		heads += length;
		length = request_reply_data(request);
		if (length > 0)
			add_iovec(message, buffer_data(request->buffer), length);
		data += length;
		request_list_add(length > 0 ? &outbox->packed : done, request);
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

	while ((request = request_list_take(&outbox->packed)))
		request_list_add(done, request);
}
