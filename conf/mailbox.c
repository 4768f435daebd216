/* conf/mailbox.c -- a locked list of letters and an eventfd that wakes their reader. */
#include "conf/mailbox.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *box)
{
	box->first = NULL;
	box->last = &box->first;
	box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (box->fd < 0)
		return -errno;
	pthread_mutex_init(&box->lock, NULL);
	return 0;
}

void mailbox_fini(struct mailbox *box)
{
	close(box->fd);
	pthread_mutex_destroy(&box->lock);
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
	bool wake;

	mail->next = NULL;
	pthread_mutex_lock(&box->lock);
	wake = box->first == NULL;
	*box->last = mail;
	box->last = &mail->next;
	pthread_mutex_unlock(&box->lock);
	/* Only the letter into an empty box has to wake the reader: it takes all that wait by then. */
	if (wake) {
		uint64_t one = 1;
		ssize_t wrote = write(box->fd, &one, sizeof(one));

		assert(wrote == sizeof(one));
	}
}

void mailbox_drain(struct mailbox *box)
{
	struct mail *mail, *next;
	uint64_t count;

	/* Empty the eventfd before the list, so that a letter posted in between wakes us again. */
	if (read(box->fd, &count, sizeof(count)) < 0)
		assert(errno == EAGAIN);
	pthread_mutex_lock(&box->lock);
	mail = box->first;
	box->first = NULL;
	box->last = &box->first;
	pthread_mutex_unlock(&box->lock);
	for (; mail; mail = next) {
		next = mail->next;
		mail->read(mail);
	}
}
