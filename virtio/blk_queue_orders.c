/* virtio/blk_queue_orders.c -- what the transport tells a queue, carried out on the queue's thread. */
#include "virtio/blk_queue_state.h"

#include <assert.h>
#include <stdlib.h>

#include "conf/container.h"
#include "conf/log.h"
#include "virtio/foreign_memory.h"
#include "virtio/notifier.h"

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

static void use_fds(struct blk_queue *queue, const struct blk_queue_order *order)
{
	bool new_call = queue->call != order->call;

	queue->call = order->call;
	queue->call_by = order->call_by;
	queue->call_blocks = notifier_blocks(queue->call);
	queue->err = order->err;
	blk_queue_watch_kick(queue, order->kick);
	blk_queue_poll(queue, order->polls);
	/* The driver may wait for what was published when nobody could be called. */
	if (new_call)
		blk_queue_call(queue);
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
	queue->hold = memory_hold_new(order->memory);
	if (!queue->hold)
		return true;
	if (blk_queue_fill_pool(queue, order->setup.size)) {
		memory_hold_put(queue->hold);
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
		blk_queue_break(queue);
	blk_queue_look(queue);
	loop_add_turn(queue->thread.loop, &queue->on_turn, true);
	return true;
}

static bool order_stop(struct blk_queue *queue, struct blk_queue_order *order)
{
	assert(queue->state == QUEUE_RUNNING);
	queue->leaves = order->leave && queue->ring.setup.record;
	if (queue->leaves)
		blk_queue_recall_all(queue);
	else
		blk_queue_take_again(queue);
	blk_queue_touch(queue);
	blk_queue_watch_kick(queue, -1);
	blk_queue_poll(queue, false);
	queue->stop = order;
	queue->state = QUEUE_STOPPING;
	return false;
}

/* Chains that came too late to be taken: a ring starts again at a kick, and their driver may have kicked for the last time. */
static void leave_kick(struct blk_queue *queue)
{
	int kick = queue->stop->kick;

	if (!queue->ring.broken && vring_listen(&queue->ring) && !queue->kick_fills)
		notifier_signal(kick, notifier_blocks(kick));
}

void blk_queue_stopped(struct blk_queue *queue)
{
	leave_kick(queue);
	loop_remove_turn(queue->thread.loop, &queue->on_turn);
	blk_queue_rest(queue);
	memory_hold_put(queue->hold);
	dirty_log_put(queue->log);
	queue->log = NULL;
	free(queue->pool);
	queue->state = QUEUE_STOPPED;
	/* A packed ring's base tells also where used descriptors go on. */
	queue->stop->base = vring_base(&queue->ring);
	answer(queue->stop);
}

static bool order_enable(struct blk_queue *queue, struct blk_queue_order *order)
{
	queue->enabled = order->enabled;
	return true;
}

static bool order_fds(struct blk_queue *queue, struct blk_queue_order *order)
{
	use_fds(queue, order);
	blk_queue_look(queue);
	return true;
}

static bool order_memory(struct blk_queue *queue, struct blk_queue_order *order)
{
	struct memory_hold *hold = memory_hold_new(order->memory);

	if (!hold) {
		order->result = -ENOMEM;
		return true;
	}
	queue->unmapped = vring_remap(&queue->ring, order->memory) != 0;
	if (queue->unmapped) {
		/* VMMs that replace a region take it away first and give it back then. */
		log_debug("queue %u waits: its ring is not in the VMM's memory", queue->index);
		memory_hold_put(hold);
		return true;
	}
	memory_hold_put(queue->hold);
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
