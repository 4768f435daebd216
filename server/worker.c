/* server/worker.c -- starts, drains and ends a thread of sessions. */
#include "server/worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "conf/container.h"
#include "conf/log.h"
#include "server/expulsion.h"
#include "server/limits.h"
#include "server/session.h"

static void stop_if_idle(struct worker *worker)
{
	if (worker->retiring && !worker->sessions)
		uring_stop(&worker->ring);
}

static void on_retire(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, retire);

	worker->retiring = true;
	stop_if_idle(worker);
}

static void look_at_faults(struct worker *worker)
{
	for (struct session *session = worker->sessions; session; session = session_next(session))
		session_look_at_faults(session);
}

static void on_drain(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, drain);

	worker->retiring = worker->draining = true;
	for (struct session *session = worker->sessions; session; session = session_next(session))
		session_finish(session, CLOSE_shutdown);
	look_at_faults(worker);
	stop_if_idle(worker);
}

static void on_look(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, look);

	atomic_store(&worker->looking, false);
	look_at_faults(worker);
}

static void on_kill(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, kill);

	for (struct session *session = worker->sessions; session; session = session_next(session))
		session_kill(session, CLOSE_drain_deadline);
}

static bool serves(const struct worker *worker, const struct expulsion *expulsion)
{
	for (const struct session *session = worker->sessions; session; session = session_next(session))
		if (expulsion_means(expulsion, session))
			return true;
	return false;
}

/* Answers those whose sessions are gone. */
static void settle_notices(struct worker *worker)
{
	struct notice **link = &worker->notices;

	while (*link) {
		struct notice *notice = *link;

		if (serves(worker, notice->expulsion)) {
			link = &notice->next;
			continue;
		}
		*link = notice->next;
		mailbox_post(notice->expulsion->owner, &notice->obeyed);
	}
}

static void on_notice(struct mail *mail)
{
	struct notice *notice = container_of(mail, struct notice, mail);
	struct worker *worker = notice->worker;

	for (struct session *session = worker->sessions; session; session = session_next(session))
		if (expulsion_means(notice->expulsion, session))
			session_expel(session, notice->expulsion->reason);
	notice->next = worker->notices;
	worker->notices = notice;
	settle_notices(worker);
}

static void on_tick(struct uring_op *op, int result, unsigned flags)
{
	struct worker *worker = container_of(op, struct worker, on_tick);
	bool again = false;

	(void)result;
	(void)flags;
	worker->ticking = false;
	for (struct session *session = worker->sessions; session; session = session_next(session))
		again |= session_tick(session);
	if (again)
		worker_watch(worker);
}

void worker_watch(struct worker *worker)
{
	if (worker->ticking)
		return;
	worker->ticking = true;
	io_uring_prep_timeout(uring_sqe(&worker->ring, &worker->on_tick), &worker->tick, 0, 0);
}

static int init(struct worker *worker)
{
	int error = uring_init(&worker->ring);

	if (error)
		return error;
	error = receive_pool_init(&worker->receives, &worker->ring);
	if (error)
		log_debug("connections hold their receive buffers: %s", strerror(-error));
	buffer_pool_init(&worker->buffers, POOL_BYTES_MAX);
	request_pool_init(&worker->requests, POOL_REQUESTS_MAX);
	return 0;
}

static void *run(void *argument)
{
	struct worker *worker = argument;

	prctl(PR_SET_NAME, "vnbd-worker");
	worker->start_error = init(worker);
	sem_post(&worker->started);
	if (worker->start_error)
		return NULL;
	uring_run(&worker->ring);
	mailbox_post(worker->owner, &worker->ended);
	return NULL;
}

/* Signals are the main thread's. */
static int create_thread(struct worker *worker)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

void worker_prepare(struct worker *worker, struct budget *budget)
{
	*worker = (struct worker){
		.budget = budget,
		.on_tick.done = on_tick,
		.tick.tv_nsec = TICK_MS * 1000000L,
		.retire.read = on_retire,
		.drain.read = on_drain,
		.kill.read = on_kill,
		.look.read = on_look,
	};
}

int worker_start(
	struct worker *worker, struct budget *budget, struct mailbox *owner, void (*ended)(struct mail *mail))
{
	int error;

	worker_prepare(worker, budget);
	worker->owner = owner;
	worker->ended.read = ended;
	sem_init(&worker->started, 0, 0);
	error = create_thread(worker);
	if (!error) {
		while (sem_wait(&worker->started) && errno == EINTR)
			;
		error = worker->start_error;
		if (error)
			pthread_join(worker->thread, NULL);
	}
	sem_destroy(&worker->started);
	return error;
}

void worker_join(struct worker *worker)
{
	pthread_join(worker->thread, NULL);
	request_pool_fini(&worker->requests);
	buffer_pool_fini(&worker->buffers);
	uring_fini(&worker->ring);
	receive_pool_fini(&worker->receives);
}

void worker_retire(struct worker *worker)
{
	uring_post(&worker->ring, &worker->retire);
}

void worker_drain(struct worker *worker)
{
	uring_post(&worker->ring, &worker->drain);
}

void worker_kill(struct worker *worker)
{
	uring_post(&worker->ring, &worker->kill);
}

void worker_expel(struct worker *worker, struct notice *notice)
{
	notice->mail.read = on_notice;
	uring_post(&worker->ring, &notice->mail);
}

void worker_look(struct worker *worker)
{
	if (!atomic_exchange(&worker->looking, true))
		uring_post(&worker->ring, &worker->look);
}

void worker_gain(struct worker *worker, struct session *session)
{
	if (worker->draining)
		session_finish(session, CLOSE_shutdown);
}

void worker_lose(struct worker *worker)
{
	atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
	settle_notices(worker);
	stop_if_idle(worker);
}
