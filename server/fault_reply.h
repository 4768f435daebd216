/* server/fault_reply.h -- a reply as bytes that are not as they ought to be. */
#pragma once

#include "server/dialect.h"
#include "server/fault_data.h"
#include "server/request.h"

struct raw_reply {
	struct iovec iov[2]; /* for whoever sends it */
	unsigned copies;     /* 1 or 2 */
	bool ends;	     /* the connection, behind it */
	size_t length;
	uint8_t bytes[];
};

/* Whether @action is about the bytes of a reply. */
bool fault_reply_changes(enum fault_action action);

/* fault_reply_new() - the reply to @request, which is ready for outbox_add(), as @effect has it; for free(3):
 * a cut one has the first bytes alone, and ends the connection; length 0: not even those. A wrong one has its cookie or magic
 * number with every bit flipped, or tells of FAULT_REPLY_EXTRA bytes more than there are, in its first chunk; a simple reply,
 * which has no length, is followed by so many instead.
 * Returns NULL without memory. */
struct raw_reply *fault_reply_new(
	const struct fault_effect *effect, const struct request *request, enum headers headers);

#define FAULT_REPLY_EXTRA 8
