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

static void clear(struct uring_tasks *tasks)
{
	tasks->first = NULL;
	tasks->last = &tasks->first;
}

static void add(struct uring_tasks *tasks, struct uring_task *task)
{
	task->queued = true;
	task->next = NULL;
	*tasks->last = task;
	tasks->last = &task->next;
}

/* All of @from behind what @tasks has. */
static void append(struct uring_tasks *tasks, struct uring_tasks *from)
{
	if (!from->first)
		return;
	*tasks->last = from->first;
	tasks->last = from->last;
	clear(from);
}

/* Those that they add, too. */
static void run(struct uring_tasks *tasks)
{
	struct uring_task *task;

	while ((task = tasks->first)) {
		tasks->first = task->next;
		if (!tasks->first)
			tasks->last = &tasks->first;
		task->queued = false;
		task->run(task);
	}
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
	clear(&uring->now);
	clear(&uring->later);
	clear(&uring->after);
	uring->hurried = false;
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
	if (uring->hurried || uring->later.first || uring->stopping)
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
		append(&uring->now, &uring->later);
		run(&uring->now);
		count_burst(uring);
		result = submit(uring);
		assert(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
		handle_completions(uring);
		/* The kernel may have taken a part only, for want of memory. */
		if (io_uring_sq_ready(&uring->ring) > 0)
			continue;
		uring->hurried = false;
		run(&uring->after);
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

void uring_defer(struct uring *uring, struct uring_task *task)
{
	if (!task->queued)
		add(&uring->now, task);
}

void uring_yield(struct uring *uring, struct uring_task *task)
{
	assert(!task->queued);
	add(&uring->later, task);
}

void uring_follow(struct uring *uring, struct uring_task *task)
{
	assert(!task->queued);
	add(&uring->after, task);
}

void uring_hurry(struct uring *uring)
{
	uring->hurried = true;
}

void uring_post(struct uring *uring, struct mail *mail)
{
	mailbox_post(&uring->mailbox, mail);
}

void uring_assert_mine(const struct uring *uring)
{
	assert(pthread_equal(uring->owner, pthread_self()));
}
