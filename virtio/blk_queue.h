/* virtio/blk_queue.h -- one virtqueue of the device at work: kicks in, block requests out, used buffers back.
 *
 * A queue lives on the thread that serves it. The transport, on the main loop, gives it orders, one at a time; the
 * answer comes back to the main loop. Memory for as many requests as the ring has entries is there from start to stop,
 * and nothing is allocated in between.
 */
#pragma once

#include "virtio/blk_request.h"

struct blk_queue;

enum blk_order_kind {
	BLK_ORDER_START, /* setup, memory, enabled, kick, polls, call, err, log: go to work; first look at the ring at once */
	BLK_ORDER_STOP, /* leave: take no more; answered when all that was taken is published or left: base. The kick
			 * descriptor is readable then if chains are available, or else it is not. */
	BLK_ORDER_ENABLE, /* enabled: without it nothing is taken */
	BLK_ORDER_FDS, /* kick, polls, call, err: use these from now on; what may have been missed is looked at */
	BLK_ORDER_MEMORY,   /* memory: requests in flight keep what they have */
	BLK_ORDER_FEATURES, /* enabled, log: from now on; also what was taken before is logged when it ends */
	BLK_ORDERS,
};

/* The order's, until it is answered; descriptors and memory named in it: see each. */
struct blk_queue_order {
	struct mail mail; /* there and back */
	struct blk_queue *queue;
	enum blk_order_kind kind;
	struct vring_setup setup;
	struct guest_memory *memory; /* borrowed until the answer: the queue gets its own reference */
	int kick, call,
		err; /* borrowed until the answer to the order that replaces them or stops; -1: none */
	bool polls;  /* there will be no kicks: the queue looks by itself */
	/* How to call by @call, on the queue's thread; NULL: it is an eventfd. */
	void (*call_by)(int call, unsigned index);
	bool enabled;
	/* Of BLK_ORDER_STOP, where there is a record: what the disk gives back (disk_recall()) stays in it, taken and not
	 * given back, for who goes on here; else the stop waits until the disk has answered everything. */
	bool leave;
	/* Which pages we write is told to whoever migrates the guest. */
	struct {
		struct dirty_log
			*dirty; /* borrowed until the answer: the queue gets its own reference; NULL: none */
		bool data;	/* the requests' buffers are logged */
		bool ring;	/* the ring is logged: */
		uint64_t used;	/* guest address that its used ring is logged at */
	} log;

	/* The answer. */
	int result;    /* 0, or -ENOMEM: not started */
	uint32_t base; /* of BLK_ORDER_STOP */
	void (*done)(
		struct blk_queue_order *order); /* on the main loop, never inside blk_queue_give_order() */
};

/* blk_queue_new() - a queue that is stopped.
 * @blk, @main: borrowed: outlive it. @thread: copied. Returns NULL: out of memory. */
struct blk_queue *blk_queue_new(
	const struct virtio_blk *blk, struct loop *main, const struct queue_thread *thread, unsigned index);

/* blk_queue_on_break() - before its first order: have @broken run on the main loop when a ring was found to be broken, once
 * each time it was started; never after the answer to the order that stops it. */
void blk_queue_on_break(struct blk_queue *queue, void (*broken)(void *arg), void *arg);

/* Only when it is stopped and has no order to answer. */
void blk_queue_free(struct blk_queue *queue);

/* blk_queue_give_order() - from the main loop. @order is untouched until done(); START is for a stopped queue, all but
 * START for one that was started, and the next order waits until this one is answered. */
void blk_queue_give_order(struct blk_queue_order *order);
