/* virtio/blk_queue.c -- the turn of a queue: take, submit, publish, call.
 *
 * All work on the ring is done once a turn of the loop: what came in since, kicks and
 * completions, costs one used index and at most one call together. While there is work the loop does not sleep.
 *
 * Q1  Requests in flight never exceed the ring's size: the ring checks it (S1), and the pool is as large.
 * Q2  A request holds the memory snapshot its addresses are in; the queue holds the one the ring is in.
 * Q3  What was written to a chain's buffers is logged before the chain is given back.
 * Q4  A queue is stopped only when nothing is in flight and everything given back is published. What is left to the
 *     record counts as neither.
 */
#include "virtio/blk_queue_state.h"

#include <assert.h>
#include <stdlib.h>

#include "conf/container.h"
#include "conf/log_limit.h"
#include "virtio/foreign_memory.h"
#include "virtio/notifier.h"

/* Chains taken in one turn before completions and other queues of the thread get theirs. */
#define TURN_CHAINS_MAX 128u

/* Between two looks at a ring without kicks, if nothing else wakes its thread: the shortest that libev waits, and seldom
 * enough not to be noticed where many such rings are idle. */
#define POLL_S 0.001

/* A guest may spoil requests, or reset a device and break its ring, as often as it likes. */
#define BAD_LINES_PER_S 10

static struct log_limit bad_lines =
	LOG_LIMIT(BAD_LINES_PER_S, "more spoilt requests and broken rings than this log tells");

struct memory_hold *memory_hold_new(struct guest_memory *memory)
{
	struct memory_hold *hold = malloc(sizeof(*hold));

	if (hold)
		*hold = (struct memory_hold){ .memory = guest_memory_get(memory), .users = 1 };
	return hold;
}

void memory_hold_put(struct memory_hold *hold)
{
	if (--hold->users)
		return;
	guest_memory_put(hold->memory);
	free(hold);
}

static void queue_wake(struct blk_queue *queue)
{
	if (!queue->awake)
		loop_stay_awake(queue->thread.loop);
	queue->awake = true;
}

void blk_queue_rest(struct blk_queue *queue)
{
	if (queue->awake)
		loop_may_sleep(queue->thread.loop);
	queue->awake = false;
}

void blk_queue_call(const struct blk_queue *queue)
{
	if (queue->call_by)
		queue->call_by(queue->call, queue->index);
	else
		notifier_signal(queue->call, queue->call_blocks);
}

static struct blk_request *request_of(struct block_req *block)
{
	struct blk_request *request = container_of(block, struct blk_request, block);

	assert(request->magic == BLK_REQUEST_MAGIC);
	return request;
}

static void request_free(struct blk_request *request)
{
	struct blk_queue *queue = request->queue;

	request->stage = BLK_REQUEST_FREE;
	request->next_free = queue->free;
	queue->free = request;
}

static void request_forget(struct blk_request *request)
{
	struct blk_queue *queue = request->queue;

	memory_hold_put(request->hold);
	queue->in_flight--;
	request_free(request);
	/* Where this comes from the disk in the loop's last moment before it sleeps, the turn is over already. */
	queue_wake(queue);
}

static void request_end(struct blk_request *request, int error)
{
	struct blk_queue *queue = request->queue;
	uint32_t filled = blk_request_finish(request, error);

	if (__builtin_expect(queue->logs_data, 0))
		blk_request_log(request, request->hold->memory, queue->log); /* Q3 */
	vring_give(&queue->ring, request->chain.id, filled);
	request_forget(request);
}

/* Ask the disk for one thing after the other, until it says that it will answer later. What is to be left has nothing
 * more begun: who finds it in the record begins anew. */
static void request_go_on(struct blk_request *request)
{
	struct blk_queue *queue = request->queue;
	struct block_req *block = &request->block;

	while (blk_request_next(request)) {
		int status;

		if (queue->leaves) {
			request_forget(request);
			return;
		}
		status = disk_check(&queue->blk->facts, block);

		if (status == 0) {
			request->stage = BLK_REQUEST_ON_DISK;
			status = disk_submit(queue->thread.disk, block);
			if (status == DISK_PENDING)
				return;
			request->stage = BLK_REQUEST_PARSED;
		}
		if (status) {
			request_end(request, status);
			return;
		}
	}
	request_end(request, 0);
}

static void on_block_done(struct block_req *block, int status)
{
	struct blk_request *request = request_of(block);

	loop_assert_mine(request->queue->thread.loop);
	assert(request->stage == BLK_REQUEST_ON_DISK);
	request->stage = BLK_REQUEST_PARSED;
	if (status == -ECANCELED && request->queue->leaves)
		request_forget(request);
	else if (status)
		request_end(request, status);
	else
		request_go_on(request);
}

/* A guest can make as many as it likes: the 1st, 2nd, 4th, 8th, ... of them are worth a line. */
static void log_bad_request(struct blk_queue *queue, const struct blk_request *request)
{
	static const char *const words[] = {
		[VRING_CHAIN_SOUND] = "malformed",
		[VRING_CHAIN_UNMAPPED] = "not in the guest's memory",
		[VRING_CHAIN_TOO_LONG] = "in too many pieces",
	};
	unsigned count = ++queue->bad_requests;

	if ((count & (count - 1)) == 0)
		log_limited(&bad_lines, LOG_WARNING,
			"queue %u: %u of the driver's requests so far failed as malformed; this one is %s",
			queue->index, count, words[request->chain.fault]);
}

static void request_begin(struct blk_request *request)
{
	struct blk_queue *queue = request->queue;
	int error;

	request->stage = BLK_REQUEST_PARSED;
	request->hold = queue->hold;
	request->hold->users++;
	queue->in_flight++;
	error = blk_request_parse(request, queue->blk, queue->features);
	if (error == -EPROTO)
		log_bad_request(queue, request);
	if (error)
		request_end(request, error);
	else
		request_go_on(request);
}

/* Its turn is all it is for. */
static void on_poll(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	(void)ev;
	(void)watcher;
	(void)revents;
}

void blk_queue_poll(struct blk_queue *queue, bool polls)
{
	struct loop *loop = queue->thread.loop;

	queue->polls = polls && !queue->ring.broken;
	if (!queue->polls) {
		ev_timer_stop(loop->ev, &queue->on_poll);
		return;
	}
	loop_use_ev(loop);
	ev_timer_start(loop->ev, &queue->on_poll);
}

void blk_queue_break(struct blk_queue *queue)
{
	log_limited(&bad_lines, LOG_ERROR, "queue %u stops, its ring is broken: %s", queue->index,
		queue->ring.broken);
	queue->look = false;
	loop_unwatch(queue->thread.loop, &queue->on_kick);
	blk_queue_poll(queue, false);
	notifier_signal(queue->err, notifier_blocks(queue->err));
	if (queue->broken)
		loop_post(queue->main, &queue->break_mail);
}

void blk_queue_touch(struct blk_queue *queue)
{
	for (unsigned i = 0; i < queue->ring.setup.size; i++) {
		const struct blk_request *request = &queue->pool[i];

		for (unsigned k = 0; request->stage == BLK_REQUEST_ON_DISK && k < request->block.iov_count;
			k++)
			foreign_memory_touch(request->block.iov[k].iov_base, request->block.iov[k].iov_len);
	}
}

static void look_for_losses(struct blk_queue *queue)
{
	unsigned losses = foreign_memory_losses();

	if (__builtin_expect(losses == queue->losses_seen, 1))
		return;
	queue->losses_seen = losses;
	if (!guest_memory_is_lost(queue->hold->memory) && !foreign_memory_is_lost(queue->ring.setup.record))
		return;
	blk_queue_touch(queue);
	if (queue->ring.broken)
		return;
	queue->ring.broken = "the VMM has cut its memory short";
	blk_queue_break(queue);
}

/* With no request free, all that the ring has room for is in flight (Q1): the first that ends looks again. */
static bool queue_may_take(const struct blk_queue *queue)
{
	return queue->look && queue->free && queue->enabled && !queue->unmapped &&
	       queue->state == QUEUE_RUNNING;
}

/* Nothing more to take: look becomes false. */
static void queue_take_one(struct blk_queue *queue)
{
	struct blk_request *request = queue->free;

	switch (vring_take(&queue->ring, &request->chain)) {
	case VRING_TAKEN:
		queue->free = request->next_free;
		request_begin(request);
		break;
	case VRING_EMPTY:
		queue->look = vring_listen(&queue->ring);
		break;
	case VRING_BROKEN:
		blk_queue_break(queue);
		break;
	}
}

static void queue_take(struct blk_queue *queue)
{
	vring_quiet(&queue->ring);
	for (unsigned taken = 0; taken < TURN_CHAINS_MAX && queue_may_take(queue); taken++)
		queue_take_one(queue);
}

void blk_queue_look(struct blk_queue *queue)
{
	queue->look = !queue->ring.broken;
}

static void on_turn(struct loop_turn *turn)
{
	struct blk_queue *queue = container_of(turn, struct blk_queue, on_turn);

	loop_assert_mine(queue->thread.loop);
	if (queue->polls)
		blk_queue_look(queue);
	if (queue_may_take(queue))
		queue_take(queue);
	if (vring_publish(&queue->ring))
		blk_queue_call(queue);
	look_for_losses(queue);
	/* After the turn's last request, so that nothing it staged is left behind. */
	if (queue_may_take(queue))
		queue_wake(queue);
	else
		blk_queue_rest(queue);
	if (queue->state == QUEUE_STOPPING && queue->in_flight == 0)
		blk_queue_stopped(queue);
}

static void kicks_end(struct blk_queue *queue)
{
	log_warning("queue %u: the VMM's kick descriptor can no longer be read: no more kicks", queue->index);
	loop_unwatch(queue->thread.loop, &queue->on_kick);
}

/* Each kick is a new edge: that its eventfd is not read spares a system call. */
static void on_kick(struct loop_source *source, int revents)
{
	struct blk_queue *queue = container_of(source, struct blk_queue, on_kick);

	if (queue->kick_fills)
		notifier_empty(source->fd);
	if (revents & EV_WRITE)
		kicks_end(queue);
	blk_queue_look(queue);
}

/* A VMM that takes a ring back asks its eventfd whether there are kicks left for itself. */
void blk_queue_watch_kick(struct blk_queue *queue, int fd)
{
	if (queue->on_kick.fd >= 0 && !queue->kick_fills)
		notifier_empty(queue->on_kick.fd);
	if (fd >= 0)
		queue->kick_fills = notifier_fills(fd);
	loop_unwatch(queue->thread.loop, &queue->on_kick);
	if (fd >= 0 && !queue->ring.broken &&
		loop_watch(queue->thread.loop, &queue->on_kick, fd, EV_READ, true))
		kicks_end(queue);
}

int blk_queue_fill_pool(struct blk_queue *queue, unsigned size)
{
	queue->free = NULL;
	queue->pool = calloc(size, sizeof(*queue->pool));
	if (!queue->pool)
		return -ENOMEM;
	for (unsigned i = size; i-- > 0;) {
		struct blk_request *request = &queue->pool[i];

		request->magic = BLK_REQUEST_MAGIC;
		request->queue = queue;
		request->chain.iov = request->iov;
		request->chain.iov_max = BLK_REQUEST_IOV_MAX;
		request->block.done = on_block_done;
		request_free(request);
	}
	return 0;
}

void blk_queue_take_again(struct blk_queue *queue)
{
	while (queue_may_take(queue) && vring_has_taken(&queue->ring))
		queue_take_one(queue);
}

void blk_queue_recall_all(struct blk_queue *queue)
{
	for (unsigned i = 0; i < queue->ring.setup.size; i++) {
		struct blk_request *request = &queue->pool[i];

		if (request->stage == BLK_REQUEST_ON_DISK && disk_recall(queue->thread.disk, &request->block))
			request_forget(request);
	}
}

struct blk_queue *blk_queue_new(
	const struct virtio_blk *blk, struct loop *main, const struct queue_thread *thread, unsigned index)
{
	struct blk_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->blk = blk;
	queue->main = main;
	queue->thread = *thread;
	queue->index = index;
	queue->on_kick = (struct loop_source){ .ready = on_kick, .fd = -1 };
	queue->on_turn.run = on_turn;
	ev_timer_init(&queue->on_poll, on_poll, POLL_S, POLL_S);
	return queue;
}

static void on_break(struct mail *mail)
{
	struct blk_queue *queue = container_of(mail, struct blk_queue, break_mail);

	queue->broken(queue->broken_arg);
}

void blk_queue_on_break(struct blk_queue *queue, void (*broken)(void *arg), void *arg)
{
	queue->broken = broken;
	queue->broken_arg = arg;
	queue->break_mail.read = on_break;
}

void blk_queue_free(struct blk_queue *queue)
{
	free(queue);
}
