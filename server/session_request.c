/* server/session_request.c -- one request of a session: to the disk, and back with its answer. */
#include "server/session_parts.h"

#include <errno.h>

#include "server/command.h"
#include "server/extents.h"
#include "server/reply.h"

static void drop_data(struct session *session, struct request *request)
{
	if (!request->buffer)
		return;
	buffer_put(&session->worker->buffers, request->buffer);
	request->buffer = NULL;
	session->bytes -= buffer_size(request->held);
}

void session_release(struct session *session, struct request *request)
{
	drop_data(session, request);
	request_put(&session->worker->requests, request);
	session->requests--;
}

void session_release_all(struct session *session, struct request_list *list)
{
	struct request *request;

	while ((request = request_list_take(list)))
		session_release(session, request);
}

void session_answer(struct session *session, struct request *request, int status)
{
	request->stage = REQUEST_REPLYING;
	request->status = status;
	if (session->state == SESSION_DYING) {
		session_release(session, request);
		return;
	}
	if (!reply_has_data(request))
		drop_data(session, request);
	outbox_add(&session->out.box, request);
}

int session_status_of(struct session *session, struct request *request, int status)
{
	/* "The server SHOULD NOT return NBD_ENOTSUP except [for] NBD_CMD_FLAG_FAST_ZERO". */
	if (status == -ENOTSUP && !(request->command.flags & NBD_CMD_FLAG_FAST_ZERO))
		status = -EIO;
	if (status == 0 && request->block.op == BLOCK_STATUS)
		extents_encode(&request->block, session->dialect.headers);
	return status;
}

static void finish_on_disk(struct session *session, struct request *request, int status)
{
	session->on_disk--;
	session_answer(session, request, session_status_of(session, request, status));
}

static void on_done(struct block_req *block, int status)
{
	struct request *request = request_of(block);
	struct session *session = request->session;

	finish_on_disk(session, request, status);
	session_wake(session);
}

void session_prepare_block(struct session *session, struct request *request)
{
	struct block_req *block = &request->block;

	block->ring = &session->worker->ring;
	block->iov = &request->iov;
	block->iov_count = 0;
	if (block->op == BLOCK_STATUS) {
		block->extents.list = (struct block_extent *)buffer_data(request->buffer);
		block->extents.max = (unsigned)(request->held / sizeof(struct block_extent));
	} else if (request->buffer) {
		request->iov = (struct iovec){ buffer_data(request->buffer), request->held };
		block->iov_count = 1;
	}
}

int session_submit_block(struct session *session, struct request *request)
{
	struct block_req *block = &request->block;
	struct disk *disk = session->export->disk;

	return block->op == BLOCK_STATUS ? disk_status(disk, block) : disk_submit(disk, block);
}

static void submit(struct session *session, struct request *request)
{
	int status;

	request->stage = REQUEST_ON_DISK;
	session->on_disk++;
	session_prepare_block(session, request);
	request->block.done = on_done;
	status = session_submit_block(session, request);
	if (status != DISK_PENDING)
		finish_on_disk(session, request, status);
}

/* Returns whether there is anything to be asked of the disk. */
static bool take_contexts(struct session *session, struct request *request)
{
	request->contexts = session->dialect.contexts;
	if (command_names_contexts(&request->command))
		request->status = command_check_contexts(&request->command, &session->export->disk->facts,
			session->dialect, buffer_data(request->buffer), &request->block, &request->contexts,
			&request->why);
	request->status_length = request->block.length;
	return request->contexts & META_BIT(META_ALLOCATION);
}

void session_start(struct session *session, struct request *request)
{
	bool asks = true;

	if (request->status == 0 && request->block.op == BLOCK_STATUS)
		asks = take_contexts(session, request);
	if (request->status || !asks)
		session_answer(session, request, request->status);
	else if (!fault_set_is_armed(&session->export->faults) || !session_meet_faults(session, request))
		submit(session, request);
}
