/* cache/uring.c -- a ring, its turns, and its mailbox. */
#include "cache/uring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "conf/container.h"

static void watch_mailbox(struct uring *uring)
{
	struct io_uring_sqe *sqe = uring_sqe(uring, &uring->on_mail);

	io_uring_prep_poll_multishot(sqe, uring->mailbox.fd, POLLIN);
}

static void on_mail(struct uring_op *op, int result, unsigned flags)
{
	struct uring *uring = container_of(op, struct uring, on_mail);

	(void)result;
	/* The kernel may end a multishot poll at any time; watch again before the drain, so that no letter is missed. */
	if (!(flags & IORING_CQE_F_MORE) && !uring->stopping)
		watch_mailbox(uring);
	mailbox_drain(&uring->mailbox);
}

int uring_init(struct uring *uring)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
			 IORING_SETUP_SUBMIT_ALL,
		.cq_entries = URING_CQ_ENTRIES,
	};
	int error = mailbox_init(&uring->mailbox);

	if (error)
		return error;
	error = io_uring_queue_init_params(URING_ENTRIES, &uring->ring, &params);
	if (error) {
		mailbox_fini(&uring->mailbox);
		return error;
	}
	uring->first_task = NULL;
	uring->last_task = &uring->first_task;
	uring->first_later = NULL;
	uring->last_later = &uring->first_later;
	uring->begun = uring->burst = 0;
	uring->turns = 0;
	uring->owner = pthread_self();
	uring->stopping = false;
	uring->on_mail.done = on_mail;
	watch_mailbox(uring);
	return 0;
}

void uring_fini(struct uring *uring)
{
	io_uring_queue_exit(&uring->ring);
	mailbox_fini(&uring->mailbox);
}

static void run_tasks(struct uring *uring)
{
	struct uring_task *task;

	*uring->last_task = uring->first_later;
	if (uring->first_later)
		uring->last_task = uring->last_later;
	uring->first_later = NULL;
	uring->last_later = &uring->first_later;
	while ((task = uring->first_task)) {
		uring->first_task = task->next;
		if (!uring->first_task)
			uring->last_task = &uring->first_task;
		task->queued = false;
		task->run(task);
	}
}

static void count_burst(struct uring *uring)
{
	if (uring->begun == 0)
		return;
	uring->burst = uring->begun;
	uring->begun = 0;
}

/* Hands over what was prepared, and sleeps until there is something to do. */
static int submit(struct uring *uring)
{
	/* A task may have stopped us: then nothing more will complete. */
	if (uring->first_later || uring->stopping)
		return io_uring_submit_and_get_events(&uring->ring);
	return io_uring_submit_and_wait(&uring->ring, 1);
}

static void handle_completions(struct uring *uring)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	io_uring_for_each_cqe(&uring->ring, head, cqe)
	{
		struct uring_op *op = io_uring_cqe_get_data(cqe);

		count++;
		op->done(op, cqe->res, cqe->flags);
	}
	io_uring_cq_advance(&uring->ring, count);
}

void uring_run(struct uring *uring)
{
	uring_assert_mine(uring);
	while (!uring->stopping) {
		int result;

		uring->turns++;
		run_tasks(uring);
		count_burst(uring);
		result = submit(uring);
		assert(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
		handle_completions(uring);
	}
}

void uring_stop(struct uring *uring)
{
	uring_assert_mine(uring);
	uring->stopping = true;
}

static void submit_now(struct uring *uring)
{
	int result = io_uring_submit(&uring->ring);

	assert(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
}

struct io_uring_sqe *uring_sqe(struct uring *uring, struct uring_op *op)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&uring->ring)))
		submit_now(uring);
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

void uring_reserve(struct uring *uring, unsigned count)
{
	assert(count <= URING_ENTRIES);
	while (io_uring_sq_space_left(&uring->ring) < count)
		submit_now(uring);
}

static void add_task(struct uring_task ***last, struct uring_task *task)
{
	task->queued = true;
	task->next = NULL;
	**last = task;
	*last = &task->next;
}

void uring_defer(struct uring *uring, struct uring_task *task)
{
	if (!task->queued)
		add_task(&uring->last_task, task);
}

void uring_yield(struct uring *uring, struct uring_task *task)
{
	assert(!task->queued);
	add_task(&uring->last_later, task);
}

void uring_post(struct uring *uring, struct mail *mail)
{
	mailbox_post(&uring->mailbox, mail);
}

void uring_assert_mine(const struct uring *uring)
{
	assert(pthread_equal(uring->owner, pthread_self()));
}
