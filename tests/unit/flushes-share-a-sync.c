/* Flushes that wait share one fdatasync, and none joins a sync that had started before it: that one may miss a write
 * that had completed.  If this fails, a guest's fsync is slow, or returns for data that a power cut takes. */
#include "tests/unit/disks.h"

#include "cache/flush.h"

struct waiter {
	struct block_req req;
	struct flush *flush;
	int status;
	uint64_t syncs_done; /* when it completed */
	bool is_last;
};

static void on_flushed(struct block_req *req, int status)
{
	struct waiter *waiter = container_of(req, struct waiter, req);

	waiter->status = status;
	waiter->syncs_done = flush_count(waiter->flush).done;
	if (waiter->is_last)
		uring_stop(req->ring);
}

static void flush_start(struct waiter *waiter, struct flush *flush, struct uring *ring, bool is_last)
{
	*waiter = (struct waiter){
		.req = { .op = BLOCK_FLUSH, .ring = ring, .done = on_flushed },
		.flush = flush,
		.status = 1,
		.is_last = is_last,
	};
	assert_int_equal(flush_submit(flush, &waiter->req), DISK_PENDING);
}

/* Runs behind the flush's own task in the same turn: the sync is on its way by then. */
struct late {
	struct uring_task task;
	struct flush *flush;
	struct uring *ring;
	struct waiter waiters[2];
};

static void on_late(struct uring_task *task)
{
	struct late *late = container_of(task, struct late, task);

	flush_start(&late->waiters[0], late->flush, late->ring, false);
	flush_start(&late->waiters[1], late->flush, late->ring, true);
}

static void a_late_flush_joins_the_next_sync(void **state)
{
	char path[256];
	struct flush flush;
	struct uring ring;
	struct waiter first, second;
	struct late late = { .task.run = on_late, .flush = &flush, .ring = &ring };
	int fd;

	(void)state;
	temporary_file(path, sizeof(path), 4096);
	fd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	assert_int_equal(uring_init(&ring), 0);
	flush_init(&flush, fd, path);
	flush_start(&first, &flush, &ring, false);
	flush_start(&second, &flush, &ring, false);
	uring_defer(&ring, &late.task);
	uring_run(&ring);
	assert_int_equal(first.syncs_done, 1);
	assert_int_equal(second.syncs_done, 1);
	assert_int_equal(late.waiters[0].syncs_done, 2);
	assert_int_equal(late.waiters[1].syncs_done, 2);
	assert_int_equal(first.status | second.status | late.waiters[0].status | late.waiters[1].status, 0);
	assert_int_equal(flush_count(&flush).asked, 4);
	assert_int_equal(flush_count(&flush).done, 2);
	flush_fini(&flush);
	uring_fini(&ring);
	close(fd);
}

enum { THREADS = 4, DEPTH = 8, ROUNDS = 300 };

struct worker {
	pthread_t self;
	struct flush *flush;
	struct uring ring;
	struct worker_flush {
		struct block_req req;
		struct worker *worker;
	} flushes[DEPTH];
	unsigned left, in_flight;
	unsigned failures;
};

static void on_worker_flushed(struct block_req *req, int status)
{
	struct worker *worker = container_of(req, struct worker_flush, req)->worker;

	worker->failures += status != 0 || !pthread_equal(worker->self, pthread_self());
	worker->in_flight--;
	if (worker->left > 0) {
		worker->left--;
		worker->in_flight++;
		worker->failures += flush_submit(worker->flush, req) != DISK_PENDING;
	} else if (worker->in_flight == 0) {
		uring_stop(&worker->ring);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	worker->self = pthread_self();
	worker->failures += uring_init(&worker->ring) != 0;
	worker->left = ROUNDS * DEPTH - DEPTH;
	worker->in_flight = DEPTH;
	for (int i = 0; i < DEPTH; i++) {
		worker->flushes[i].worker = worker;
		worker->flushes[i].req = (struct block_req){
			.op = BLOCK_FLUSH, .ring = &worker->ring, .done = on_worker_flushed
		};
		worker->failures += flush_submit(worker->flush, &worker->flushes[i].req) != DISK_PENDING;
	}
	uring_run(&worker->ring);
	uring_fini(&worker->ring);
	return NULL;
}

static void many_workers(void **state)
{
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];
	char path[256];
	struct flush flush;
	struct flush_counts counts;
	int fd;

	(void)state;
	temporary_file(path, sizeof(path), 4096);
	fd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	flush_init(&flush, fd, path);
	for (int i = 0; i < THREADS; i++) {
		workers[i].flush = &flush;
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(workers[i].failures, 0);
	}
	counts = flush_count(&flush);
	assert_int_equal(counts.asked, THREADS * DEPTH * ROUNDS);
	/* Eight of a thread come together, so eight at least share. */
	assert_in_range(counts.done, ROUNDS, THREADS * ROUNDS * 2);
	flush_fini(&flush);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_late_flush_joins_the_next_sync),
		cmocka_unit_test(many_workers),
	};

	alarm(120); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
