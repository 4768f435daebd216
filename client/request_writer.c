/* client/request_writer.c -- a message, and how far it has come.
 *
 * W1  It starts anew only when all of it has left: heads and pieces stay where they are until then.
 * Spec: proto.md, "Request message".
 */
#include "client/request_writer.h"

#include <assert.h>
#include <limits.h>

#include "server/nbd_wire.h"

static_assert(sizeof(struct nbd_request_header) == sizeof(((struct request_writer *)0)->heads[0]), "");
static_assert(REQUEST_WRITER_PIECES > IOV_MAX, "the longest command has room");

/* One that ends where this one begins goes on with it: heads without data between them are one piece. */
static void add_piece(struct request_writer *writer, void *base, size_t length)
{
	struct iovec *last = writer->count ? &writer->pieces[writer->count - 1] : NULL;

	if (last && writer->count > writer->first && (uint8_t *)last->iov_base + last->iov_len == base)
		last->iov_len += length;
	else
		writer->pieces[writer->count++] = (struct iovec){ base, length };
	writer->packed += length;
}

static void add_head(struct request_writer *writer, const struct nbd_request_header *head)
{
	uint8_t *place = writer->heads[writer->head_count++];

	memcpy(place, head, sizeof(*head));
	add_piece(writer, place, sizeof(*head));
}

static bool has_data(const struct command *command)
{
	return command->type == NBD_CMD_WRITE;
}

static unsigned pieces_max(const struct command *command)
{
	return has_data(command) ? command->req->iov_count : 0;
}

bool request_writer_has_room(const struct request_writer *writer, const struct command *command)
{
	return writer->head_count < REQUEST_WRITER_HEADS &&
	       REQUEST_WRITER_PIECES - writer->count >= 1 + pieces_max(command);
}

void request_writer_add(struct request_writer *writer, struct command *command)
{
	struct nbd_request_header head = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.flags = htobe16(command->flags),
		.type = htobe16(command->type),
		.cookie = htobe64(command->wire.cookie),
		.offset = htobe64(command->offset),
		.length = htobe32((uint32_t)command->length),
	};

	add_head(writer, &head);
	if (has_data(command)) {
		writer->count += command_data(
			command, 0, command->length, &writer->pieces[writer->count], pieces_max(command));
		writer->packed += command->length;
	}
	command->wire.sent_at = writer->packed;
}

void request_writer_add_goodbye(struct request_writer *writer)
{
	struct nbd_request_header head = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_DISC),
	};

	add_head(writer, &head);
}

unsigned request_writer_message(struct request_writer *writer, struct iovec **iov)
{
	unsigned count = writer->count - writer->first;

	*iov = &writer->pieces[writer->first];
	return count < IOV_MAX ? count : IOV_MAX;
}

void request_writer_sent(struct request_writer *writer, size_t bytes)
{
	writer->sent += bytes;
	if (request_writer_is_empty(writer)) {
		writer->first = writer->count = writer->head_count = 0; /* W1 */
		return;
	}
	while (bytes >= writer->pieces[writer->first].iov_len)
		bytes -= writer->pieces[writer->first++].iov_len;
	writer->pieces[writer->first].iov_base = (uint8_t *)writer->pieces[writer->first].iov_base + bytes;
	writer->pieces[writer->first].iov_len -= bytes;
}
