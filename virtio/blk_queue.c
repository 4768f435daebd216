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
 *
 *   STOPPED --start--> RUNNING --stop--> STOPPING --drained--> STOPPED
 */
#include "virtio/blk_queue.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log_limit.h"
#include "virtio/foreign_memory.h"

/* Chains taken in one turn before completions and other queues of the thread get theirs. */
#define TURN_CHAINS_MAX 128u

/* Of a kick descriptor that fills, one behind the other: a pipe's usual 64 KiB. */
#define KICK_READS_MAX 16u

/* Between two looks at a ring without kicks, if nothing else wakes its thread: the shortest that libev waits, and seldom
 * enough not to be noticed where many such rings are idle. */
#define POLL_S 0.001

/* A guest may spoil requests, or reset a device and break its ring, as often as it likes. */
#define BAD_LINES_PER_S 10

static struct log_limit bad_lines =
	LOG_LIMIT(BAD_LINES_PER_S, "more spoilt requests and broken rings than this log tells");

enum queue_state { QUEUE_STOPPED, QUEUE_RUNNING, QUEUE_STOPPING };

/* Not atomic: it stays on the queue's thread. */
struct memory_hold {
	struct guest_memory *memory; /* counted */
	unsigned users;		     /* requests, and the queue while it is the current one */
};

struct blk_queue {
	const struct virtio_blk *blk; /* borrowed: the transport's, which frees us first */
	struct loop *main;	      /* borrowed, likewise */
	struct queue_thread thread;
	unsigned index;

	enum queue_state state;
	bool enabled;
	bool unmapped; /* the VMM's memory is without the ring just now: its next table may have it again */
	bool leaves;   /* STOPPING: what the disk gives back is left to the record */
	bool look;     /* the ring may have chains that we were or shall not be kicked for */
	struct vring ring;
	uint64_t features;
	struct memory_hold *hold;
	struct dirty_log *log; /* counted; NULL: nobody wants to know */
	bool logs_data;
	struct blk_request *pool; /* owned: as many as the ring has entries */
	struct blk_request *free;
	unsigned in_flight;
	unsigned bad_requests; /* for the log */
	unsigned losses_seen;  /* of foreign memory, whoever's */
	int call, err;	       /* borrowed: see struct blk_queue_order */
	bool call_blocks;      /* where its counter is full */
	void (*call_by)(int call, unsigned index);
	struct blk_queue_order *stop; /* the order to answer when drained */

	struct mail break_mail;	   /* a ring breaks once between start and stop: it has been read by then */
	void (*broken)(void *arg); /* NULL: nobody wants to know */
	void *broken_arg;

	struct loop_source on_kick;
	bool kick_fills; /* where nobody reads it: no eventfd */
	bool polls;	 /* there are no kicks */
	ev_timer on_poll;
	struct loop_turn on_turn;
	bool awake; /* the loop does not sleep before the next turn */
};

static struct memory_hold *hold_new(struct guest_memory *memory)
{
	struct memory_hold *hold = malloc(sizeof(*hold));

	if (hold)
		*hold = (struct memory_hold){ .memory = guest_memory_get(memory), .users = 1 };
	return hold;
}

static void hold_put(struct memory_hold *hold)
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

static void queue_rest(struct blk_queue *queue)
{
	if (queue->awake)
		loop_may_sleep(queue->thread.loop);
	queue->awake = false;
}

/* Whether a write may wait for room. To change that is the VMM's right, whose reads it would change, too. */
static bool blocks(int fd)
{
	return fd >= 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static bool has_room(int fd)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	return poll(&room, 1, 0) == 1 && (room.revents & POLLOUT);
}

static void signal_fd(int fd, bool may_block)
{
	uint64_t one = 1;

	/* A full counter or a pipe without a reader: the VMM has been told enough, or is gone. */
	if (fd < 0 || (may_block && !has_room(fd)))
		return;
	if (write(fd, &one, sizeof(one)) < 0)
		log_debug("cannot signal descriptor %d: errno %d", fd, errno);
}

static void call_driver(const struct blk_queue *queue)
{
	if (queue->call_by)
		queue->call_by(queue->call, queue->index);
	else
		signal_fd(queue->call, queue->call_blocks);
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

	hold_put(request->hold);
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

static void use_polling(struct blk_queue *queue, bool polls)
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

static void queue_broken(struct blk_queue *queue)
{
	log_limited(&bad_lines, LOG_ERROR, "queue %u stops, its ring is broken: %s", queue->index,
		queue->ring.broken);
	queue->look = false;
	loop_unwatch(queue->thread.loop, &queue->on_kick);
	use_polling(queue, false);
	signal_fd(queue->err, blocks(queue->err));
	if (queue->broken)
		loop_post(queue->main, &queue->break_mail);
}

/* A request in flight whose buffer is gone could not end: what moves its data gets EFAULT, for which it blames the
 * connection, and tries again. */
static void touch_requests(struct blk_queue *queue)
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
	touch_requests(queue);
	if (queue->ring.broken)
		return;
	queue->ring.broken = "the VMM has cut its memory short";
	queue_broken(queue);
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
		queue_broken(queue);
		break;
	}
}

static void queue_take(struct blk_queue *queue)
{
	vring_quiet(&queue->ring);
	for (unsigned taken = 0; taken < TURN_CHAINS_MAX && queue_may_take(queue); taken++)
		queue_take_one(queue);
}

static void answer(struct blk_queue_order *order);

/* Chains that came too late to be taken: a ring starts again at a kick, and their driver may have kicked for the last time. */
static void leave_kick(struct blk_queue *queue)
{
	int kick = queue->stop->kick;

	if (!queue->ring.broken && vring_listen(&queue->ring) && !queue->kick_fills)
		signal_fd(kick, blocks(kick));
}

static void queue_stopped(struct blk_queue *queue)
{
	leave_kick(queue);
	loop_remove_turn(queue->thread.loop, &queue->on_turn);
	queue_rest(queue);
	hold_put(queue->hold);
	dirty_log_put(queue->log);
	queue->log = NULL;
	free(queue->pool);
	queue->state = QUEUE_STOPPED;
	/* A packed ring's base tells also where used descriptors go on. */
	queue->stop->base = vring_base(&queue->ring);
	answer(queue->stop);
}

/* The turn that looks comes before the loop sleeps again: orders are letters, and they woke it. */
static void look(struct blk_queue *queue)
{
	queue->look = !queue->ring.broken;
}

static void on_turn(struct loop_turn *turn)
{
	struct blk_queue *queue = container_of(turn, struct blk_queue, on_turn);

	loop_assert_mine(queue->thread.loop);
	if (queue->polls)
		look(queue);
	if (queue_may_take(queue))
		queue_take(queue);
	if (vring_publish(&queue->ring))
		call_driver(queue);
	look_for_losses(queue);
	/* After the turn's last request, so that nothing it staged is left behind. */
	if (queue_may_take(queue))
		queue_wake(queue);
	else
		queue_rest(queue);
	if (queue->state == QUEUE_STOPPING && queue->in_flight == 0)
		queue_stopped(queue);
}

static void kicks_end(struct blk_queue *queue)
{
	log_warning("queue %u: the VMM's kick descriptor can no longer be read: no more kicks", queue->index);
	loop_unwatch(queue->thread.loop, &queue->on_kick);
}

/* Spec: "Support for platforms other than Linux": kicks may come through a pipe. */
static bool fills(int fd)
{
	struct stat file;

	return fstat(fd, &file) == 0 && (S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode));
}

/* Of an eventfd it takes one read, of a pipe as many as it has room for. */
static void empty_kick(int fd)
{
	struct pollfd kicks = { .fd = fd, .events = POLLIN };
	char bytes[4096];

	for (unsigned i = 0; i < KICK_READS_MAX; i++) {
		if (poll(&kicks, 1, 0) != 1 || !(kicks.revents & POLLIN))
			return;
		if (read(fd, bytes, sizeof(bytes)) < (ssize_t)sizeof(bytes))
			return;
	}
}

/* Each kick is a new edge: that its eventfd is not read spares a system call. */
static void on_kick(struct loop_source *source, int revents)
{
	struct blk_queue *queue = container_of(source, struct blk_queue, on_kick);

	if (queue->kick_fills)
		empty_kick(source->fd);
	if (revents & EV_WRITE)
		kicks_end(queue);
	look(queue);
}

/* A VMM that takes a ring back asks its eventfd whether there are kicks left for itself. */
static void watch_kick(struct blk_queue *queue, int fd)
{
	if (queue->on_kick.fd >= 0 && !queue->kick_fills)
		empty_kick(queue->on_kick.fd);
	if (fd >= 0)
		queue->kick_fills = fills(fd);
	loop_unwatch(queue->thread.loop, &queue->on_kick);
	if (fd >= 0 && !queue->ring.broken &&
		loop_watch(queue->thread.loop, &queue->on_kick, fd, EV_READ, true))
		kicks_end(queue);
}

static int pool_fill(struct blk_queue *queue, unsigned size)
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

static void use_fds(struct blk_queue *queue, const struct blk_queue_order *order)
{
	bool new_call = queue->call != order->call;

	queue->call = order->call;
	queue->call_by = order->call_by;
	queue->call_blocks = blocks(queue->call);
	queue->err = order->err;
	watch_kick(queue, order->kick);
	use_polling(queue, order->polls);
	/* The driver may wait for what was published when nobody could be called. */
	if (new_call)
		call_driver(queue);
}

static void use_log(struct blk_queue *queue, const struct blk_queue_order *order)
{
	struct dirty_log *old = queue->log;

	queue->log = order->log.dirty ? dirty_log_get(order->log.dirty) : NULL;
	queue->logs_data = queue->log && order->log.data;
	vring_log(&queue->ring, order->log.ring ? queue->log : NULL, order->log.used);
	dirty_log_put(old);
}

static bool order_start(struct blk_queue *queue, struct blk_queue_order *order)
{
	assert(queue->state == QUEUE_STOPPED);
	order->result = -ENOMEM;
	queue->hold = hold_new(order->memory);
	if (!queue->hold)
		return true;
	if (pool_fill(queue, order->setup.size)) {
		hold_put(queue->hold);
		return true;
	}
	order->result = 0;
	queue->features = order->setup.features;
	queue->enabled = order->enabled;
	queue->unmapped = queue->leaves = false;
	queue->in_flight = queue->bad_requests = 0;
	queue->losses_seen = foreign_memory_losses();
	queue->call = -1;
	queue->state = QUEUE_RUNNING;
	vring_init(&queue->ring, &order->setup, order->memory);
	use_log(queue, order);
	use_fds(queue, order);
	if (queue->ring.broken)
		queue_broken(queue);
	look(queue);
	loop_add_turn(queue->thread.loop, &queue->on_turn, true);
	return true;
}

/* What our predecessor had in flight counts as ours: it is finished before the ring is given back. */
static void take_all_again(struct blk_queue *queue)
{
	while (queue_may_take(queue) && vring_has_taken(&queue->ring))
		queue_take_one(queue);
}

static void recall_all(struct blk_queue *queue)
{
	for (unsigned i = 0; i < queue->ring.setup.size; i++) {
		struct blk_request *request = &queue->pool[i];

		if (request->stage == BLK_REQUEST_ON_DISK && disk_recall(queue->thread.disk, &request->block))
			request_forget(request);
	}
}

static bool order_stop(struct blk_queue *queue, struct blk_queue_order *order)
{
	assert(queue->state == QUEUE_RUNNING);
	queue->leaves = order->leave && queue->ring.setup.record;
	if (queue->leaves)
		recall_all(queue);
	else
		take_all_again(queue);
	touch_requests(queue);
	watch_kick(queue, -1);
	use_polling(queue, false);
	queue->stop = order;
	queue->state = QUEUE_STOPPING;
	return false;
}

static bool order_enable(struct blk_queue *queue, struct blk_queue_order *order)
{
	queue->enabled = order->enabled;
	return true;
}

static bool order_fds(struct blk_queue *queue, struct blk_queue_order *order)
{
	use_fds(queue, order);
	look(queue);
	return true;
}

static bool order_memory(struct blk_queue *queue, struct blk_queue_order *order)
{
	struct memory_hold *hold = hold_new(order->memory);

	if (!hold) {
		order->result = -ENOMEM;
		return true;
	}
	queue->unmapped = vring_remap(&queue->ring, order->memory) != 0;
	if (queue->unmapped) {
		/* VMMs that replace a region take it away first and give it back then. */
		log_debug("queue %u waits: its ring is not in the VMM's memory", queue->index);
		hold_put(hold);
		return true;
	}
	hold_put(queue->hold);
	queue->hold = hold;
	return true;
}

static bool order_features(struct blk_queue *queue, struct blk_queue_order *order)
{
	queue->enabled = order->enabled;
	use_log(queue, order);
	return true;
}

/* Each returns whether the order is carried out already. */
static bool (*const carry_out[BLK_ORDERS])(struct blk_queue *queue, struct blk_queue_order *order) = {
	[BLK_ORDER_START] = order_start,
	[BLK_ORDER_STOP] = order_stop,
	[BLK_ORDER_ENABLE] = order_enable,
	[BLK_ORDER_FDS] = order_fds,
	[BLK_ORDER_MEMORY] = order_memory,
	[BLK_ORDER_FEATURES] = order_features,
};

static void on_answer(struct mail *mail)
{
	struct blk_queue_order *order = container_of(mail, struct blk_queue_order, mail);

	order->done(order);
}

static void answer(struct blk_queue_order *order)
{
	order->mail.read = on_answer;
	loop_post(order->queue->main, &order->mail);
}

static void on_order(struct mail *mail)
{
	struct blk_queue_order *order = container_of(mail, struct blk_queue_order, mail);

	loop_assert_mine(order->queue->thread.loop);
	order->result = 0;
	if (carry_out[order->kind](order->queue, order))
		answer(order);
}

void blk_queue_give_order(struct blk_queue_order *order)
{
	order->mail.read = on_order;
	loop_post(order->queue->thread.loop, &order->mail);
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
