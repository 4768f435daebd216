/* client/request_writer.h -- commands as one message of many pieces: heads, and the data of writes where it lies.
 *
 *	request_writer_add(writer, command);		for each command of a turn,
 *	count = request_writer_message(writer, &iov);	send these,
 *	request_writer_sent(writer, sent);		and tell how many bytes have left
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "client/command.h"

/* Heads that one message has room for: all commands that a link has in flight, and its goodbye. */
#define REQUEST_WRITER_HEADS 513u

/* Pieces: a command with as many as a block request may have, and a good batch of others. */
#define REQUEST_WRITER_PIECES 2048u

struct request_writer {
	struct iovec pieces[REQUEST_WRITER_PIECES];
	unsigned first, count; /* of pieces: those that have not left whole */
	uint64_t packed, sent; /* bytes of the connection */
	unsigned head_count;
	uint8_t heads[REQUEST_WRITER_HEADS][28];
};

/* Whether there is room for @command. Where there is nothing to send there is. */
bool request_writer_has_room(const struct request_writer *writer, const struct command *command);

/* request_writer_add() - behind what is there; there is room. @command->wire.cookie is set; sets wire.sent_at. */
void request_writer_add(struct request_writer *writer, struct command *command);

/* request_writer_add_goodbye() - NBD_CMD_DISC. Only where there is nothing to send. */
void request_writer_add_goodbye(struct request_writer *writer);

/* request_writer_message() - what is to be sent next.
 * Returns how many pieces, up to IOV_MAX; 0: nothing. */
unsigned request_writer_message(struct request_writer *writer, struct iovec **iov);

void request_writer_sent(struct request_writer *writer, size_t bytes);

/* Whether all has left. */
static inline bool request_writer_is_empty(const struct request_writer *writer)
{
	return writer->packed == writer->sent;
}
