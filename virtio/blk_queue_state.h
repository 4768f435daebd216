/* virtio/blk_queue_state.h -- a queue inside: what its turn (blk_queue.c) and the orders to it (blk_queue_orders.c) share. For
 * them alone; everything is on the queue's thread.
 *
 *   STOPPED --start--> RUNNING --stop--> STOPPING --drained--> STOPPED
 */
#pragma once

#include "virtio/blk_queue.h"

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

/* Returns NULL: out of memory. */
struct memory_hold *memory_hold_new(struct guest_memory *memory);
void memory_hold_put(struct memory_hold *hold);

/* blk_queue_fill_pool() - as many requests as a ring of @size has entries. Returns 0 or -ENOMEM. */
int blk_queue_fill_pool(struct blk_queue *queue, unsigned size);

/* blk_queue_touch() - a request in flight whose buffer is gone could not end: what moves its data gets EFAULT, for which it
 * blames the connection, and tries again. */
void blk_queue_touch(struct blk_queue *queue);

/* blk_queue_recall_all() - what the disk gives back stays in the record. */
void blk_queue_recall_all(struct blk_queue *queue);

/* blk_queue_take_again() - what our predecessor had in flight counts as ours: it is finished before the ring is given back. */
void blk_queue_take_again(struct blk_queue *queue);

/* blk_queue_break() - queue->ring.broken is set: tell everybody. */
void blk_queue_break(struct blk_queue *queue);

/* blk_queue_look() - the next turn looks for chains. It comes before the loop sleeps again: orders are letters, and they woke
 * it. */
void blk_queue_look(struct blk_queue *queue);

/* blk_queue_watch_kick() - from now on @fd; -1: none. The old one is left without signals: a VMM that takes a ring back asks
 * its eventfd whether there are kicks left for itself. */
void blk_queue_watch_kick(struct blk_queue *queue, int fd);

/* blk_queue_poll() - whether to look without kicks. */
void blk_queue_poll(struct blk_queue *queue, bool polls);

/* The loop may sleep for all this queue wants. */
void blk_queue_rest(struct blk_queue *queue);

void blk_queue_call(const struct blk_queue *queue);

/* Of the orders: STOPPING, and all that was taken is published or left. */
void blk_queue_stopped(struct blk_queue *queue);
