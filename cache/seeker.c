/* cache/seeker.c -- a thread that seeks, and the line before it. */
#include "cache/seeker.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cache/disk.h"
#include "conf/container.h"

/* What is said to be data where the file changes faster than it can be asked. */
#define SPAN_MIN 4096

struct span {
	uint64_t end; /* behind its last byte */
	uint64_t flags;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Behind the last data: up to the end of the file. */
static int last_hole(int fd, uint64_t at, struct span *span)
{
	off_t end = lseek(fd, 0, SEEK_END);

	if (end < 0)
		return -errno;
	if ((uint64_t)end <= at)
		return -EINVAL;
	*span = (struct span){ .end = (uint64_t)end, .flags = BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO };
	return 0;
}

static int data_span(int fd, uint64_t at, struct span *span)
{
	off_t hole = lseek(fd, (off_t)at, SEEK_HOLE);

	/* ENXIO, or at itself: what was data a moment ago is punched now. */
	if (hole < 0 && errno != ENXIO)
		return -errno;
	*span = (struct span){ .end = hole > (off_t)at ? (uint64_t)hole : (at / SPAN_MIN + 1) * SPAN_MIN };
	return 0;
}

/* The span that begins at @at. */
static int span_at(int fd, uint64_t at, struct span *span)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? last_hole(fd, at, span) : -errno;
	if ((uint64_t)data == at)
		return data_span(fd, at, span);
	*span = (struct span){ .end = (uint64_t)data, .flags = BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO };
	return 0;
}

static int find(const struct seeker *seeker, struct block_req *req)
{
	bool one = req->flags & BLOCK_ONE_EXTENT;
	uint64_t at = req->offset, req_end = req->offset + req->length;
	/* A disk that has shrunk meanwhile ends where the request does, which was checked before. */
	uint64_t end_max = one ? req_end : larger(*seeker->size, req_end);
	unsigned max = one ? 1 : req->extents.max, count = 0;
	int error = 0;

	for (struct span span = { 0 }; at < req_end && count < max; at = span.end) {
		error = span_at(seeker->fd, at, &span);
		if (error)
			break;
		span.end = smaller(span.end, end_max);
		req->extents.list[count++] =
			(struct block_extent){ .length = span.end - at, .flags = span.flags };
	}
	req->extents.count = count;
	return count > 0 ? 0 : error;
}

static void on_home(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	req->done(req, req->wait.status);
}

/* Returns the next request, or NULL: there will be none. */
static struct block_req *next_request(struct seeker *seeker)
{
	struct block_req *req;

	pthread_mutex_lock(&seeker->lock);
	while (!seeker->waiting && !seeker->ending)
		pthread_cond_wait(&seeker->more, &seeker->lock);
	req = seeker->waiting;
	if (req)
		seeker->waiting = req->wait.next;
	if (!seeker->waiting)
		seeker->last_waiting = &seeker->waiting;
	pthread_mutex_unlock(&seeker->lock);
	return req;
}

static void *run(void *argument)
{
	struct seeker *seeker = argument;
	struct block_req *req;

	prctl(PR_SET_NAME, "vnbd-seeker");
	while ((req = next_request(seeker))) {
		req->wait.status = find(seeker, req);
		req->wait.mail.read = on_home;
		uring_post(req->ring, &req->wait.mail);
	}
	return NULL;
}

/* Under the lock. Signals are the main thread's. */
static bool start(struct seeker *seeker)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	seeker->started = pthread_create(&seeker->thread, NULL, run, seeker) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return seeker->started;
}

int seeker_submit(struct seeker *seeker, struct block_req *req)
{
	int status = DISK_PENDING;

	pthread_mutex_lock(&seeker->lock);
	if (seeker->started || start(seeker)) {
		req->wait.next = NULL;
		*seeker->last_waiting = req;
		seeker->last_waiting = &req->wait.next;
		pthread_cond_signal(&seeker->more);
	} else {
		status = -ENOMEM;
	}
	pthread_mutex_unlock(&seeker->lock);
	return status;
}

void seeker_init(struct seeker *seeker, int fd, const _Atomic uint64_t *size)
{
	*seeker = (struct seeker){ .fd = fd, .size = size };
	seeker->last_waiting = &seeker->waiting;
	pthread_mutex_init(&seeker->lock, NULL);
	pthread_cond_init(&seeker->more, NULL);
}

void seeker_fini(struct seeker *seeker)
{
	pthread_mutex_lock(&seeker->lock);
	seeker->ending = true;
	pthread_cond_signal(&seeker->more);
	pthread_mutex_unlock(&seeker->lock);
	if (seeker->started)
		pthread_join(seeker->thread, NULL);
	pthread_cond_destroy(&seeker->more);
	pthread_mutex_destroy(&seeker->lock);
}
