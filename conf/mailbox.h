/* conf/mailbox.h -- the only door between threads: a letter is run by the thread that owns the box.
 *
 * Letters are intrusive: the sender owns the memory, and it stays untouched until its read() runs.
 * Any thread may post; one thread, the owner, drains.  Letters of one sender are read in order.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct mail {
	struct mail *next; /* the mailbox's while posted */
	void (*read)(struct mail *mail);
};

struct mailbox {
	pthread_mutex_t lock;
	struct mail *first, **last; /* shared: under lock */
	int fd;			    /* owned: an eventfd, readable while letters wait */
};

/* Returns 0, or -errno of eventfd(2). */
int mailbox_init(struct mailbox *box);
void mailbox_fini(struct mailbox *box);

/* @mail->read runs once, later, on the owner's thread. */
void mailbox_post(struct mailbox *box, struct mail *mail);

/* Reads every letter that waits now; the owner calls it when @box->fd is readable. A letter posted by a letter waits
 * for the next drain, so a drain always ends. */
void mailbox_drain(struct mailbox *box);
