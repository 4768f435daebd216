/* cache/volatile_cut.c -- what is held is lost, but for what was drawn to survive. */
#include "cache/volatile_parts.h"

#include <assert.h>
#include <errno.h>

static void begin_cut(struct volatile_disk *this)
{
	this->cutting = true;
	this->cut_failed = false;
	this->applied = 0;
	pthread_mutex_lock(&this->lock);
	assert(!this->waiting && !this->flushes); /* V7 */
	this->cut->error = survival_draw(&this->list, &this->cut->order, &this->survival);
	pthread_mutex_unlock(&this->lock);
}

static void end_cut(struct volatile_disk *this)
{
	struct volatile_cut *cut;

	this->cutting = false;
	pthread_mutex_lock(&this->lock);
	cut = this->cut;
	this->cut = NULL;
	if (cut->error == 0) {
		held_clear(&this->list);
		this->bytes = this->leaving_bytes = 0;
	}
	pthread_mutex_unlock(&this->lock);
	if (this->cut_failed)
		cut->error = -EIO;
	cut->counts = this->survival.counts;
	survival_fini(&this->survival);
	mailbox_post(cut->owner, &cut->done);
}

static void apply_survivors(struct volatile_disk *this)
{
	while (this->applied < this->survival.count && this->free_destage) {
		const struct survivor *next = &this->survival.survivors[this->applied++];

		volatile_destage(this, next->held, next->offset, next->length);
	}
}

/* Begins when nothing is under way any more. Returns whether one has ended. */
bool volatile_advance_cut(struct volatile_disk *this)
{
	bool asked;

	pthread_mutex_lock(&this->lock);
	asked = this->cut;
	pthread_mutex_unlock(&this->lock);
	if (!asked || (!this->cutting && (this->busy > 0 || this->in_batch)))
		return false;
	if (!this->cutting)
		begin_cut(this);
	apply_survivors(this);
	if (this->busy > 0)
		return false;
	end_cut(this);
	return true;
}

void volatile_cut(struct disk *disk, struct volatile_cut *cut)
{
	struct volatile_disk *this = volatile_of(disk);

	pthread_mutex_lock(&this->lock);
	assert(!this->cut);
	this->cut = cut;
	volatile_wake(this);
	pthread_mutex_unlock(&this->lock);
}
