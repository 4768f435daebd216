/* cache/volatile.c -- begins with a thread, and ends with what it holds written back. */
#include "cache/volatile_parts.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* Claims. */

static void on_turn(struct mail *mail)
{
	struct turn *turn = container_of(mail, struct turn, mail);

	turn->begin(turn);
}

static void on_granted(struct range *range)
{
	struct turn *turn = container_of(range, struct turn, range);

	turn->mail.read = on_turn;
	uring_post(turn->ring, &turn->mail);
}

/* The thread. */

/* Signals are the main thread's. */
static int create_thread(struct volatile_disk *this)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(&this->thread, NULL, volatile_run, this);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int start_thread(struct volatile_disk *this)
{
	int error;

	sem_init(&this->started, 0, 0);
	error = create_thread(this);
	if (!error) {
		while (sem_wait(&this->started) && errno == EINTR)
			;
		error = this->start_error;
		if (error)
			pthread_join(this->thread, NULL);
	}
	sem_destroy(&this->started);
	return error;
}

/* Opening and closing. */

static void fini(struct volatile_disk *this)
{
	range_lock_fini(&this->claims);
	pthread_mutex_destroy(&this->lock);
	free(this);
}

static void volatile_free(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);

	pthread_mutex_lock(&this->lock);
	this->ending = true;
	volatile_wake(this);
	pthread_mutex_unlock(&this->lock);
	pthread_join(this->thread, NULL);
	assert(!this->list.oldest && !this->waiting);
	uring_fini(&this->ring);
	disk_free(this->below);
	fini(this);
}

static bool volatile_has_lost(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);
	bool failed;

	pthread_mutex_lock(&this->lock);
	failed = this->failed;
	pthread_mutex_unlock(&this->lock);
	return failed || disk_has_lost(this->below);
}

static void volatile_measure(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);

	disk_measure(this->below);
	disk->facts.size = this->below->facts.size;
}

static void init(struct volatile_disk *this, struct disk *below, uint64_t bytes_max)
{
	static const struct disk_ops ops = { .submit = volatile_submit,
		.measure = volatile_measure,
		.has_lost = volatile_has_lost,
		.free = volatile_free };

	this->disk.ops = &ops;
	this->disk.facts = below->facts;
	this->disk.facts.volatile_cache = true;
	this->disk.facts.can_flush = true;
	this->disk.facts.can_status = false;
	this->disk.facts.identity = 0;
	this->below = below;
	this->bytes_max = bytes_max;
	range_lock_init(&this->claims, on_granted);
	pthread_mutex_init(&this->lock, NULL);
	this->last_waiting = &this->waiting;
	this->last_flush = &this->flushes;
	volatile_thread_init(this);
}

int volatile_open(struct disk *below, uint64_t bytes_max, struct disk **out)
{
	struct volatile_disk *this = calloc(1, sizeof(*this));
	int error;

	assert(bytes_max >= VOLATILE_BYTES_LEAST && bytes_max <= VOLATILE_BYTES_MOST);
	if (!this)
		return -ENOMEM;
	init(this, below, bytes_max);
	error = start_thread(this);
	if (error) {
		fini(this);
		return error;
	}
	*out = &this->disk;
	return 0;
}

struct volatile_counts volatile_count(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);
	struct volatile_counts counts = { 0 };

	pthread_mutex_lock(&this->lock);
	for (const struct held *held = this->list.oldest; held; held = held->younger)
		counts.held++;
	counts.bytes = this->bytes;
	counts.destaged = this->destaged;
	pthread_mutex_unlock(&this->lock);
	return counts;
}
