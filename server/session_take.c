/* server/session_take.c -- the requests in what was received. */
#include "server/session_parts.h"

#include <errno.h>
#include <string.h>

#include "server/command.h"

/* Bytes of data that @command will hold, if it is valid at all. */
static size_t data_wanted(const struct session *session, const struct command *command)
{
	bool moves_data = command->type == NBD_CMD_READ || command->type == NBD_CMD_WRITE;

	if (command->type == NBD_CMD_BLOCK_STATUS && session->dialect.contexts)
		return STATUS_EXTENTS_MAX * sizeof(struct block_extent);
	return moves_data && command->length <= session->export->disk->facts.data_max ? command->length : 0;
}

static bool has_room(struct session *session, size_t wanted)
{
	size_t size = wanted > 0 ? buffer_size(wanted) : 0;

	if (session->requests >= CONNECTION_REQUESTS_MAX)
		return false;
	if (session->bytes > 0 && session->bytes + size > CONNECTION_BYTES_MAX)
		return false;
	return session_has_memory(session, session->bytes + size);
}

static bool has_turn(const struct session *session, size_t wanted)
{
	if (session->turn_bytes > 0 && session->turn_bytes + wanted > TURN_BYTES_MAX)
		return false;
	return wanted <= TURN_LARGE || worker_has_turn(session->worker, wanted);
}

/* Whether others are to get in between. */
static bool has_to_yield(const struct session *session)
{
	return session->turn_requests >= TURN_REQUESTS_MAX && session->worker->shared > 0;
}

/* Go on in the next turn. Nothing else may bring it about: the disk may have answered all at once, and the send wait for a
 * client that reads no reply before it has sent all its requests. */
static void yield(struct session *session)
{
	if (!session->turn.queued)
		uring_yield(&session->worker->ring, &session->turn);
}

static void take_buffer(struct session *session, struct request *request, size_t wanted)
{
	request->buffer = buffer_get(&session->worker->buffers, wanted);
	if (!request->buffer) {
		request->status = -ENOMEM;
		return;
	}
	request->held = wanted;
	session->bytes += buffer_size(wanted);
	session->turn_bytes += wanted;
	if (wanted > TURN_LARGE)
		worker_count_large(session->worker, wanted);
}

/* Beyond the end that was: the disk may have grown. */
static int check(struct session *session, struct request *request)
{
	const struct command *command = &request->command;
	struct disk *disk = session->export->disk;

	uint64_t size = disk->facts.size;

	if (command->offset > size || command->length > size - command->offset)
		disk_measure(disk);
	return command_check(command, &disk->facts, session->dialect, &request->block, &request->why);
}

static bool begin(struct session *session, const struct command *command, size_t wanted)
{
	struct request *request = request_get(&session->worker->requests);

	if (!request) {
		session_kill(session, CLOSE_memory);
		return false;
	}
	if (session->turn_requests++ == 0)
		worker_count_turn(session->worker, session);
	session->requests++;
	request->session = session;
	request->command = *command;
	request->stage = REQUEST_RECEIVING;
	request->status = check(session, request);
	if (request->status == 0 && wanted > 0)
		take_buffer(session, request, wanted);
	session->in.bulk = command->payload >= RECEIVE_BULK_MIN;
	if (command->payload > 0) {
		session->in.request = request;
		session->in.ticks = 0;
		session->in.rest = (uint32_t)command->payload;
	} else {
		session_start(session, request);
	}
	return true;
}

/* "A server SHOULD initiate hard disconnect if a client sets the NBD_CMD_FLAG_PAYLOAD_LEN flag and uses a length larger
 * than [the] maximum payload length".  A compact write has no flag, and 4 GiB at most. */
static bool is_payload_excessive(const struct session *session, const struct command *command)
{
	return session->dialect.headers == HEADERS_EXTENDED &&
	       command->payload > session->export->disk->facts.data_max;
}

/* Returns whether the stream goes on behind the header. */
static bool take_header(struct session *session)
{
	size_t wanted, header = command_header_size(session->dialect.headers);
	struct command command;

	if (session->in.end - session->in.start < header)
		return false;
	if (command_parse(session->in.bytes + session->in.start, session->dialect.headers, &command)) {
		session_kill(session, CLOSE_request_magic);
		return false;
	}
	if (command.type == NBD_CMD_DISC) {
		session_finish(session, CLOSE_disconnect);
		return false;
	}
	if (is_payload_excessive(session, &command)) {
		session_kill(session, CLOSE_payload_length);
		return false;
	}
	wanted = data_wanted(session, &command);
	if (!has_room(session, wanted)) {
		session->in.stalled = true;
		return false;
	}
	if (!has_turn(session, wanted)) {
		session->in.stalled = true;
		if (session->on_disk == 0)
			yield(session);
		return false;
	}
	if (has_to_yield(session)) {
		session->in.stalled = session->in.yielded = true;
		yield(session);
		return false;
	}
	session->in.start += header;
	return begin(session, &command, wanted);
}

/* Returns whether the payload is complete. */
static bool take_payload(struct session *session)
{
	struct request *request = session->in.request;
	size_t here = session->in.end - session->in.start;

	if (here > session->in.rest)
		here = session->in.rest;
	if (request->buffer && here > 0)
		memcpy(session_payload_rest(session), session->in.bytes + session->in.start, here);
	session->in.start += here;
	session->in.rest -= (uint32_t)here;
	if (session->in.rest > 0)
		return false;
	session->in.request = NULL;
	session_start(session, request);
	return true;
}

static enum close_reason reason_of(int error)
{
	switch (error) {
	case -EPROTO:
		return CLOSE_tls_broken;
	case -EKEYREJECTED:
		return CLOSE_tls_key;
	default:
		return CLOSE_broken;
	}
}

/* The client hung up: what it asked before is still carried out and answered. */
static void take_end(struct session *session)
{
	bool in_order = session->in.start == session->in.end && !session->in.request;

	if (session->in.ended != -ENODATA)
		session_kill(session, reason_of(session->in.ended));
	else
		session_finish(session, in_order ? CLOSE_hangup : CLOSE_cut_off);
}

void session_take_requests(struct session *session)
{
	bool goes_on = true;

	/* While a receive is armed, the payload it brings is not ours to touch. */
	if (session->in.armed)
		return;
	if (!session->in.yielded)
		session->turn_bytes = 0;
	session->turn_requests = 0;
	session->in.stalled = session->in.yielded = false;
	while (goes_on && session->state == SESSION_OPEN) {
		goes_on = session->in.request ? take_payload(session) : take_header(session);
		if (!goes_on && session->tls && session->state == SESSION_OPEN && !session->in.stalled)
			goes_on = session_decrypt(session);
	}
	if (session->state == SESSION_OPEN && session->in.ended && !session->in.stalled)
		take_end(session);
}
