/* server/session_faults.c -- one request to which fault rules do something: an injection goes with it, from the moment it is
 * judged until its reply is in the outbox.
 *
 *   WAITING --time--> [KEEPING --old bytes read-->] ON_DISK --done--> answered, at once or after:
 *                                                               |---> HELD --released-->
 *                                                               |---> OVERTAKEN --another reply, or time--> SPENT
 *                                                               \---> RAW --its turn--> SENDING --sent-->
 *
 * I1  An injection is freed only when its timer is not in the ring.
 * I2  When the session dies, what waits is not carried out, but for ghosts: those are all that reaches the disk later. When it is
 *     expelled, those do not either, nor does it wait for them.
 * I3  Nothing here waits in the worker: time is the ring's. */
#include "server/session_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "conf/container.h"
#include "server/extents.h"
#include "server/fault.h"
#include "server/fault_reply.h"

enum injection_stage {
	INJECTION_WAITING,
	INJECTION_KEEPING,
	INJECTION_ON_DISK,
	INJECTION_HELD,
	INJECTION_RAW,
	INJECTION_SENDING, /* its bytes are the ring's */
	INJECTION_OVERTAKEN,
	INJECTION_SPENT, /* the request has gone, the timer has not */
};

struct injection {
	struct injection *next, **link; /* in the session's list */
	struct session *session;	/* borrowed: outlives it */
	struct request *request;	/* borrowed: ours meanwhile, but in SPENT */
	enum injection_stage stage;
	struct fault_verdict verdict;
	int status; /* HELD, OVERTAKEN */
	struct uring_op timer;
	struct __kernel_timespec time;
	struct raw_reply *raw; /* owned; RAW, SENDING */
	/* KEEPING */
	struct block_req old;
	struct iovec old_iov;
	uint8_t *old_bytes; /* owned */
	uint64_t old_from, old_to;
};

static void on_timer(struct uring_op *op, int result, unsigned flags);

static struct injection *injection_new(
	struct session *session, struct request *request, const struct fault_verdict *verdict)
{
	struct injection *injection = calloc(1, sizeof(*injection));

	if (!injection)
		return NULL;
	injection->session = session;
	injection->request = request;
	injection->timer.done = on_timer;
	injection->verdict = *verdict;
	injection->next = session->faults.first;
	injection->link = &session->faults.first;
	if (injection->next)
		injection->next->link = &injection->next;
	session->faults.first = injection;
	request->injection = injection;
	return injection;
}

static void injection_free(struct injection *injection)
{
	if (injection->next)
		injection->next->link = injection->link;
	*injection->link = injection->next;
	session_wake(injection->session);
	free(injection->old_bytes);
	free(injection->raw);
	free(injection);
}

static bool is_ghost(const struct injection *injection)
{
	return injection->verdict.data.action == FAULT_DO_ghost;
}

/* Time. */

static void start_timer(struct injection *injection, uint64_t ns)
{
	injection->time.tv_sec = (long long)(ns / 1000000000u);
	injection->time.tv_nsec = (long long)(ns % 1000000000u);
	io_uring_prep_timeout(
		uring_sqe(&injection->session->worker->ring, &injection->timer), &injection->time, 0, 0);
}

static void on_nothing(struct uring_op *op, int result, unsigned flags)
{
	(void)op;
	(void)result;
	(void)flags;
}

/* It fires at once. Where it has fired already, that is on its way, and nothing else happens. */
static void cut_timer(struct injection *injection)
{
	static struct uring_op nothing = { .done = on_nothing };

	io_uring_prep_timeout_remove(
		uring_sqe(&injection->session->worker->ring, &nothing), (uintptr_t)&injection->timer, 0);
}

/* The reply. */

static void answer(struct injection *injection)
{
	session_answer(injection->session, injection->request, injection->status);
}

static void overtaken(struct injection *injection)
{
	injection->session->faults.overtaken--;
	answer(injection);
}

/* The reply goes ahead of its timer. */
static void spend(struct injection *injection)
{
	overtaken(injection);
	injection->request = NULL;
	injection->stage = INJECTION_SPENT;
	cut_timer(injection);
}

static void overtake(struct session *session)
{
	for (struct injection *injection = session->faults.first; injection; injection = injection->next)
		if (injection->stage == INJECTION_OVERTAKEN)
			spend(injection);
}

/* The reply has left, or never will. */
static void forget(struct injection *injection)
{
	session_release(injection->session, injection->request);
	injection_free(injection);
}

/* As bytes that are broken. */
static void answer_raw(struct injection *injection)
{
	struct session *session = injection->session;
	struct request *request = injection->request;

	request->stage = REQUEST_REPLYING;
	request->status = injection->status;
	if (session->state != SESSION_DYING)
		injection->raw =
			fault_reply_new(&injection->verdict.reply, request, session->dialect.headers);
	if (injection->raw && injection->raw->length > 0) {
		injection->stage = INJECTION_RAW;
		session_wake(session);
		return;
	}
	if (session->state != SESSION_DYING)
		session_kill(session, injection->raw ? CLOSE_fault : CLOSE_memory);
	forget(injection);
}

static struct injection *find(struct session *session, enum injection_stage stage)
{
	struct injection *found = NULL;

	/* The last of the list is the oldest. */
	for (struct injection *injection = session->faults.first; injection; injection = injection->next)
		if (injection->stage == stage)
			found = injection;
	return found;
}

bool session_pack_odd(struct session *session)
{
	struct outbox *box = &session->out.box;
	struct injection *injection;
	struct raw_reply *raw;

	if (session->faults.overtaken > 0 && outbox_is_waiting(box))
		overtake(session);
	/* Not amid the pieces of another. */
	injection = box->begun == 0 ? find(session, INJECTION_RAW) : NULL;
	if (!injection)
		return false;
	raw = injection->raw;
	raw->iov[0] = raw->iov[1] = (struct iovec){ raw->bytes, raw->length };
	outbox_pack_raw(box, raw->iov, raw->copies);
	injection->stage = INJECTION_SENDING;
	return true;
}

void session_odd_sent(struct session *session)
{
	struct injection *injection = find(session, INJECTION_SENDING);

	if (!injection)
		return;
	if (injection->raw->ends && session->state != SESSION_DYING)
		session_kill(session, CLOSE_fault); /* which forgets it */
	else
		forget(injection);
}

/* A worker that drains waits for nobody. */
static bool is_held(const struct injection *injection)
{
	const struct session *session = injection->session;

	return session->state != SESSION_DYING && !session->worker->draining &&
	       fault_set_holds(
		       &session->export->faults, injection->verdict.reply.id, injection->verdict.ticket);
}

static void reply(struct injection *injection, int status)
{
	struct session *session = injection->session;
	enum fault_action action = injection->verdict.reply.action;

	injection->status = status;
	if (action == FAULT_DO_hold && is_held(injection)) {
		injection->stage = INJECTION_HELD;
		return;
	}
	if (action == FAULT_DO_reorder && session->state != SESSION_DYING && !session->worker->draining) {
		injection->stage = INJECTION_OVERTAKEN;
		session->faults.overtaken++;
		start_timer(injection, FAULT_REORDER_MS * UINT64_C(1000000));
		return;
	}
	if (fault_reply_changes(action)) {
		answer_raw(injection);
	} else {
		answer(injection);
		injection_free(injection);
	}
}

/* The disk. */

static struct injection *injection_of(struct block_req *block)
{
	return request_of(block)->injection;
}

static void on_sector(struct block_req *block, int status)
{
	struct injection *injection = injection_of(block);

	(void)status; /* what was read before is as good, then */
	session_wake(injection->session);
	reply(injection, 0);
}

/* Overwrite one sector of what was read with one of another place. */
static void ask_sector(struct injection *injection)
{
	struct request *request = injection->request;
	struct block_req *block = &request->block;
	const struct command *command = &request->command;
	uint64_t other, length;
	uint64_t here = fault_data_sector(&injection->verdict.data, &injection->session->export->disk->facts,
		command->offset, command->length, &other, &length);

	request->iov = (struct iovec){ buffer_data(request->buffer) + here, length };
	block->iov = &request->iov;
	block->iov_count = 1;
	block->flags = 0;
	block->offset = other;
	block->length = length;
	block->done = on_sector;
	disk_finish(block, session_submit_block(injection->session, request));
}

static void asked(struct injection *injection, int status)
{
	struct session *session = injection->session;
	struct request *request = injection->request;
	const struct fault_effect *effect = &injection->verdict.data;
	uint8_t *data = request->buffer ? buffer_data(request->buffer) : NULL;

	status = session_status_of(session, request, status);
	if (status == 0 && effect->action == FAULT_DO_corrupt_sector) {
		ask_sector(injection);
		return;
	}
	if (status == 0 && effect->action == FAULT_DO_corrupt_old)
		fault_set_recall(&session->export->faults, effect->id, request->command.offset,
			request->command.length, data);
	reply(injection, fault_data_after(effect, status, data, request->command.length));
}

static void on_asked(struct block_req *block, int status)
{
	struct injection *injection = injection_of(block);

	session_wake(injection->session);
	asked(injection, status);
}

static void ask(struct injection *injection)
{
	struct session *session = injection->session;
	struct request *request = injection->request;
	int status;

	injection->stage = INJECTION_ON_DISK;
	request->stage = REQUEST_ON_DISK;
	session_prepare_block(session, request);
	request->block.done = on_asked;
	status = fault_data_before(&injection->verdict.data, &session->export->disk->facts, &request->block);
	if (status != FAULT_ASK_DISK) {
		reply(injection, status);
		return;
	}
	status = session_submit_block(session, request);
	if (status != DISK_PENDING)
		asked(injection, status);
}

/* Old bytes. */

static void on_kept(struct block_req *old, int status)
{
	struct injection *injection = container_of(old, struct injection, old);

	if (status == 0)
		fault_set_keep(&injection->session->export->faults, injection->old_from, injection->old_to,
			injection->old_bytes);
	free(injection->old_bytes);
	injection->old_bytes = NULL;
	session_wake(injection->session);
	ask(injection);
}

/* Read what a change is about to overwrite. Returns whether that is under way. */
static bool keep_old(struct injection *injection)
{
	struct session *session = injection->session;
	struct block_req *block = &injection->request->block, *old = &injection->old;
	struct disk *disk = session->export->disk;
	uint64_t from, to;

	if (!injection->verdict.keeps || !fault_set_keeps(&session->export->faults, &disk->facts,
						 block->offset, block->length, &from, &to))
		return false;
	injection->old_bytes = malloc(to - from);
	if (!injection->old_bytes)
		return false;
	injection->stage = INJECTION_KEEPING;
	injection->old_from = from;
	injection->old_to = to;
	injection->old_iov = (struct iovec){ injection->old_bytes, to - from };
	*old = (struct block_req){
		.op = BLOCK_READ,
		.offset = from,
		.length = to - from,
		.iov = &injection->old_iov,
		.iov_count = 1,
		.done = on_kept,
		.ring = &session->worker->ring,
	};
	disk_finish(old, disk_submit(disk, old));
	return true;
}

/* After its time. */
static void go_on(struct injection *injection)
{
	struct session *session = injection->session;

	if (session->state == SESSION_DYING && (!is_ghost(injection) || session->faults.banned)) { /* I2 */
		session_answer(session, injection->request, -ESHUTDOWN);
		injection_free(injection);
		return;
	}
	if (!keep_old(injection))
		ask(injection);
}

static void on_timer(struct uring_op *op, int result, unsigned flags)
{
	struct injection *injection = container_of(op, struct injection, timer);

	(void)result;
	(void)flags;
	switch (injection->stage) {
	case INJECTION_WAITING:
		go_on(injection);
		return;
	case INJECTION_OVERTAKEN:
		overtaken(injection);
		break;
	default:
		assert(injection->stage == INJECTION_SPENT);
		break;
	}
	injection_free(injection);
}

/* The beginning. */

static enum fault_operation operation_of(enum block_op op)
{
	static const enum fault_operation rows[BLOCK_OPS] = {
		[BLOCK_READ] = FAULT_ON_read,
		[BLOCK_WRITE] = FAULT_ON_write,
		[BLOCK_FLUSH] = FAULT_ON_flush,
		[BLOCK_TRIM] = FAULT_ON_trim,
		[BLOCK_ZERO] = FAULT_ON_zero,
		[BLOCK_CACHE] = FAULT_ON_cache,
		[BLOCK_STATUS] = FAULT_ON_status,
	};

	return rows[op];
}

/* Returns whether anything is to be done. */
static bool judge(struct session *session, const struct request *request, struct fault_verdict *out)
{
	const struct block_req *block = &request->block;
	const struct fault_event event = {
		.operation = operation_of(block->op),
		.offset = block->op == BLOCK_FLUSH ? 0 : block->offset,
		.length = block->op == BLOCK_FLUSH ? 0 : block->length,
		.cookie = request->command.cookie,
		.peer = session->peer,
		.who = &session->who,
		.connection = session->number,
		.now_ns = fault_now_ns(),
	};

	return fault_set_judge(&session->export->faults, &event, &session->export->disk->facts, block, out);
}

/* The connection is dead, as its client sees it, and yet: */
static void haunt(struct injection *injection)
{
	struct session *session = injection->session;

	injection->stage = INJECTION_WAITING;
	start_timer(injection, injection->verdict.delay_ns + injection->verdict.data.arguments[0]);
	shutdown(session->fd, SHUT_RDWR);
	session_kill(session, CLOSE_fault);
}

static void inject(struct injection *injection)
{
	if (is_ghost(injection)) {
		haunt(injection);
	} else if (injection->verdict.delay_ns > 0) {
		injection->stage = INJECTION_WAITING;
		start_timer(injection, injection->verdict.delay_ns);
	} else {
		go_on(injection);
	}
}

bool session_meet_faults(struct session *session, struct request *request)
{
	struct fault_verdict verdict;
	struct injection *injection;

	if (!judge(session, request, &verdict))
		return false;
	if (verdict.data.action == FAULT_DO_blackhole) {
		session_release(session, request);
		return true;
	}
	injection = injection_new(session, request, &verdict);
	if (injection) {
		inject(injection);
	} else {
		session_release(session, request);
		session_kill(session, CLOSE_memory);
	}
	return true;
}

/* What others do to it. */

static void let_go(struct injection *injection)
{
	answer(injection);
	injection_free(injection);
}

void session_faults_die(struct session *session)
{
	struct injection *next;

	for (struct injection *injection = session->faults.first; injection; injection = next) {
		next = injection->next;
		if (injection->stage == INJECTION_HELD)
			let_go(injection);
		else if (injection->stage == INJECTION_OVERTAKEN)
			spend(injection);
		else if (injection->stage == INJECTION_RAW ||
			 (injection->stage == INJECTION_SENDING && !session->out.armed))
			forget(injection);
		else if (injection->stage == INJECTION_WAITING && !is_ghost(injection))
			cut_timer(injection);
	}
}

void session_ban_ghosts(struct session *session)
{
	session->faults.banned = true;
	for (struct injection *injection = session->faults.first; injection; injection = injection->next)
		if (injection->stage == INJECTION_WAITING)
			cut_timer(injection);
}

/* Whether the rule that makes it wait has gone. */
static bool waits_for_nothing(const struct injection *injection)
{
	return !is_ghost(injection) && injection->verdict.delay_id &&
	       !fault_set_holds(&injection->session->export->faults, injection->verdict.delay_id, UINT64_MAX);
}

void session_look_at_faults(struct session *session)
{
	bool draining = session->worker->draining;
	struct injection *next;

	for (struct injection *injection = session->faults.first; injection; injection = next) {
		next = injection->next;
		if (injection->stage == INJECTION_HELD && !is_held(injection))
			let_go(injection);
		else if (injection->stage == INJECTION_OVERTAKEN && draining)
			spend(injection);
		else if (injection->stage == INJECTION_WAITING && (draining || waits_for_nothing(injection)))
			cut_timer(injection);
	}
}
