/* server/session.c -- a session's birth, turns and end: S4. */
#include "server/session_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "server/survey.h"

void session_wake(struct session *session)
{
	uring_defer(&session->worker->ring, &session->turn);
}

static bool is_idle(const struct session *session)
{
	return !session->in.armed && !session->out.armed && !session->cancelling && !session->claiming &&
	       session->on_disk == 0 && !session_has_faults(session) && !session->turn.queued &&
	       !session->out.left.queued;
}

static void session_free(struct session *session)
{
	struct worker *worker = session->worker;

	assert(session->requests == 0 && session->bytes == 0 && session->credit == 0);
	if (session->next)
		session->next->link = session->link;
	*session->link = session->next;
	if (worker->last == session)
		worker->last = NULL;
	close(session->fd);
	atomic_fetch_sub_explicit(&session->export->connections, 1, memory_order_relaxed);
	export_put(session->export);
	origin_leave(session->origin);
	tls_stream_free(session->tls);
	identity_fini(&session->who);
	session_receive_fini(session);
	free(session);
	worker_lose(worker);
}

/* The end of the worker's turn: once for all that happened in it. Replies go first, then what finished at once. */
static void session_turn(struct uring_task *task)
{
	struct session *session = container_of(task, struct session, turn);

	if (!session->in.yielded)
		session_send_replies(session);
	if (session->state == SESSION_OPEN)
		session_take_requests(session);
	if (!session->in.yielded)
		session_send_replies(session);
	session_receive(session);
	session_settle(session);
	if (session_awaits_quiet_send(session))
		uring_hurry(&session->worker->ring);
	if (session->state == SESSION_DYING && is_idle(session))
		session_free(session);
}

static void on_arrival(struct mail *mail)
{
	struct session *session = container_of(mail, struct session, arrival);
	struct worker *worker = session->worker;

	session->next = worker->sessions;
	session->link = &worker->sessions;
	if (session->next)
		session->next->link = &session->next;
	worker->sessions = session;
	log_debug("%s: serves export '%s'", session->peer, session->export->spec.name);
	session_receive_begin(session);
	session_wake(session);
	worker_gain(worker, session);
}

struct session *session_new(int fd, struct export *export, struct dialect dialect, const char *peer,
	const uint8_t *early, size_t early_length)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		goto close_fd;
	session->fd = fd;
	if (!session_receive_init(session, early, early_length))
		goto free_session;
	session->export = export;
	atomic_fetch_add_explicit(&export->connections, 1, memory_order_relaxed);
	session->since = time(NULL);
	session->dialect = dialect;
	session->turn.run = session_turn;
	session->arrival.read = on_arrival;
	session_memory_init(session);
	session_send_init(session);
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
	return session;
free_session:
	free(session);
close_fd:
	close(fd);
	return NULL;
}

void session_secure(struct session *session, struct tls_stream *stream)
{
	session->tls = stream;
}

void session_secure_by_kernel(struct session *session)
{
	session->tls_by_kernel = true;
}

void session_belong(struct session *session, struct origin *origin)
{
	session->origin = origin;
}

void session_identify(struct session *session, struct identity *who, uint64_t number)
{
	session->who = *who;
	*who = (struct identity){ 0 };
	session->number = number;
}

void session_descend(struct session *session, const struct lineage *lineage)
{
	session->lineage = *lineage;
}

void session_hand_over(struct session *session, struct worker *worker)
{
	session->worker = worker;
	session->claim.ring = &worker->ring;
	atomic_fetch_add_explicit(&worker->load, 1, memory_order_relaxed);
	uring_post(&worker->ring, &session->arrival);
}

bool session_describe(const struct session *session, struct survey_entry *out)
{
	out->export = strdup(session->export->spec.name);
	snprintf(out->peer, sizeof(out->peer), "%s", session->peer);
	out->number = session->number;
	out->since = session->since;
	return out->export != NULL;
}

struct session *session_next(const struct session *session)
{
	return session->next;
}

const struct export *session_export(const struct session *session)
{
	return session->export;
}

const struct lineage *session_lineage(const struct session *session)
{
	return &session->lineage;
}
